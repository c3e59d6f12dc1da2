package schedule

import (
	"context"
	"slices"
	"time"

	"antipode/daemon/policy"
)

// state is where a job is.
//
//	idle --asked--> queued --place free--> running --done--> idle
//	  ^---paused------'                       `--asked meanwhile--> queued
type state int

const (
	idle state = iota
	queued
	running
)

// String names the state.
func (s state) String() string {
	return [...]string{"idle", "queued", "running"}[s]
}

// entry is a job as the scheduler sees it.
type entry struct {
	id    string
	table policy.Calendar
	alarm *alarm    // the timer that is set, if any
	last  time.Time // when the schedule last had its way, zero for never

	state   state
	cause   string             // of the run that is queued or running
	again   string             // cause of the one run that follows this one, "" for none
	cancel  context.CancelFunc // of the run, while running
	paused  bool
	missed  bool // was due while it was paused
	late    bool // was missed, and waits for its window to open
	dropped bool // no longer configured; kept until its run has ended

	over chan struct{} // closed when it is idle next; nil while nobody waits for that
}

// Soon is how near the next time of a job may be for it to make up for those that
// were missed. Whoever keeps the last starts need not keep those of a job that is due
// again within Soon: that run is due either way, and none is asked for twice.
const Soon = time.Minute

// catchUp asks for a run if one has been due since the last: one, however many
// were. Outside the window it waits for that to open. A run that is due within Soon
// makes up for them, unless the job never ran.
func (s *Scheduler) catchUp(e *entry, cause string) {
	if e.table.IsZero() {
		return
	}
	now := s.now()
	if due := e.table.Previous(now); !due.After(e.last) {
		return
	}
	if next := e.table.Next(now); !e.last.IsZero() && !next.IsZero() && next.Sub(now) <= Soon {
		return
	}
	e.last = now
	if e.late = !e.table.IsOpen(now); !e.late {
		s.ask(e, cause)
	}
}

// arm sets the timer anew.
func (s *Scheduler) arm(e *entry) {
	s.disarm(e)
	if s.timers == nil || e.table.IsZero() || e.dropped {
		return
	}
	e.alarm = s.timers.set(e.table, e.late, func(own *alarm) { s.ring(e, own) })
}

func (s *Scheduler) disarm(e *entry) {
	if s.timers != nil && e.alarm != nil {
		s.timers.unset(e.alarm)
	}
	e.alarm = nil
}

// ring is what a timer does. One that was replaced while it went off is ignored.
func (s *Scheduler) ring(e *entry, own *alarm) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.alarm != own || e.dropped {
		return
	}
	e.last = s.now()
	cause := CauseDue
	if e.late {
		e.late, cause = false, CauseMissed
		s.arm(e)
	}
	s.ask(e, cause)
	s.dispatch()
}

// ask wants a job to run. What is asked for while it runs is remembered once, and
// a wish of the operator's outranks the clock's.
func (s *Scheduler) ask(e *entry, cause string) {
	switch {
	case e.paused && cause != CauseTrigger:
		e.missed = true
	case e.state == running:
		e.again = stronger(e.again, cause)
	case e.state == queued:
		e.cause = stronger(e.cause, cause)
	default:
		e.become(queued)
		e.cause = cause
		s.queue = append(s.queue, e)
	}
}

func stronger(a, b string) string {
	if a == "" || b == CauseTrigger {
		return b
	}
	return a
}

// become changes the state; every change but these is a bug in this file.
func (e *entry) become(next state) {
	if next != (e.state+1)%3 && (e.state != queued || next != idle) {
		panic("schedule: job " + e.id + " cannot go from " + e.state.String() + " to " + next.String())
	}
	if e.state = next; next == idle && e.over != nil {
		close(e.over)
		e.over = nil
	}
}

func (s *Scheduler) unqueue(e *entry) {
	if e.state == queued {
		s.queue = slices.DeleteFunc(s.queue, func(o *entry) bool { return o == e })
		e.become(idle)
	}
}

// dispatch starts what waits while there are places.
func (s *Scheduler) dispatch() {
	for s.serving != nil && s.serving.Err() == nil && s.running < s.concurrency && len(s.queue) > 0 {
		e := s.queue[0]
		s.queue = s.queue[1:]
		s.start(e)
	}
}

func (s *Scheduler) start(e *entry) {
	ctx, cancel := context.WithCancel(s.serving)
	e.become(running)
	e.cancel = cancel
	s.running++
	cause := e.cause
	s.runs.Go(func() {
		defer s.done(e)
		defer cancel()
		if err := s.run(ctx, e.id, cause); err != nil {
			s.log.Error().Err(err).Str("job", e.id).Str("cause", cause).Msg("job failed")
		}
	})
}

// done ends a run, and asks for the one that was remembered.
func (s *Scheduler) done(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running--
	e.become(idle)
	again := e.again
	e.again = ""
	switch {
	case e.dropped:
		delete(s.entries, e.id)
	case again != "":
		s.ask(e, again)
	}
	s.dispatch()
}
