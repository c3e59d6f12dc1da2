// Package replicate brings the datasets of one job to one peer: it asks what the
// peer holds, plans, sends, and tries again by itself. It does not take
// snapshots and does not prune, so that a first copy of two weeks delays neither.
//
// A Courier serves one job and one peer. Each of its rounds asks, in one
// exchange, about all datasets on which nothing is under way, and starts an
// errand for each that is behind. Errands run side by side; one that fails backs
// off alone.
package replicate

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"antipode/daemon/board"
	"antipode/daemon/ledger"
	"antipode/daemon/policy"
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/transport/client"
	"antipode/transport/wire"
)

const (
	// fullSlots and incrementSlots bound what runs at once to one peer. First
	// copies have slots of their own: they take weeks, increments take
	// seconds.
	fullSlots      = 2
	incrementSlots = 4
	// retryFirst and retryMost bound the pause after a failure; it doubles.
	retryFirst = 5 * time.Second
	retryMost  = 5 * time.Minute
)

// Far is the peer as a courier needs it.
type Far interface {
	Inventory(ctx context.Context, r wire.InventoryRequest) (wire.Inventory, error)
	Send(ctx context.Context, open wire.Open, src io.Reader, progress func(client.Progress)) (wire.Committed, error)
}

// Near is the source's file system as a courier needs it.
type Near interface {
	fsdrivers.Lister
	fsdrivers.Sender
	fsdrivers.Holder
	fsdrivers.Marker
	fsdrivers.Estimator
	fsdrivers.Fencer
}

// Options of a Courier. All fields are needed.
type Options struct {
	Node    string
	Job     policy.Job
	Peer    string
	Near    Near
	Far     Far
	Board   *board.Board
	History interface{ Record(ledger.Batch) }
	Now     func() time.Time
	Log     zerolog.Logger
	// Alarm tells the operator of what no retry will mend: a mark that cannot
	// be believed, a split brain, a demotion.
	Alarm func(kind, object, text string)
}

// Courier replicates one job to one peer.
type Courier struct {
	Options
	job    atomic.Pointer[policy.Job] // as the newest configuration has it
	visits chan visit
	full   *slots
	small  *slots

	mu      sync.Mutex // guards below
	errands map[dataset.Path]*errand
	backoff map[dataset.Path]pause
	paused  bool
}

// visit asks for a round now.
type visit struct {
	force bool // do not wait for pauses after failures
	done  chan<- error
}

// errand is what is under way for one dataset.
type errand struct {
	cancel context.CancelCauseFunc
	done   chan struct{}
	again  bool  // something newer came in the meantime
	err    error // valid when done is closed
}

// pause is how long a dataset is left alone after failures.
type pause struct {
	failures int
	until    time.Time
}

// New returns a courier; Serve runs it.
func New(o Options) *Courier {
	c := &Courier{
		Options: o, visits: make(chan visit), full: newSlots(fullSlots), small: newSlots(incrementSlots),
		errands: map[dataset.Path]*errand{}, backoff: map[dataset.Path]pause{},
	}
	c.job.Store(&o.Job)
	return c
}

// SetJob takes over a changed policy; what is under way goes on as it began.
func (c *Courier) SetJob(j policy.Job) { c.job.Store(&j) }

// SetPaused keeps new errands from starting, or lets them.
func (c *Courier) SetPaused(paused bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused = paused
}

// Serve makes rounds until ctx ends, and returns when every errand has ended.
func (c *Courier) Serve(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		select {
		case <-ctx.Done():
			return nil
		case v := <-c.visits:
			started, err := c.round(ctx, v.force)
			running.Go(func() { v.done <- errors.Join(append([]error{err}, outcomes(started)...)...) })
		case <-c.retry():
			// What failed is on the board; who wants the errors visits.
			started, _ := c.round(ctx, false)
			running.Go(func() { outcomes(started) })
		}
	}
}

// Visit makes a round and waits for what it started. With force, datasets that
// are left alone after a failure are tried too. An error has been shown on the
// board and logged already.
func (c *Courier) Visit(ctx context.Context, force bool) error {
	done := make(chan error, 1)
	select {
	case c.visits <- visit{force: force, done: done}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Abort ends what is under way for d, or for every dataset if d is zero, and
// reports how many errands that were.
func (c *Courier) Abort(d dataset.Path, why error) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	ended := 0
	for path, e := range c.errands {
		if d.IsZero() || d == path {
			e.cancel(why)
			ended++
		}
	}
	return ended
}

// InFlight reports the ends of the steps under way for d.
func (c *Courier) InFlight(d dataset.Path) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, busy := c.errands[d]
	return busy
}

// outcomes waits for errands and returns how they ended.
func outcomes(errands []*errand) []error {
	var errs []error
	for _, e := range errands {
		<-e.done
		errs = append(errs, e.err)
	}
	return errs
}

// retry fires when the first pause after a failure is over; never while there is
// none.
func (c *Courier) retry() <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	var first time.Time
	for path, p := range c.backoff {
		if _, busy := c.errands[path]; !busy && (first.IsZero() || p.until.Before(first)) {
			first = p.until
		}
	}
	if first.IsZero() || c.paused {
		return nil
	}
	return time.After(max(first.Sub(c.Now()), 0))
}

// failed leaves a dataset alone for a while; succeeded ends that.
func (c *Courier) failed(d dataset.Path) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.backoff[d]
	wait := min(retryFirst<<min(p.failures, 10), retryMost)
	p = pause{failures: p.failures + 1, until: c.Now().Add(wait)}
	c.backoff[d] = p
	return p.until
}

func (c *Courier) succeeded(d dataset.Path) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.backoff, d)
}
