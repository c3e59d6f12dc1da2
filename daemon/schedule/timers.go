package schedule

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-co-op/gocron/v2"
	"github.com/jonboulle/clockwork"

	"antipode/daemon/policy"
)

const (
	// watchEvery is how often the wall clock is compared with the monotonic one.
	watchEvery = 30 * time.Second
	// stepAfter is the difference that is a jump and no slewing.
	stepAfter = 2 * time.Second
)

// timers is gocron, which keeps the timers; when they go off is up to
// policy.Schedule. Nothing runs inside gocron: a timer only rings.
type timers struct {
	cron gocron.Scheduler
	now  func() time.Time

	failed   chan error // the first failure to set a timer
	watching step
}

// alarm is one timer, known by its address.
type alarm struct{ job gocron.Job }

func newTimers(now func() time.Time) (*timers, error) {
	cron, err := gocron.NewScheduler(
		gocron.WithClock(wallClock{Clock: clockwork.NewRealClock(), now: now}),
		gocron.WithLocation(time.UTC), // gocron has its own view of clock changes; in UTC there are none
	)
	if err != nil {
		return nil, err
	}
	cron.Start()
	return &timers{cron: cron, now: now, failed: make(chan error, 1), watching: step{wall: now(), mono: time.Now()}}, nil
}

// set makes a timer that rings at each time of the schedule.
// With opening it rings when the window opens too.
func (t *timers) set(table policy.Calendar, opening bool, ring func(*alarm)) *alarm {
	own := &alarm{}
	job, err := t.cron.NewJob(
		gocron.CronJob("", true), // replaced by the implementation below
		gocron.NewTask(func() { ring(own) }),
		gocron.WithCronImplementation(times{table: table, opening: opening, now: t.now}),
	)
	t.note("set a timer", err)
	own.job = job
	return own
}

// unset removes a timer; it may be ringing.
func (t *timers) unset(a *alarm) {
	if a.job == nil {
		return
	}
	if err := t.cron.RemoveJob(a.job.ID()); !errors.Is(err, gocron.ErrJobNotFound) {
		t.note("remove a timer", err)
	}
}

func (t *timers) note(what string, err error) {
	if err == nil {
		return
	}
	select {
	case t.failed <- fmt.Errorf("%s: %w", what, err):
	default:
	}
}

// serve keeps the timers until ctx ends, and tells when the wall clock jumps.
func (t *timers) serve(ctx context.Context, stepped func(by time.Duration)) error {
	err := t.watch(ctx, stepped)
	if end := t.cron.Shutdown(); end != nil && err == nil {
		err = fmt.Errorf("stop timers: %w", end)
	}
	return err
}

func (t *timers) watch(ctx context.Context, stepped func(by time.Duration)) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-t.failed:
			return err
		case <-tick.C:
			if by := t.watching.turn(t.now(), time.Now()); by.Abs() > stepAfter {
				stepped(by)
			}
		}
	}
}

// step finds jumps of the wall clock: timers follow the monotonic one, which
// stands still while the machine sleeps and knows nothing of a clock that is set.
type step struct{ wall, mono time.Time }

// turn returns by how much the wall clock moved more than the monotonic one.
func (s *step) turn(wall, mono time.Time) time.Duration {
	by := wall.Round(0).Sub(s.wall.Round(0)) - mono.Sub(s.mono)
	*s = step{wall: wall, mono: mono}
	return by
}

// wallClock gives gocron our clock to count with and the real one to wait with.
type wallClock struct {
	clockwork.Clock
	now func() time.Time
}

// Now returns the wall clock.
func (c wallClock) Now() time.Time { return c.now() }

// times tells gocron when a schedule is due.
type times struct {
	table   policy.Calendar
	opening bool
	now     func() time.Time
}

// IsValid checks the schedule; the crontab is not ours.
func (t times) IsValid(string, *time.Location, time.Time) error {
	return t.table.Validate("", t.table.Location)
}

// Next returns the next time after last, in UTC. After a jump of the clock it
// goes on from now: gocron would ask for every second of a year that was skipped.
// It would also ask for ever after a zero time, so that never is a time far away.
func (t times) Next(last time.Time) time.Time {
	if now := t.now(); now.After(last) {
		last = now
	}
	next := t.table.Next(last)
	if t.opening {
		if opens := t.table.Opens(last.Add(time.Nanosecond)); next.IsZero() || opens.Before(next) {
			next = opens
		}
	}
	if next.IsZero() {
		next = last.Add(policy.MaxEvery)
	}
	return next.UTC()
}
