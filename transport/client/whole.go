package client

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"github.com/hashicorp/go-retryablehttp"

	"antipode/transport/wire"
)

// whole sends a stream that is smaller than one chunk, in one request that also
// brings the answer. It may be repeated like any other.
func (t *transfer) whole(ctx context.Context, stream []byte) (wire.Committed, error) {
	head, payload, err := t.stepHead(stream)
	if err != nil {
		return wire.Committed{}, err
	}
	within, cancel := t.patiently(ctx)
	defer cancel()
	body := retryablehttp.ReaderFunc(func() (io.Reader, error) {
		return t.paced(within, head, payload, stepTail(stream)), nil
	})
	p, err := exchange[wire.Progress](within, t.c, t.c.steps, http.MethodPost, wire.PathSteps, wire.ContentStep, body)
	if err != nil {
		return wire.Committed{}, err
	}
	if !p.IsFinal() {
		return t.wait(ctx, stream)
	}
	return t.last(p)
}

// wait follows a step that was received and takes long to publish. The sender
// cuts the stream too, to know what the target acknowledges.
func (t *transfer) wait(parent context.Context, stream []byte) (wire.Committed, error) {
	if err := t.tx.Run(parent, bytes.NewReader(stream)); err != nil {
		return wire.Committed{}, err
	}
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		t.watch(ctx, cancel)
	}()
	done, err := t.follow(ctx)
	cancel(errOver)
	<-watched
	if cause := context.Cause(ctx); err != nil && !errors.Is(cause, errOver) {
		err = cause
	}
	return done, err
}

// stepHead is all in front of the payload, and the payload as it is sent.
func (t *transfer) stepHead(stream []byte) (head, payload []byte, err error) {
	announcement, err := json.Marshal(t.open)
	if err != nil {
		return nil, nil, err
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(len(announcement)))
	b = append(b, announcement...)
	if len(stream) == 0 {
		return b, nil, nil
	}
	h, payload := t.packWhole(wire.ChunkHeader(0, stream), stream)
	return h.Append(b), payload, nil
}

func stepTail(stream []byte) []byte {
	return wire.EndHeader(uint64(min(len(stream), 1)), uint64(len(stream))).Append(nil)
}

// paced reads the parts in turn, at the rate of the budget.
func (t *transfer) paced(ctx context.Context, parts ...[]byte) io.Reader {
	readers, n := make([]io.Reader, len(parts)), 0
	for i, p := range parts {
		readers[i] = bytes.NewReader(p)
		n += len(p)
	}
	return &pacedReader{
		r: io.MultiReader(readers...), left: n,
		piece: func() int { return t.budget.Piece(slice) },
		wait:  func(n int) error { return t.budget.Wait(ctx, n) },
		count: func(n int) { t.sent.Add(int64(n)) },
	}
}

// pacedReader waits before it hands out. Len gives the request its
// Content-Length.
type pacedReader struct {
	r     io.Reader
	left  int
	piece func() int
	wait  func(n int) error
	count func(n int)
}

func (p *pacedReader) Len() int { return p.left }

func (p *pacedReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b[:min(len(b), p.piece())])
	if n > 0 {
		if werr := p.wait(n); werr != nil {
			return 0, werr
		}
		p.left -= n
		p.count(n)
	}
	return n, err
}
