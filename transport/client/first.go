package client

import (
	"context"
	"io"

	"antipode/transport/stripe"
)

// Hundreds of small steps go to a peer at once. What bounds them is memory, and
// what bounds the large ones among them is their connections.
const (
	// smallStream takes a buffer of its own size.
	smallStream = 32 << 10
	// maxChunks is how many streams that are not small may be in memory before
	// their way is chosen, or while they are sent whole: a chunk each.
	maxChunks = 32
	// maxBulk is how many transfers go over lanes at once: first copies, which
	// are few, and large increments.
	maxBulk = 8
	// maxIdle is how many connections are kept warm between steps.
	maxIdle = 128
)

// gate lets so many in at once, first come, first served.
type gate chan struct{}

func (g gate) enter(ctx context.Context) error {
	select {
	case g <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (g gate) leave() { <-g }

// beginning is what of a stream is in memory.
type beginning struct {
	bytes []byte
	chunk []byte // the buffer, where it is not a small one
	gate  gate   // that was entered for it
}

// leave gives up the buffer, unless somebody may still be reading it: bytes is nil
// then.
func (b *beginning) leave(pool *stripe.Pool) {
	if b.gate == nil {
		return
	}
	if b.bytes != nil {
		pool.Put(b.chunk)
	}
	b.gate.leave()
}

// first reads up to one chunk. A bare io.EOF means that this is all of the stream.
func (t *transfer) first(ctx context.Context, src io.Reader) (*beginning, error) {
	defer closeOn(ctx, src)()
	b := &beginning{}
	little := make([]byte, min(smallStream, t.open.ChunkBytes))
	n, err := stripe.Fill(src, little)
	b.bytes = little[:n]
	if err != nil {
		return b, err
	}
	if err := t.c.chunks.enter(ctx); err != nil {
		return b, err
	}
	b.gate, b.chunk = t.c.chunks, t.c.pool.Get(t.open.ChunkBytes)
	copy(b.chunk, little)
	m, err := stripe.Fill(src, b.chunk[n:])
	b.bytes = b.chunk[:n+m]
	return b, err
}
