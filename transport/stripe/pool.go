package stripe

import (
	"sync"

	"antipode/transport/wire"
)

// classes are the sizes of buffers: wire.MinChunk, doubled up to wire.MaxChunk.
const classes = 5

// Pool lends buffers for payloads and keeps some of those that come back, so
// that a full-rate transfer allocates nothing. Safe for concurrent use.
type Pool struct {
	keepBytes int

	mu   sync.Mutex // guards what follows
	free [classes][][]byte
	kept int // bytes in free
}

// NewPool keeps at most so many bytes that nobody uses.
func NewPool(keepBytes int) *Pool { return &Pool{keepBytes: keepBytes} }

// tiny is what is not worth keeping: hundreds of small streams may be on their way
// at once.
const tiny = 32 << 10

// Get lends a buffer of n bytes, at most wire.MaxChunk, with any content. It
// takes less than twice n, or wire.MinChunk; no more than n if that is little.
func (p *Pool) Get(n int) []byte {
	if n <= tiny {
		return make([]byte, n)
	}
	class, size := classOf(n)
	p.mu.Lock()
	defer p.mu.Unlock()
	if k := len(p.free[class]); k > 0 {
		b := p.free[class][k-1]
		p.free[class] = p.free[class][:k-1]
		p.kept -= size
		return b[:n]
	}
	return make([]byte, n, size)
}

func classOf(n int) (class, size int) {
	size = wire.MinChunk
	for size < n {
		class, size = class+1, size*2
	}
	return class, size
}

// Put takes one back; nobody may look at it any more. One that is not of this
// kind, nil too, is left to the garbage collector.
func (p *Pool) Put(b []byte) {
	if cap(b) < wire.MinChunk || cap(b) > wire.MaxChunk {
		return
	}
	class, size := classOf(cap(b))
	if size != cap(b) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.kept+size <= p.keepBytes {
		p.free[class] = append(p.free[class], b)
		p.kept += size
	}
}
