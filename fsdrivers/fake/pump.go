package fake

import (
	"context"
	"io"
)

// pumped reads what another goroutine reads, so that a reader that hangs does
// not keep a receive from ending.
type pumped struct {
	ctx   context.Context // of the one receive that it serves
	crash <-chan struct{}
	in    <-chan chunk
	buf   []byte
	err   error
}

// chunk is what one Read brought.
type chunk struct {
	data []byte
	err  error
}

// pump reads r until it fails, ctx ends or the host crashes. It cannot be
// waited for: only r's owner can wake a Read.
func pump(ctx context.Context, crash <-chan struct{}, r io.Reader) *pumped {
	out := make(chan chunk)
	go func() {
		for {
			p := make([]byte, blockSize)
			n, err := r.Read(p)
			select {
			case out <- chunk{p[:n], err}:
			case <-ctx.Done():
				return
			case <-crash:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return &pumped{ctx: ctx, crash: crash, in: out}
}

// wait blocks until there is something to read, or an error.
func (p *pumped) wait() error {
	for len(p.buf) == 0 && p.err == nil {
		select {
		case c := <-p.in:
			p.buf, p.err = c.data, c.err
		case <-p.ctx.Done():
			p.err = context.Cause(p.ctx)
		case <-p.crash:
			p.err = errCrashed
		}
	}
	if len(p.buf) > 0 {
		return nil
	}
	return p.err
}

// peek returns the next byte without taking it.
func (p *pumped) peek() (byte, error) {
	if err := p.wait(); err != nil {
		return 0, err
	}
	return p.buf[0], nil
}

func (p *pumped) Read(q []byte) (int, error) {
	if err := p.wait(); err != nil {
		return 0, err
	}
	n := copy(q, p.buf)
	p.buf = p.buf[n:]
	return n, nil
}
