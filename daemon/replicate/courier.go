// Package replicate brings the datasets of one job to one peer: it asks what the
// peer holds, plans, sends, and tries again by itself. It does not take
// snapshots and does not prune, so that a first copy of two weeks delays neither.
//
// A Courier serves one job and one peer. Each of its rounds asks in one exchange
// whether the peer holds of all datasets what this side expects, asks for the lists
// of those where it does not, and starts an errand for each that is behind. A
// dataset in which nothing happened costs no list on either side. Errands run side
// by side; one that fails backs off alone.
package replicate

import (
	"context"
	"errors"
	"io"
	"maps"
	"slices"
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
	// fullSlots bounds the first copies that run at once to one peer. They have
	// slots of their own: they take weeks, increments take seconds. Those have
	// as many as is worth it; see tempo.
	fullSlots = 2
	// retryFirst and retryMost bound the pause after a failure; it doubles.
	retryFirst = 5 * time.Second
	retryMost  = 5 * time.Minute
	// awayMost bounds it where the peer does not answer: one question serves all
	// datasets, and what waits for a peer is sent soon after that is back.
	awayMost = 30 * time.Second
)

// Far is the peer as a courier needs it.
type Far interface {
	Tips(ctx context.Context, q wire.TipsRequest) (wire.Tips, error)
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
	// Clear ends the alarms about a dataset: both sides agree.
	Clear func(object string)
	// FirstCopies are those to this peer that were asked for by command.
	FirstCopies FirstCopies
}

// FirstCopies knows where a first copy is wanted although the job forbids it.
type FirstCopies interface {
	Asked(d dataset.Dataset) bool
	// Seeded tells that the peer has a point of the dataset. It is told often.
	Seeded(path dataset.Path)
}

// Courier replicates one job to one peer.
type Courier struct {
	Options
	job    atomic.Pointer[policy.Job] // as the newest configuration has it
	visits chan visit
	orders chan order
	nudge  chan struct{} // see lookAgain
	full   *slots
	small  *slots

	// Of rounds, which Serve makes one after the other.
	seen   map[dataset.Path]side         // as it was read, at its version
	theirs map[dataset.Path]dataset.Mark // that the peer was last seen to have
	told   []string                      // the lists that the peer was sent, by page
	away   bool                          // the peer did not answer when it was last asked

	mu      sync.Mutex // guards below
	errands map[dataset.Path]*errand
	backoff map[dataset.Path]pause
	stills  map[dataset.Path]still
	peerRPO time.Duration // what the peer alarms at; 0 is nothing, or not known yet
	paused  bool
}

// visit asks for a round now.
type visit struct {
	force bool // do not wait for pauses after failures
	done  chan<- outcome
}

// Tally is what a visit brought to the peer.
type Tally struct {
	Steps int
	Bytes int64 // of their streams
}

type outcome struct {
	tally Tally
	err   error
	busy  []*errand // under way before the visit, of which it heard nothing
}

// errand is what is under way for one dataset.
type errand struct {
	cancel context.CancelCauseFunc
	done   chan struct{}
	to     dataset.ID // of its last step
	again  bool       // something newer came in the meantime
	tally  Tally      // valid, like err, when done is closed
	err    error
}

// pause is how long a dataset is left alone after failures.
type pause struct {
	failures int       // in a row
	until    time.Time // zero: it is over
}

// New returns a courier; Serve runs it.
func New(o Options) *Courier {
	c := &Courier{
		Options: o, visits: make(chan visit), orders: make(chan order), nudge: make(chan struct{}, 1), full: newSlots(fullSlots), small: newTempoSlots(),
		seen: map[dataset.Path]side{}, theirs: map[dataset.Path]dataset.Mark{}, errands: map[dataset.Path]*errand{}, backoff: map[dataset.Path]pause{},
		stills: map[dataset.Path]still{},
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
	c.lookAgain()
}

// lookAgain has Serve see when the next pause ends; c.mu is held.
func (c *Courier) lookAgain() {
	select {
	case c.nudge <- struct{}{}:
	default: // it is on its way already
	}
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
			busy := c.underWay()
			started, err := c.round(ctx, v.force)
			running.Go(func() {
				tally, errs := outcomes(started)
				v.done <- outcome{tally, errors.Join(err, errs), busy}
			})
		case o := <-c.orders:
			f, e, err := c.follow(ctx, o.plan)
			running.Go(func() { o.answer(f, e, err) })
		case <-c.retry():
			// What failed is on the board; who wants the errors visits.
			started, _ := c.round(ctx, false)
			running.Go(func() { _, _ = outcomes(started) })
		case <-c.nudge:
		}
	}
}

// Visit makes a round and waits for what it started. With force, datasets that
// are left alone after a failure are tried too, and what was under way is waited
// for: when it returns, all that the source held when it was called has been
// tried. An error has been shown on the board and logged already.
func (c *Courier) Visit(ctx context.Context, force bool) (Tally, error) {
	first, err := c.visit(ctx, force)
	if !force || len(first.busy) == 0 {
		return first.tally, err
	}
	// What was under way may have been planned before the newest snapshot was
	// there. What is under way after it was not.
	_, _ = c.await(ctx, first.busy) // what failed is tried again now
	second, again := c.visit(ctx, force)
	rest, late := c.await(ctx, second.busy)
	for _, t := range []Tally{second.tally, rest} {
		first.tally.Steps += t.Steps
		first.tally.Bytes += t.Bytes
	}
	return first.tally, errors.Join(err, again, late)
}

// await waits for errands that somebody else started.
func (c *Courier) await(ctx context.Context, errands []*errand) (Tally, error) {
	for _, e := range errands {
		select {
		case <-e.done:
		case <-ctx.Done():
			return Tally{}, context.Cause(ctx)
		}
	}
	return outcomes(errands)
}

func (c *Courier) underWay() []*errand {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Values(c.errands))
}

func (c *Courier) visit(ctx context.Context, force bool) (outcome, error) {
	done := make(chan outcome, 1)
	select {
	case c.visits <- visit{force: force, done: done}:
	case <-ctx.Done():
		return outcome{}, context.Cause(ctx)
	}
	select {
	case o := <-done:
		return o, o.err
	case <-ctx.Done():
		return outcome{}, context.Cause(ctx)
	}
}

// Abort ends what is under way for d, or for every dataset if d is zero, and
// returns the datasets whose errands have ended.
func (c *Courier) Abort(d dataset.Path, why error) []dataset.Path {
	c.mu.Lock()
	ended := map[dataset.Path]*errand{}
	for path, e := range c.errands {
		if d.IsZero() || d == path {
			e.cancel(why)
			ended[path] = e
		}
	}
	c.mu.Unlock()
	for _, e := range ended {
		<-e.done
	}
	return slices.Sorted(maps.Keys(ended))
}

// outcomes waits for errands and adds up how they ended.
func outcomes(errands []*errand) (Tally, error) {
	var sum Tally
	var errs []error
	for _, e := range errands {
		<-e.done
		sum.Steps += e.tally.Steps
		sum.Bytes += e.tally.Bytes
		errs = append(errs, e.err)
	}
	return sum, errors.Join(errs...)
}

// retry fires when the first pause after a failure is over; never while there is
// none.
func (c *Courier) retry() <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	var first time.Time
	for _, p := range c.backoff {
		if !p.until.IsZero() && (first.IsZero() || p.until.Before(first)) {
			first = p.until
		}
	}
	if first.IsZero() || c.paused {
		return nil
	}
	return time.After(max(first.Sub(c.Now()), 0))
}

// failed leaves a dataset alone from now on, for at most so long; succeeded ends that.
func (c *Courier) failed(d dataset.Path, now time.Time, most time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.backoff[d]
	wait := min(retryFirst<<min(p.failures, 10), most)
	p = pause{failures: p.failures + 1, until: now.Add(wait)}
	c.backoff[d] = p
	c.lookAgain()
	return p.until
}

// expire ends the pauses that are over, so that they ask for no further round:
// what they were for may have gone meanwhile. A paused courier keeps them for the
// time after.
func (c *Courier) expire() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.paused {
		return
	}
	for path, p := range c.backoff {
		if !c.Now().Before(p.until) {
			c.backoff[path] = pause{failures: p.failures}
		}
	}
}

func (c *Courier) succeeded(d dataset.Path) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.backoff, d)
}
