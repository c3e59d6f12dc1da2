package server

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/transport/stripe"
	"antipode/transport/wire"
)

// transfer is one incarnation. Its states:
//
//	running -> ending   end: aborted, superseded, no link for too long
//	running -> over     Backend.Receive returned
//	ending  -> over     likewise
//
// An over one stays in the table for a while, for the sender that missed the
// answer.
type transfer struct {
	peer    string
	open    wire.Open
	started time.Time
	rx      *stripe.Receiver
	patient time.Duration // wait_for_link
	whole   bool          // it comes in one request, and no lane brings more
	now     func() time.Time
	came    atomic.Int64 // bytes of frames
	spoke   atomic.Int64 // when bytes last came on a lane, in nanoseconds since 1970; 0: never

	cancel context.CancelCauseFunc
	ending <-chan struct{} // closed by end and when it is over
	over   chan struct{}   // closed once final is set
	final  wire.Progress   // the last word; read it only after over

	mu     sync.Mutex // guards what follows
	lanes  int        // connected
	byLane map[int]*visit
	since  time.Time // when the last one ended, or the last other request
	timer  *time.Timer
}

// visit is one connection of a lane. Its cut ends a read that waits, once.
type visit struct{ cut chan struct{} }

// wholeLane is the lane number of a stream that comes in one request.
const wholeLane = -1

// key is what only one incarnation may receive into.
type key struct {
	peer, driver string
	path         dataset.Path
}

func (t *transfer) key() key { return key{t.peer, t.open.Driver, t.open.Step.Dataset.Path} }

// end stops the transfer; the first cause counts. It does not wait.
func (t *transfer) end(cause error) {
	t.rx.Fail(cause)
	t.cancel(cause)
}

// wait returns when the receive has returned, its child reaped.
func (t *transfer) wait(ctx context.Context) error {
	select {
	case <-t.over:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// run is the whole life of the receive, on a goroutine of its own, which closes
// over next.
func (t *transfer) run(ctx context.Context, b Backend) {
	committed, err := b.Receive(ctx, t.peer, t.open, t.rx)
	if cause := t.rx.Err(); err != nil && cause != nil {
		err = cause // what the driver says then is only its echo
	}
	if err == nil {
		err = committed.Validate()
	}
	if err != nil {
		t.final.Error = wire.FromError(err)
	} else {
		t.final.Committed = &committed
	}
	t.end(fmt.Errorf("%w: %s", wire.ErrGone, t.open.Incarnation))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer.Stop()
}

// progress is what the sender should know now, and what closes when that has
// changed.
func (t *transfer) progress() (wire.Progress, <-chan struct{}) {
	p, changed := t.rx.Progress()
	select {
	case <-t.over:
		p.Error, p.Committed, p.Notice = t.final.Error, t.final.Committed, nil
	default:
	}
	return p, changed
}

// enter notes a connection of lane n; the returned function notes its end. It
// takes the place of an earlier one of the same lane, which is cut: the sender
// dials again because it is dead, and we may not know that for long. Only lanes
// count as a link that is up: bytes come on them, so that a half-open one is found
// out.
func (t *transfer) enter(n int) (v *visit, leave func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lanes >= 2*wire.MaxLanes {
		return nil, nil, fmt.Errorf("%w: %d lanes of this transfer are connected", wire.ErrTooMany, t.lanes)
	}
	v = &visit{cut: make(chan struct{})}
	if earlier := t.byLane[n]; earlier != nil {
		close(earlier.cut)
	}
	if t.byLane == nil {
		t.byLane = map[int]*visit{}
	}
	t.byLane[n] = v
	t.lanes++
	return v, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.byLane[n] == v {
			delete(t.byLane, n)
		}
		t.lanes--
		t.maybeWait()
	}, nil
}

// connections is how many lanes are connected, the dead ones among them.
func (t *transfer) connections() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lanes
}

// heard starts the wait for the link anew: every request is a sign of life.
func (t *transfer) heard() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.maybeWait()
}

func (t *transfer) maybeWait() {
	if t.lanes > 0 || isOver(t) {
		return
	}
	t.since = t.now()
	if t.timer != nil {
		t.timer.Stop()
	}
	t.timer = time.AfterFunc(t.patient, t.maybeExpire)
}

// maybeExpire ends the transfer unless somebody came back, or the stream is
// whole and the driver needs nobody any more.
func (t *transfer) maybeExpire() {
	t.mu.Lock()
	gone := t.lanes == 0 && t.now().Sub(t.since) >= t.patient
	t.mu.Unlock()
	if gone && !t.rx.IsComplete() {
		t.end(fmt.Errorf("%w: nothing was heard of %s for %s", wire.ErrLinkWait, t.peer, t.patient))
	}
}

func (t *transfer) state() TransferState {
	received, notice := t.rx.Received()
	t.mu.Lock()
	defer t.mu.Unlock()
	s := TransferState{Peer: t.peer, Open: t.open, Received: received, Wire: t.came.Load(), Started: t.started, Lanes: len(t.byLane), Notice: notice}
	if t.lanes == 0 {
		s.WaitingSince = t.since
	}
	if spoke := t.spoke.Load(); spoke > 0 {
		s.Spoke = time.Unix(0, spoke)
	}
	return s
}
