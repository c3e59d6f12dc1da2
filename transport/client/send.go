package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"antipode/transport/shape"
	"antipode/transport/stripe"
	"antipode/transport/wire"
)

const (
	// watchEvery is how often the wait for the link is looked at, and progress is
	// told.
	watchEvery = time.Second
	// silence is when a progress stream without heartbeat, or a lane that owes
	// acknowledgements without a sign of life, is taken for half-open.
	silence      = 15 * time.Second
	abortTimeout = 2 * time.Second
)

// Progress is how far a Send is.
type Progress struct {
	Acked int64 // bytes of the stream that the target has
	Wire  int64 // bytes given to TLS: packed, repetitions and headers included
	Again int64 // of the stream: sent a second time because it was overdue on a slow lane
	// Packing is how hard chunks are packed now: off, fast, normal, thorough; "" is
	// not at all, because nobody wants it or the peer takes none.
	Packing string
	Lanes   int // connected now
	// WaitingSince is when the link was lost; zero while it is up.
	WaitingSince time.Time
	// Notice is why the target takes nothing at the moment; nil if it does.
	Notice error
}

// Send sends src as the incarnation and returns what the target published.
// It waits for a lost link for WaitForLink (then wire.ErrLinkWait), and sends
// again only what was in flight; src is read once, to its bare io.EOF. progress
// may be nil; it is called about once a second, from one goroutine at a time,
// and must not block. On any other end than success the target is told to
// abort, so that it does not wait, and src, if it is an io.Closer and a Read is
// waiting, is closed to get that back.
//
// open.ChunkBytes bounds the chunks; a long path has smaller ones.
//
// A wire.ErrUnknown means that the target knows nothing of the transfer and has
// not published it (it was restarted): plan again.
func (c *Client) Send(ctx context.Context, open wire.Open, src io.Reader, progress func(Progress)) (wire.Committed, error) {
	if most, _ := chunkFor(c.newest()); open.ChunkBytes == 0 || open.ChunkBytes > most {
		open.ChunkBytes = most
	}
	if err := open.Validate(); err != nil {
		return wire.Committed{}, fmt.Errorf("send to %s: %w", c.opts.Address, err)
	}
	if progress == nil {
		progress = func(Progress) {}
	}
	t := c.newTransfer(open, progress)
	done, err := t.send(ctx, src)
	if err != nil && !t.isAnswered() {
		t.abort(ctx)
	}
	return done, c.explain("send to", err)
}

// transfer is one Send.
type transfer struct {
	c    *Client
	open wire.Open
	tell func(Progress)
	tx   *stripe.Sender
	// budget makes the transfer one waiter at its job's, however many lanes it has.
	budget *shape.Budget
	judge  judge
	sent   atomic.Int64 // bytes given to TLS
	lanes  atomic.Int32

	mu       sync.Mutex // guards what follows
	heard    time.Time  // the target's last sign of life
	up       bool       // the progress stream is connected
	notice   error
	answered bool          // the target has said its last word
	news     chan struct{} // closed, and made anew, with each line taken in
}

func (c *Client) newTransfer(open wire.Open, tell func(Progress)) *transfer {
	t := &transfer{
		c: c, open: open, tell: tell, budget: shape.NewBudget(c.opts.Budget), heard: c.opts.Now(), news: make(chan struct{}),
	}
	t.cut(open.ChunkBytes)
	return t
}

// cut makes the stream's chunks as large as that.
func (t *transfer) cut(chunkBytes int) {
	t.open.ChunkBytes = chunkBytes
	t.tx = stripe.NewSender(stripe.SenderOptions{
		Pool: t.c.pool, ChunkBytes: chunkBytes, Now: t.c.opts.Now, Window: t.window,
	})
}

// window is how many chunks may be held now.
func (t *transfer) window() int {
	return t.c.opts.Memory.Window(t.c.opts.Window, t.open.ChunkBytes, 1)
}

// send reads the first chunk and chooses the way by whether that was all.
func (t *transfer) send(ctx context.Context, src io.Reader) (wire.Committed, error) {
	first, err := t.first(ctx, src)
	defer first.leave(t.c.pool)
	switch {
	case ctx.Err() != nil:
		return wire.Committed{}, context.Cause(ctx)
	case err == io.EOF: //nolint:errorlint // only a bare io.EOF ends a stream
		done, err := t.whole(ctx, first.bytes)
		if err != nil {
			first.bytes = nil // an abandoned request may still be reading it
			return done, err
		}
		t.tell(Progress{Acked: int64(len(first.bytes)), Wire: t.sent.Load()})
		return done, nil
	case err != nil:
		return wire.Committed{}, fmt.Errorf("read stream: %w", err)
	}
	_, most := chunkFor(t.c.newest())
	t.cut(min(t.open.ChunkBytes, most))
	return t.striped(ctx, io.MultiReader(bytes.NewReader(first.bytes), src), src)
}

// closeOn closes a source that can be closed when ctx ends, so that a Read of
// it that waits returns.
func closeOn(ctx context.Context, src io.Reader) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		if c, ok := src.(io.Closer); ok {
			c.Close()
		}
	})
}

// striped sends over lanes.
func (t *transfer) striped(parent context.Context, stream, src io.Reader) (wire.Committed, error) {
	if err := t.c.bulk.enter(parent); err != nil {
		return wire.Committed{}, err
	}
	defer t.c.bulk.leave()
	defer t.c.opts.Memory.Join()()
	p, err := t.announce(parent)
	if err != nil {
		return wire.Committed{}, err
	}
	if p.IsFinal() {
		return t.last(p)
	}
	if err := t.take(p); err != nil {
		return wire.Committed{}, err
	}
	ctx, cancel := context.WithCancelCause(parent)
	var parts sync.WaitGroup
	fail := func(err error) { cancel(err); t.tx.Fail(err) }
	parts.Go(func() {
		defer closeOn(ctx, src)()
		if err := t.tx.Run(ctx, stream); err != nil {
			fail(err)
		}
	})
	parts.Go(func() { newCrew(t, &parts, fail).steer(ctx) })
	parts.Go(func() { t.watch(ctx, fail) })
	done, err := t.follow(ctx)
	fail(errors.Join(errOver, err))
	parts.Wait()
	t.tell(t.progress())
	if cause := context.Cause(ctx); err != nil && !errors.Is(cause, errOver) {
		err = cause
	}
	return done, err
}

// errOver ends the parts of a transfer that has its answer.
var errOver = errors.New("transfer is over")

// announce opens the transfer at the target; it may be repeated.
func (t *transfer) announce(ctx context.Context) (wire.Progress, error) {
	ctx, cancel := t.patiently(ctx)
	defer cancel()
	return askBy[wire.Progress](ctx, t.c, t.c.steps, http.MethodPost, wire.PathTransfers, t.open)
}

// patiently bounds what must get through by the wait for the link.
func (t *transfer) patiently(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, t.c.opts.WaitForLink, t.linkWait())
}

func (t *transfer) linkWait() error {
	return fmt.Errorf("%w: nothing was heard of %s for %s", wire.ErrLinkWait, t.c.opts.Address, t.c.opts.WaitForLink)
}

// take brings in what the target says.
func (t *transfer) take(p wire.Progress) error {
	err := t.tx.Acknowledge(p)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.heard, t.up, t.notice = t.c.opts.Now(), true, nil
	if p.Notice != nil {
		t.notice = p.Notice
	}
	close(t.news)
	t.news = make(chan struct{})
	return err
}

// awaitNews waits for the next line and reports whether ctx let it.
func (t *transfer) awaitNews(ctx context.Context) bool {
	t.mu.Lock()
	news := t.news
	t.mu.Unlock()
	select {
	case <-news:
		return true
	case <-ctx.Done():
		return false
	}
}

// last is the target's last word.
func (t *transfer) last(p wire.Progress) (wire.Committed, error) {
	t.mu.Lock()
	t.answered = true
	t.mu.Unlock()
	_ = t.take(p) // for the progress; the last word counts whatever it acknowledges
	switch {
	case p.Error != nil:
		return wire.Committed{}, p.Error
	case !p.Committed.Published:
		return *p.Committed, fmt.Errorf("%w: the target received %s and did not publish it", wire.ErrMalformed, t.open.Step.To.Name)
	}
	return *p.Committed, nil
}

func (t *transfer) isAnswered() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.answered
}

// abort tells the target that nothing more will come. It is a courtesy: if it
// does not arrive the target waits, and the next incarnation ends that.
func (t *transfer) abort(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abortTimeout)
	defer cancel()
	if err := t.c.Abort(ctx, t.open.Incarnation); err != nil {
		t.c.opts.Log.Debug().Err(err).Msg("target was not told of the abort")
	}
}

// watch tells how far the transfer is and ends one that waited too long.
func (t *transfer) watch(ctx context.Context, fail func(error)) {
	for sleep(ctx, watchEvery) {
		t.tell(t.progress())
		if t.c.opts.Now().Sub(t.lastHeard()) >= t.c.opts.WaitForLink {
			fail(t.linkWait())
			return
		}
	}
}

// lastHeard is the target's last sign of life.
func (t *transfer) lastHeard() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.heard
}

func (t *transfer) progress() Progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	p := Progress{Acked: t.tx.Acked(), Wire: t.sent.Load(), Again: t.tx.Again(), Packing: t.c.packing.level(), Lanes: int(t.lanes.Load()), Notice: t.notice}
	if !t.up {
		p.WaitingSince = t.heard
	}
	return p
}
