package policy

import "time"

// Lag is the age of the newest recovery point; known is false when there is
// none yet, which is never the same as a lag of zero. A point from the future
// (a clock that went back) has no age.
func Lag(now, point time.Time) (lag time.Duration, known bool) {
	if point.IsZero() {
		return 0, false
	}
	return max(0, now.Sub(point)), true
}

// Standing is how a replica stands to its objective.
//
//	seeding --point--> met <--age--> missed
//	   `------no progress for an rpo------^
type Standing string

// The standings.
const (
	StandingNone    Standing = ""        // no objective was declared
	StandingSeeding Standing = "seeding" // no recovery point yet, and the first copy advances
	StandingMet     Standing = "met"
	StandingMissed  Standing = "missed"
)

// String returns the standing as text, "none" for no objective.
func (s Standing) String() string {
	if s == StandingNone {
		return "none"
	}
	return string(s)
}

// Objective is a declared bound of the lag. The zero Objective declares none.
type Objective struct {
	RPO time.Duration
}

// IsZero reports whether nothing was declared.
func (o Objective) IsZero() bool { return o.RPO == 0 }

// Evidence is what a standing is judged by.
type Evidence struct {
	// Point is the time of the newest recovery point that is complete on the
	// target; zero while there is none.
	Point time.Time
	// Alive counts while there is no point: when the first copy last moved, or
	// when the watch began if it never did. A first copy may take weeks without
	// an alarm, but not silently do nothing.
	Alive time.Time
}

// since is when the objective's clock started to run.
func (e Evidence) since() time.Time {
	if e.Point.IsZero() {
		return e.Alive
	}
	return e.Point
}

// Deadline is the instant after which the objective is missed; zero where none
// was declared. Nearest first is the order of the work.
func (o Objective) Deadline(e Evidence) time.Time {
	if o.IsZero() {
		return time.Time{}
	}
	return e.since().Add(o.RPO)
}

// Judge returns the standing at now.
func (o Objective) Judge(now time.Time, e Evidence) Standing {
	switch {
	case o.IsZero():
		return StandingNone
	case now.After(o.Deadline(e)):
		return StandingMissed
	case e.Point.IsZero():
		return StandingSeeding
	}
	return StandingMet
}

// Event is what somebody must be told.
type Event string

// The events of an objective.
const (
	EventNone   Event = ""
	EventMissed Event = "missed"
	EventMet    Event = "met" // again, after EventMissed
)

// Turn returns the standing that follows was, and the event of the turn. Each
// crossing yields its event once: EventMissed on becoming missed, EventMet on
// a recovery point that ends it. A first copy that moves again after it was
// missed stays missed until its point is there. Keep the standing across
// restarts, or a restart tells everything again.
func (o Objective) Turn(was Standing, now time.Time, e Evidence) (Standing, Event) {
	is := o.Judge(now, e)
	if was == StandingMissed && is == StandingSeeding {
		return StandingMissed, EventNone
	}
	switch {
	case is == StandingMissed && was != StandingMissed:
		return is, EventMissed
	case is == StandingMet && was == StandingMissed:
		return is, EventMet
	}
	return is, EventNone
}
