package server

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"antipode/fsdrivers/dataset"
	"antipode/transport/squeeze"
	"antipode/transport/stripe"
	"antipode/transport/wire"
)

// laneTimeout is the longest silence on a lane; a sender without work sends an
// idle frame every few seconds.
const laneTimeout = 30 * time.Second

// How long, and how much, is read behind an answer that ends a lane.
const (
	drainTimeout = 2 * time.Second
	drainBytes   = 4 * wire.MaxChunk
)

// lane takes frames in until the sender ends the body or the transfer is over.
// What is wrong with a frame ends this lane; the transfer goes on by another.
func (s *Server) lane(w http.ResponseWriter, r *http.Request, peer string) (any, error) {
	n, err := strconv.ParseUint(r.PathValue("lane"), 10, 16)
	if err != nil || n >= wire.MaxLanes {
		return nil, wire.Errorf(wire.KindMalformed, "lane %.20q is no number below %d", r.PathValue("lane"), wire.MaxLanes)
	}
	c := http.NewResponseController(w)
	// Without it an early answer would wait for the rest of the body.
	if err := c.EnableFullDuplex(); err != nil {
		return nil, fmt.Errorf("lane: %w", err)
	}
	w.Header().Set("Connection", "close")
	p, err := s.readLane(r, c, peer, int(n))
	s.answer(w, r, p, err)
	if err != nil {
		s.drain(r, c)
	}
	return nil, nil
}

func (s *Server) readLane(r *http.Request, c *http.ResponseController, peer string, n int) (wire.Progress, error) {
	t, err := s.transfers.find(peer, r.PathValue("incarnation"))
	if err != nil {
		return wire.Progress{}, err
	}
	if t.whole {
		return wire.Progress{}, wire.Errorf(wire.KindMalformed, "the step comes in one request, and has no lanes")
	}
	v, leave, err := s.transfers.enter(t, n)
	if err != nil {
		return wire.Progress{}, err
	}
	defer leave()
	defer s.interrupt(t, v, c)()
	body := &liveBody{r: r.Body, c: c, now: s.opts.Now, spoke: &t.spoke}
	err = (&frames{body: body, t: t, pool: s.pool, coder: s.coder}).read(false)
	p, _ := t.progress()
	return p, err
}

// drain reads on for a while behind an early answer: a connection that is
// closed over unread bytes is reset, and the answer lost with it.
func (s *Server) drain(r *http.Request, c *http.ResponseController) {
	if c.Flush() != nil || c.SetReadDeadline(s.opts.Now().Add(drainTimeout)) != nil {
		return
	}
	// How it ends does not matter; the lane is over.
	_, _ = io.CopyN(io.Discard, r.Body, drainBytes)
}

// interrupt ends a read that waits when the transfer ends, or another connection
// of the lane takes over. The returned function must be called before the handler
// returns.
func (s *Server) interrupt(t *transfer, v *visit, c *http.ResponseController) (stop func()) {
	left, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-t.ending:
			_ = c.SetReadDeadline(s.opts.Now())
		case <-v.cut:
			_ = c.SetReadDeadline(s.opts.Now())
		case <-left:
		}
	}()
	return func() {
		close(left)
		<-done
	}
}

// liveBody moves the deadline forward as long as bytes come.
type liveBody struct {
	r    io.Reader
	c    *http.ResponseController
	now  func() time.Time
	last time.Time
	// spoke is when bytes last came, in nanoseconds since 1970; nil where nobody asks.
	spoke *atomic.Int64
}

func (b *liveBody) Read(p []byte) (int, error) {
	if now := b.now(); now.Sub(b.last) >= time.Second {
		if err := b.c.SetReadDeadline(now.Add(laneTimeout)); err != nil {
			return 0, fmt.Errorf("lane: %w", err)
		}
		b.last = now
	}
	n, err := b.r.Read(p)
	if n > 0 && b.spoke != nil {
		b.spoke.Store(b.now().UnixNano())
	}
	return n, err
}

// frames reads the frames of one body into a transfer.
type frames struct {
	body  io.Reader
	t     *transfer
	pool  *stripe.Pool
	coder *squeeze.Coder
}

// read returns nil at the end of the body between two frames; with untilEnd
// only behind the end frame, and nothing may follow that.
func (f *frames) read(untilEnd bool) error {
	for {
		h, err := f.header()
		switch {
		case errors.Is(err, io.EOF) && !untilEnd:
			return nil
		case errors.Is(err, io.EOF):
			return fmt.Errorf("%w: no end frame", wire.ErrMalformed)
		case err != nil:
			return err
		}
		if err := f.take(h); err != nil {
			return err
		}
		if untilEnd && h.Type == wire.FrameEnd {
			return f.nothing()
		}
	}
}

// header answers a bare io.EOF between two frames only.
func (f *frames) header() (wire.Header, error) {
	var b [wire.HeaderBytes]byte
	switch _, err := io.ReadFull(f.body, b[:]); {
	case err == io.EOF: // the body's own end, and not a wrapped one
		return wire.Header{}, io.EOF
	case err != nil:
		return wire.Header{}, f.cut(err)
	}
	return wire.ParseHeader(b[:])
}

func (f *frames) take(h wire.Header) error {
	// The deadline may have been moved forward over the one that interrupt set.
	if err := f.t.rx.Err(); err != nil || h.Type == wire.FrameIdle {
		return err
	}
	f.t.came.Add(wire.HeaderBytes + int64(h.Length))
	isNew, err := f.t.rx.Admit(h)
	if err != nil {
		return err
	}
	if h.Type == wire.FrameEnd {
		return f.t.rx.Put(h, nil)
	}
	if !isNew {
		return f.repeated(h)
	}
	raw, err := f.payload(h)
	if err != nil {
		return err
	}
	return f.t.rx.Put(h, raw)
}

// payload reads a chunk, and unpacks it. Room for what it holds is taken only when
// all of it is there.
func (f *frames) payload(h wire.Header) ([]byte, error) {
	buf := f.pool.Get(int(h.Length))
	if _, err := io.ReadFull(f.body, buf); err != nil {
		f.pool.Put(buf)
		return nil, f.cut(err)
	}
	if h.Codec == wire.CodecRaw {
		return buf, nil
	}
	defer f.pool.Put(buf)
	raw := f.pool.Get(int(h.Raw))
	if err := f.coder.Unpack(raw, buf); err != nil {
		f.pool.Put(raw)
		return nil, fmt.Errorf("%w: chunk %d: %v", wire.ErrDigest, h.Number, err) //nolint:errorlint // the kind is digest
	}
	return raw, nil
}

// repeated reads a chunk that is there already, for its digest only.
func (f *frames) repeated(h wire.Header) error {
	if h.Codec != wire.CodecRaw {
		return f.repeatedPacked(h)
	}
	d := xxhash.New()
	if _, err := io.CopyN(d, f.body, int64(h.Length)); err != nil {
		return f.cut(err)
	}
	if d.Sum64() != h.Digest {
		return fmt.Errorf("%w: chunk %d", wire.ErrDigest, h.Number)
	}
	return f.t.rx.Repeat(h)
}

// repeatedPacked is the same for a packed one: the digest is of what it holds.
func (f *frames) repeatedPacked(h wire.Header) error {
	raw, err := f.payload(h)
	if err != nil {
		return err
	}
	defer f.pool.Put(raw)
	if wire.Digest(raw) != h.Digest {
		return fmt.Errorf("%w: chunk %d", wire.ErrDigest, h.Number)
	}
	return f.t.rx.Repeat(h)
}

func (f *frames) nothing() error {
	var b [1]byte
	if n, _ := f.body.Read(b[:]); n > 0 {
		return fmt.Errorf("%w: bytes behind the end frame", wire.ErrTooLarge)
	}
	return nil
}

// cut names the end of a lane; the transfer's own end goes before it. The text
// of err may hold addresses, so only that it was cut is told.
func (f *frames) cut(err error) error {
	if over := f.t.rx.Err(); over != nil {
		return over
	}
	return fmt.Errorf("%w: lane: %w", dataset.ErrCut, err)
}
