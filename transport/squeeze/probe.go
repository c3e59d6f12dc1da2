package squeeze

const (
	// A sample is some pieces out of a chunk; a hundredth of it tells enough.
	samplePieces = 4
	pieceBytes   = 4 << 10
	sampleBytes  = samplePieces * pieceBytes
	// WorthIt is the ratio above which a chunk goes as it is: what little it
	// would save costs both sides.
	WorthIt = 0.92
	// maxSkip bounds how many chunks are passed over after as many that were not
	// worth it: a stream of films should cost nothing, and the text behind them
	// should not wait long.
	maxSkip = 4
)

// Probe judges one stream, chunk by chunk. It is not safe for concurrent use.
type Probe struct {
	inRow int // chunks in a row that were not worth it
	skip  int // chunks still to pass over
	// Samples are packed into this.
	sample, packed []byte
}

// IsDue reports whether the next chunk is to be looked at; it counts.
func (p *Probe) IsDue() bool {
	if p.skip > 0 {
		p.skip--
		return false
	}
	return true
}

// Look returns about how small the chunk would become, from a sample: packed over
// raw. A small chunk is looked at whole.
func (p *Probe) Look(c *Coder, raw []byte) float64 {
	sample := raw
	if len(raw) > 2*sampleBytes {
		p.sample = p.sample[:0]
		for i := range samplePieces {
			at := (len(raw) - pieceBytes) / (samplePieces - 1) * i
			p.sample = append(p.sample, raw[at:at+pieceBytes]...)
		}
		sample = p.sample
	}
	p.packed, _ = c.Pack(p.packed[:0], sample, Fast)
	return float64(len(p.packed)) / float64(len(sample))
}

// Learn takes in how a chunk turned out, or how a look at it did.
func (p *Probe) Learn(ratio float64) {
	if ratio < WorthIt {
		p.inRow = 0
		return
	}
	p.inRow++
	p.skip = min(p.inRow-1, maxSkip)
}
