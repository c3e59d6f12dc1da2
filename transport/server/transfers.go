package server

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"antipode/transport/wire"
)

const (
	// maxWhole is how many steps in one request may be at work at once, and
	// maxLarge how many of these may be larger than smallStep: they are in
	// memory.
	maxWhole  = 256
	maxLarge  = 32
	smallStep = 128 << 10
	// stepWait is how long the answer to a whole step is held back; the sender
	// follows the progress after that.
	stepWait = 20 * time.Second
	// openWait is how long an opening waits for the earlier incarnation's child.
	openWait = 20 * time.Second
	// heartbeat is the longest silence on a progress stream.
	heartbeat = time.Second
	// spacing lets acknowledgements gather: one line for several chunks.
	spacing = 5 * time.Millisecond
)

func (s *Server) openTransfer(w http.ResponseWriter, r *http.Request, peer string) (any, error) {
	o, err := decode[wire.Open](w, r, s.opts.Now(), wire.MaxOpenBytes)
	if err != nil {
		return nil, err
	}
	t, err := s.openWithin(r.Context(), peer, o, false)
	if err != nil {
		return nil, err
	}
	p, _ := t.progress()
	return p, nil
}

// openWithin turns a wait that takes too long into an answer to try again on.
func (s *Server) openWithin(ctx context.Context, peer string, o wire.Open, whole bool) (*transfer, error) {
	busy := fmt.Errorf("%w: the receive before this one is still being ended", wire.ErrTooMany)
	ctx, cancel := context.WithTimeoutCause(ctx, openWait, busy)
	defer cancel()
	return s.open(ctx, peer, o, whole)
}

func (s *Server) abort(_ http.ResponseWriter, r *http.Request, peer string) (any, error) {
	t, err := s.transfers.find(peer, r.PathValue("incarnation"))
	if err != nil {
		return nil, err
	}
	t.end(fmt.Errorf("%w: by %s", wire.ErrAborted, peer))
	p, _ := t.progress()
	return p, nil
}

// progress streams a line whenever something changed and once a second, until
// the last word.
func (s *Server) progress(w http.ResponseWriter, r *http.Request, peer string) (any, error) {
	t, err := s.transfers.find(peer, r.PathValue("incarnation"))
	if err != nil {
		return nil, err
	}
	t.heard()
	w.Header().Set("Content-Type", wire.ContentJSON)
	c := http.NewResponseController(w)
	out := json.NewEncoder(w)
	beat := time.NewTicker(heartbeat)
	defer beat.Stop()
	for {
		p, changed := t.progress()
		if err := c.SetWriteDeadline(s.opts.Now().Add(answerTimeout)); err != nil {
			return nil, fmt.Errorf("progress: %w", err)
		}
		if out.Encode(p) != nil || c.Flush() != nil || p.IsFinal() {
			return nil, nil
		}
		select {
		case <-changed:
			pause(r.Context(), spacing)
		case <-t.over:
		case <-beat.C:
		case <-r.Context().Done():
			return nil, nil
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// step takes a whole stream in one request. It is an opening, a lane and the
// wait for the answer in one, and may be repeated like each of them.
func (s *Server) step(w http.ResponseWriter, r *http.Request, peer string) (any, error) {
	stop := limitBody(w, r, s.opts.Now(), wire.MaxStepBytes)
	defer stop()
	if r.ContentLength < 0 || r.ContentLength > smallStep {
		select {
		case s.large <- struct{}{}:
			defer func() { <-s.large }()
		case <-r.Context().Done():
			return nil, context.Cause(r.Context())
		}
	}
	// As on a lane, only silence counts: at a low rate a chunk takes minutes.
	body := bufio.NewReader(&liveBody{r: r.Body, c: http.NewResponseController(w), now: s.opts.Now})
	o, err := readOpen(body)
	if err != nil {
		return nil, bodyError(err)
	}
	t, err := s.openWithin(r.Context(), peer, o, true)
	if err != nil {
		return nil, err
	}
	if err := s.readStep(body, t); err != nil && !isOver(t) {
		return nil, bodyError(err)
	}
	stop()
	return s.awaitStep(r.Context(), t)
}

func (s *Server) readStep(body io.Reader, t *transfer) error {
	_, leave, err := t.enter(wholeLane)
	if err != nil {
		return err
	}
	defer leave()
	return (&frames{body: body, t: t, pool: s.pool, coder: s.coder}).read(true)
}

// awaitStep answers with the last word, or with the progress if that takes long.
func (s *Server) awaitStep(ctx context.Context, t *transfer) (any, error) {
	within, cancel := context.WithTimeout(ctx, stepWait)
	defer cancel()
	if err := t.wait(within); err != nil && ctx.Err() != nil {
		return nil, err
	}
	p, _ := t.progress()
	if p.Error != nil {
		return nil, p.Error
	}
	return p, nil
}

func isOver(t *transfer) bool {
	select {
	case <-t.ending:
		return true
	default:
		return false
	}
}

func readOpen(r io.Reader) (wire.Open, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return wire.Open{}, fmt.Errorf("%w: step: %w", wire.ErrMalformed, err)
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > wire.MaxOpenBytes {
		return wire.Open{}, fmt.Errorf("%w: announcement of %d bytes", wire.ErrTooLarge, n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(r, b); err != nil {
		return wire.Open{}, fmt.Errorf("%w: step: %w", wire.ErrMalformed, err)
	}
	return wire.Parse[wire.Open](b)
}

func readAll(r *http.Request, limit int) ([]byte, error) {
	return io.ReadAll(io.LimitReader(r.Body, int64(limit)+1))
}
