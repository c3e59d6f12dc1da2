package stripe

import (
	"sync"

	"antipode/transport/wire"
)

// Pool lends buffers of wire.MaxChunk bytes and keeps some of those that come
// back, so that a full-rate transfer allocates nothing. Safe for concurrent use.
type Pool struct {
	keep int

	mu   sync.Mutex // guards free
	free [][]byte
}

// NewPool keeps at most so many buffers that nobody uses.
func NewPool(keep int) *Pool { return &Pool{keep: keep} }

// Get lends a buffer of wire.MaxChunk bytes with any content.
func (p *Pool) Get() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free = p.free[:n-1]
		return b
	}
	return make([]byte, wire.MaxChunk)
}

// Put takes one back; nobody may look at it any more. nil is nothing.
func (p *Pool) Put(b []byte) {
	if cap(b) < wire.MaxChunk {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.free) < p.keep {
		p.free = append(p.free, b[:wire.MaxChunk])
	}
}
