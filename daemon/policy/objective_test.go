package policy_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"antipode/daemon/policy"
)

func TestLag(t *testing.T) {
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		name  string
		point time.Time
		want  time.Duration
		known bool
	}{
		{"none yet", time.Time{}, 0, false},
		{"old", now.Add(-time.Hour), time.Hour, true},
		{"fresh", now, 0, true},
		{"from the future", now.Add(time.Hour), 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got, known := policy.Lag(now, c.point); got != c.want || known != c.known {
				t.Errorf("got %v, %v; want %v, %v", got, known, c.want, c.known)
			}
		})
	}
}

// TestTurn walks a replica through its life; times are minutes.
func TestTurn(t *testing.T) {
	at := func(m int) time.Time {
		if m < 0 {
			return time.Time{}
		}
		return time.Unix(0, 0).Add(time.Duration(m) * time.Minute)
	}
	o := policy.Objective{RPO: 90 * time.Minute}
	standing := policy.StandingNone
	for _, c := range []struct {
		name              string
		now, point, alive int // -1 is none
		want              policy.Standing
		event             policy.Event
	}{
		{"the first copy begins", 10, -1, 0, policy.StandingSeeding, policy.EventNone},
		{"it moves for weeks", 20000, -1, 19999, policy.StandingSeeding, policy.EventNone},
		{"it stands still", 20090, -1, 19999, policy.StandingMissed, policy.EventMissed},
		{"still", 20100, -1, 19999, policy.StandingMissed, policy.EventNone},
		{"it moves again, without a point", 20101, -1, 20101, policy.StandingMissed, policy.EventNone},
		{"the first point", 20110, 20100, 20110, policy.StandingMet, policy.EventMet},
		{"exactly as old as allowed", 20190, 20100, 20110, policy.StandingMet, policy.EventNone},
		{"older", 20191, 20100, 20110, policy.StandingMissed, policy.EventMissed},
		{"not told again", 29999, 20100, 20110, policy.StandingMissed, policy.EventNone},
		{"a point that is too old already", 30000, 29000, 20110, policy.StandingMissed, policy.EventNone},
		{"met again", 30001, 29990, 20110, policy.StandingMet, policy.EventMet},
		{"not told again", 30002, 29990, 20110, policy.StandingMet, policy.EventNone},
	} {
		var event policy.Event
		standing, event = o.Turn(standing, at(c.now), policy.Evidence{Point: at(c.point), Alive: at(c.alive)})
		if standing != c.want || event != c.event {
			t.Errorf("%s: got %v and %q, want %v and %q", c.name, standing, event, c.want, c.event)
		}
	}
}

// TestEventsAlternate: whatever happens, somebody is told missed, met, missed, met.
func TestEventsAlternate(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := policy.Objective{RPO: time.Minute}
		now := time.Unix(1e9, 0)
		e := policy.Evidence{Alive: now}
		standing, last := policy.StandingNone, policy.EventMet
		for range rapid.IntRange(0, 100).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(-30, 60).Draw(t, "s")) * time.Second)
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				e.Point = now
			case 1:
				e.Alive = now
			}
			var event policy.Event
			standing, event = o.Turn(standing, now, e)
			if event == policy.EventNone {
				continue
			}
			if event == last {
				t.Fatalf("got %q twice in a row", event)
			}
			if last = event; (event == policy.EventMissed) != now.After(o.Deadline(e)) {
				t.Fatalf("got %q at %v with the deadline at %v", event, now, o.Deadline(e))
			}
		}
	})
}

func TestNoObjective(t *testing.T) {
	o, now := policy.Objective{}, time.Unix(1e9, 0)
	standing, event := o.Turn(policy.StandingMissed, now, policy.Evidence{})
	if standing != policy.StandingNone || event != policy.EventNone || !o.Deadline(policy.Evidence{}).IsZero() || !o.IsZero() {
		t.Errorf("got %v and %q, want none and nothing to tell", standing, event)
	}
	if got := policy.StandingNone.String(); got != "none" {
		t.Errorf("got %q, want none", got)
	}
}
