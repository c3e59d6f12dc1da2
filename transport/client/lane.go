package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/transport/cork"
	"antipode/transport/stripe"
	"antipode/transport/wire"
)

const (
	// idleEvery keeps a lane without work alive; see wire.FrameIdle.
	idleEvery = 5 * time.Second
	// slice is the most that one wait for the budget is for, and the unit in
	// which a lane's signs of life are counted.
	slice = cork.Slice
	// maxDigestErrors of one transfer: a bit that flips once is repeated, one
	// that flips again and again is broken memory.
	maxDigestErrors = 3
)

// run keeps the lane connected until the transfer ends or it is retired.
func (h *hand) run(ctx context.Context, fail func(error)) {
	t, digests := h.t, 0
	for attempt := 0; ; attempt++ {
		began := t.c.opts.Now()
		err := h.once(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		if errors.Is(err, wire.ErrDigest) {
			digests++
		}
		if t.isLaneFinal(err) || digests >= maxDigestErrors {
			fail(fmt.Errorf("lane %d: %w", h.n, err))
			return
		}
		if t.c.opts.Now().Sub(began) > maxBackoff {
			attempt = 0
		}
		t.c.opts.Log.Debug().Err(err).Int("lane", h.n).Str("incarnation", t.open.Incarnation).Msg("lane lost")
		// Only a line that comes after the lane's end tells which of its chunks
		// have arrived; without it they would all be sent again.
		if !t.awaitNews(ctx) || !sleep(ctx, backoff(minBackoff, maxBackoff, attempt, nil)) {
			return
		}
	}
}

// isLaneFinal holds for what another connection would not heal. That the
// transfer is over is for follow to say, which has the reason.
func (t *transfer) isLaneFinal(err error) bool {
	e, answered := errors.AsType[*wire.Error](err)
	if !answered {
		return t.c.isFinal(err)
	}
	switch e.Kind {
	case wire.KindMalformed, wire.KindTooLarge, wire.KindBeyondCredit, wire.KindMismatch, wire.KindVersion:
		return true
	}
	return false
}

// isOver holds for a lane that ended because its transfer did.
func isOver(err error) bool {
	for _, end := range []error{wire.ErrGone, wire.ErrSuperseded, wire.ErrAborted, wire.ErrLinkWait} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

// once is one connection: one PUT whose body carries frames until all is
// acknowledged, or the lane retired.
func (h *hand) once(ctx context.Context) error {
	t := h.t
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	lane := t.tx.Lane()
	defer lane.Close()
	if !h.begin(lane, cancel) {
		return nil
	}
	defer h.unset()
	writer := &laneWriter{t: t, lane: lane}
	body := bodyFunc(func(w io.Writer) (int64, error) {
		defer lane.Release()
		writer.w = w
		return writer.run(ctx)
	})
	found := func(c *cork.Conn) {
		writer.cork = c
		h.onto(c.Conn)
	}
	path := fmt.Sprintf("%s/%s%s/%d", wire.PathTransfers, t.open.Incarnation, wire.SubLanes, h.n)
	req, err := http.NewRequestWithContext(tracing(ctx, found), http.MethodPut, t.c.base+path, body)
	if err != nil {
		return err
	}
	setHeaders(req, wire.ContentFrames)
	resp, err := t.c.lanes.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := t.c.check(resp); err != nil {
		if isOver(err) {
			<-ctx.Done() // what the lane holds has arrived, or nobody wants it
		}
		return err
	}
	// The answer acknowledges what this lane has brought: otherwise a retired one
	// would leave it to be sent again.
	p, err := wire.Decode[wire.Progress](resp.Body, wire.MaxProgressBytes)
	if err != nil || p.IsFinal() {
		return nil //nolint:nilerr // the last word is for follow to hear, and without this one it comes as a line
	}
	return t.tx.Acknowledge(p)
}

// bodyFunc is a request body that writes itself, so that whole chunks go to
// TLS without another copy: net/http uses WriteTo where there is one.
type bodyFunc func(w io.Writer) (int64, error)

func (f bodyFunc) WriteTo(w io.Writer) (int64, error) { return f(w) }

// Read is there for the interface; net/http does not call it.
func (bodyFunc) Read([]byte) (int, error) {
	return 0, errors.New("a lane's body is written, not read")
}

func (bodyFunc) Close() error { return nil }

// laneWriter writes the frames of one lane.
type laneWriter struct {
	t    *transfer
	lane *stripe.Lane
	w    io.Writer
	cork *cork.Conn // below w; nil where the connection has none
	n    int64
	head [wire.HeaderBytes]byte
}

// run writes until everything is acknowledged, or the lane retired. The idle frame in front brings
// the request's head on its way.
func (l *laneWriter) run(ctx context.Context) (int64, error) {
	l.t.lanes.Add(1)
	defer l.t.lanes.Add(-1)
	l.t.c.open.Add(1)
	defer l.t.c.open.Add(-1)
	if err := l.frame(ctx, stripe.Frame{Header: wire.Header{Type: wire.FrameIdle}}); err != nil {
		return l.n, err
	}
	for {
		began := l.t.c.opts.Now()
		f, err := l.next(ctx)
		if err == io.EOF || err == stripe.ErrRetired { //nolint:errorlint // Next's own
			return l.n, nil
		}
		if err != nil {
			return l.n, err
		}
		if err := l.send(f, began, func(f stripe.Frame) error { return l.frame(ctx, f) }); err != nil {
			return l.n, err
		}
	}
}

// next is the next frame, or an idle one when there is none for a while.
func (l *laneWriter) next(ctx context.Context) (stripe.Frame, error) {
	within, cancel := context.WithTimeout(ctx, idleEvery)
	defer cancel()
	f, err := l.lane.Next(within)
	if err != nil && within.Err() != nil && ctx.Err() == nil && errors.Is(err, context.DeadlineExceeded) {
		return stripe.Frame{Header: wire.Header{Type: wire.FrameIdle}}, nil
	}
	return f, err
}

// frame writes a header and its payload. Of these the payload alone is a sign
// of life: idle frames vanish in the buffers of a dead connection for long.
func (l *laneWriter) frame(ctx context.Context, f stripe.Frame) error {
	if err := l.write(ctx, f.Header.Append(l.head[:0])); err != nil {
		return err
	}
	for b := f.Payload; len(b) > 0; {
		part := b[:min(len(b), l.t.budget.Piece(slice))]
		l.lane.Touch()
		if err := l.write(ctx, part); err != nil {
			return err
		}
		l.lane.Touch()
		b = b[len(part):]
	}
	return nil
}

// write waits for the budget and gives b to TLS.
func (l *laneWriter) write(ctx context.Context, b []byte) error {
	l.lane.Throttle(true)
	err := l.t.budget.Wait(ctx, len(b))
	l.lane.Throttle(false)
	if err != nil {
		return err
	}
	k, err := l.put(b)
	l.n += int64(k)
	l.t.sent.Add(int64(k))
	if err != nil {
		return fmt.Errorf("%w: lane: %w", dataset.ErrCut, err)
	}
	return nil
}

// put writes one slice as a whole.
func (l *laneWriter) put(part []byte) (int, error) {
	if l.cork == nil {
		return l.w.Write(part)
	}
	l.cork.Put()
	n, err := l.w.Write(part)
	if pullErr := l.cork.Pull(); err == nil {
		err = pullErr
	}
	return n, err
}
