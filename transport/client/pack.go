package client

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"antipode/transport/squeeze"
	"antipode/transport/stripe"
	"antipode/transport/wire"
)

// packing is what a client knows of making chunks smaller on its path.
type packing struct {
	coder  *squeeze.Coder // nil: there is no packing
	wanted func() bool
	gauge  squeeze.Gauge
	taken  atomic.Bool // the peer takes zstd, as its last answer said
}

// learn takes in what an answer says of the peer.
func (p *packing) learn(h http.Header) { p.taken.Store(wire.TakesZstd(h.Get(wire.CodecsHeader))) }

func (p *packing) isOn() bool { return p.coder != nil && p.taken.Load() && p.wanted() }

// level is the choice for the path, for people; "" while there is none to make.
func (p *packing) level() string {
	if !p.isOn() {
		return ""
	}
	l, _ := p.gauge.Level()
	return l.String()
}

// judge looks at one stream; lanes share it.
type judge struct {
	mu    sync.Mutex // guards probe
	probe squeeze.Probe
}

// look reports whether a chunk is worth packing. One that is passed over is not.
func (j *judge) look(p *packing, raw []byte) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.probe.IsDue() {
		p.gauge.Looked(1)
		return false
	}
	ratio := j.probe.Look(p.coder, raw)
	p.gauge.Looked(ratio)
	j.probe.Learn(ratio)
	return ratio < squeeze.WorthIt
}

// pack makes a chunk smaller, if that is the choice and the chunk allows it. The
// buffer, which may be nil, goes back to the pool when the frame has gone out.
func (t *transfer) pack(f stripe.Frame) (packed stripe.Frame, buffer []byte) {
	p := &t.c.packing
	if f.Header.Type != wire.FrameChunk || !p.isOn() {
		return f, nil
	}
	level, isCurious := p.gauge.Level()
	if level == squeeze.Off && !isCurious || !t.judge.look(p, f.Payload) || level == squeeze.Off {
		return f, nil
	}
	buf := t.c.pool.Get(len(f.Payload))
	out, took := p.coder.Pack(buf[:0], f.Payload, level)
	p.gauge.Packed(level, len(f.Payload), took)
	if float64(len(out)) >= squeeze.WorthIt*float64(len(f.Payload)) {
		t.c.pool.Put(buf)
		return f, nil
	}
	// What waits for the link should not hold more memory than it needs.
	small := t.c.pool.Get(len(out))
	copy(small, out)
	t.c.pool.Put(buf)
	return stripe.Frame{Header: f.Header.Packed(wire.CodecZstd, len(small)), Payload: small}, small
}

// send packs a frame, sends it, and notes what came of it. began is when the lane
// started to wait for it.
func (l *laneWriter) send(f stripe.Frame, began time.Time, write func(stripe.Frame) error) error {
	now := l.t.c.opts.Now
	packed, buffer := l.t.pack(f)
	defer l.t.c.pool.Put(buffer)
	sending := now()
	if err := write(packed); err != nil {
		return err
	}
	if ended := now(); l.t.c.packing.isOn() {
		l.t.c.packing.gauge.Note(squeeze.Sent{
			Raw: int64(len(f.Payload)), Wire: int64(len(packed.Payload)), Sending: ended.Sub(sending), Whole: ended.Sub(began),
		})
	}
	return nil
}

// packWhole is pack for a stream that is smaller than a chunk: what little there is
// to pack takes less time than any link.
func (t *transfer) packWhole(h wire.Header, stream []byte) (wire.Header, []byte) {
	p := &t.c.packing
	if !p.isOn() || !t.judge.look(p, stream) {
		return h, stream
	}
	out, _ := p.coder.Pack(make([]byte, 0, len(stream)/2), stream, squeeze.Fast)
	if float64(len(out)) >= squeeze.WorthIt*float64(len(stream)) {
		return h, stream
	}
	return h.Packed(wire.CodecZstd, len(out)), out
}
