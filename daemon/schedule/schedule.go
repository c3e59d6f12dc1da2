// Package schedule decides when a job runs. It keeps a timer for every job
// (gocron, asked for the times by policy.Schedule), never runs a job twice at
// once, bounds how many run side by side, and makes up for what was missed
// while the daemon was down, a job was paused, or the machine slept. It does
// not know what a job does.
package schedule

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"antipode/daemon/policy"
)

// Why a job runs.
const (
	CauseDue     = "due"     // its time has come
	CauseMissed  = "missed"  // its time came while it could not run
	CauseTrigger = "trigger" // somebody asked for it
)

// DefaultConcurrency is how many jobs run at once where Options leaves it open.
// The work of a job at its time is small: what is long is sent beside it.
const DefaultConcurrency = 4

// ErrUnknown means that no job has that id.
var ErrUnknown = errors.New("no such job")

// Options is what a scheduler takes from the world.
type Options struct {
	// Run does the work of a job. Its context ends with Serve, and when the job is
	// dropped from the configuration. An error is logged and changes nothing.
	Run func(ctx context.Context, job, cause string) error
	// Node spreads the jitter: no two nodes share a delay for the same job.
	Node string
	// Now is the wall clock; it may step either way.
	Now func() time.Time
	Log zerolog.Logger
	// Concurrency is how many jobs run at once; DefaultConcurrency if 0.
	Concurrency int
}

// Scheduler runs jobs at their times. Its methods may be called at any time, also
// before Serve and from Run.
type Scheduler struct {
	run         func(ctx context.Context, job, cause string) error
	node        string
	now         func() time.Time
	log         zerolog.Logger
	concurrency int

	mu      sync.Mutex        // guards all below, and every entry
	entries map[string]*entry // by id of the job
	queue   []*entry          // waiting for a place, first come first served
	running int
	serving context.Context //nolint:containedctx // the life of Serve; nil outside it
	timers  *timers         // nil outside Serve
	runs    sync.WaitGroup
}

// New makes a scheduler without jobs. It does nothing until Serve.
func New(o Options) *Scheduler {
	if o.Concurrency <= 0 {
		o.Concurrency = DefaultConcurrency
	}
	return &Scheduler{
		run: o.Run, node: o.Node, now: o.Now, log: o.Log, concurrency: o.Concurrency,
		entries: map[string]*entry{},
	}
}

// Set replaces the jobs. One whose schedule is what it was keeps its timer; one
// that is gone has its run cancelled. A job that is new here runs at once if it is
// behind: if lastRun, when it began last, is before the time it was due last, and it
// is not due again within Soon. A job that lastRun does not know never ran, and is
// behind.
func (s *Scheduler) Set(jobs []policy.Job, lastRun map[string]time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	named := map[string]bool{}
	for _, j := range jobs {
		named[j.ID] = true
		s.put(j, lastRun[j.ID])
	}
	for id, e := range s.entries {
		if !named[id] {
			s.drop(e)
		}
	}
	s.dispatch()
}

func (s *Scheduler) put(j policy.Job, last time.Time) {
	e, table := s.entries[j.ID], j.Calendar(s.node)
	switch {
	case e == nil || e.dropped:
		if e == nil {
			e = &entry{id: j.ID}
			s.entries[j.ID] = e
		}
		e.dropped, e.late = false, false
		e.table = table
		e.last = last
		s.catchUp(e, CauseMissed)
	case e.table.Same(table):
		return
	default:
		s.retime(e, table)
	}
	s.arm(e)
}

// retime gives a job other times. What was due by the former ones is not due by
// these, but for the run that was missed and waits for its window: that one keeps
// waiting, for the new window, as long as there are times at all.
func (s *Scheduler) retime(e *entry, table policy.Calendar) {
	now := s.now()
	e.table, e.last = table, now
	e.late = e.late && !table.IsZero()
	if e.late && table.IsOpen(now) {
		e.late = false
		s.ask(e, CauseMissed)
	}
}

// drop forgets a job. While its run winds down, the entry stays, lest the same
// job, put back, runs beside it.
func (s *Scheduler) drop(e *entry) {
	e.dropped = true
	e.again, e.paused, e.missed = "", false, false
	s.disarm(e)
	if e.state == running {
		e.cancel()
		return
	}
	s.unqueue(e)
	delete(s.entries, e.id)
}

// Trigger runs a job now, also one that is paused; while it runs, once more
// after that. ErrUnknown.
func (s *Scheduler) Trigger(id string) error {
	return s.with(id, func(e *entry) { s.ask(e, CauseTrigger) })
}

// Pause stops a job from being run by its schedule. A run that is under way goes
// on. ErrUnknown.
func (s *Scheduler) Pause(id string) error {
	return s.with(id, func(e *entry) {
		if e.paused = true; e.state == queued && e.cause != CauseTrigger {
			s.unqueue(e)
			e.missed = true
		}
	})
}

// Unpause lets the schedule run a job again, at once if it was due meanwhile.
// ErrUnknown.
func (s *Scheduler) Unpause(id string) error {
	return s.with(id, func(e *entry) {
		e.paused = false
		if !e.missed {
			return
		}
		e.missed = false
		if e.late = !e.table.IsOpen(s.now()); e.late {
			s.arm(e)
			return
		}
		s.ask(e, CauseMissed)
	})
}

// with does something to a job.
func (s *Scheduler) with(id string, do func(*entry)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[id]
	if e == nil || e.dropped {
		return fmt.Errorf("job %q: %w", id, ErrUnknown)
	}
	do(e)
	s.dispatch()
	return nil
}

// Next is when the schedule runs the job next; zero if it is paused, unknown or
// runs only when triggered.
func (s *Scheduler) Next(id string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[id]
	if e == nil || e.dropped || e.paused || e.table.IsZero() {
		return time.Time{}
	}
	next := e.table.Next(s.now())
	if opens := e.table.Opens(s.now()); e.late && (next.IsZero() || opens.Before(next)) {
		return opens
	}
	return next
}

// Await returns when the job is idle, unknown, or ctx has ended: what was due by now is
// done then.
func (s *Scheduler) Await(ctx context.Context, id string) {
	for ctx.Err() == nil {
		over := s.over(id)
		if over == nil {
			return
		}
		select {
		case <-ctx.Done():
		case <-over:
		}
	}
}

// over is closed when the job is idle next; nil if it is.
func (s *Scheduler) over(id string) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[id]
	if e == nil || e.state == idle {
		return nil
	}
	if e.over == nil {
		e.over = make(chan struct{})
	}
	return e.over
}

// IsPaused reports whether a job is paused.
func (s *Scheduler) IsPaused(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entries[id]
	return e != nil && !e.dropped && e.paused
}

// Serve keeps the time until ctx ends, and then waits for every run. It is called
// once. The error is that of the timers, nil when ctx ended.
func (s *Scheduler) Serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t, err := newTimers(s.now)
	if err != nil {
		return fmt.Errorf("start timers: %w", err)
	}
	s.begin(ctx, t)
	err = t.serve(ctx, s.stepped)
	s.finish()
	cancel()
	s.runs.Wait()
	return err
}

func (s *Scheduler) begin(ctx context.Context, t *timers) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serving, s.timers = ctx, t
	for _, e := range s.entries {
		s.catchUp(e, CauseMissed) // its time may have come since Set
		s.arm(e)
	}
	s.dispatch()
}

func (s *Scheduler) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.serving, s.timers = nil, nil
}

// stepped makes up for a clock that jumped: by hand, by NTP, or because the
// machine slept, when timers stand still.
func (s *Scheduler) stepped(by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log.Warn().Dur("step", by).Msg("the clock jumped; timers are set anew")
	for _, e := range s.entries {
		if now := s.now(); e.last.After(now) {
			e.last = now // the clock went back: what was due later is due again
		}
		if !e.dropped {
			s.catchUp(e, CauseMissed)
			s.arm(e)
		}
	}
	s.dispatch()
}
