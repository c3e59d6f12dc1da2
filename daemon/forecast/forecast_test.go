package forecast

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"antipode/daemon/policy"
	"antipode/daemon/prune"
	"antipode/fsdrivers/dataset"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func every(d time.Duration) Ticks {
	s := policy.Schedule{Every: d}
	return func(after time.Time) time.Time { return s.Next(after, time.UTC) }
}

// run makes points tick by tick and prunes after each, as a daemon does, and tells
// when each point went.
func run(k policy.Keep, loc *time.Location, next Ticks, points []dataset.Snapshot, from, until time.Time) (left []dataset.Snapshot, gone map[uint64]time.Time) {
	gone = map[uint64]time.Time{}
	order := uint64(1000)
	if len(points) > 0 {
		order = points[len(points)-1].Order
	}
	for at := next(from); !at.After(until); at = next(at) {
		order++
		points = append(points, dataset.Snapshot{ID: dataset.ID(fmt.Sprintf("%x", order)), Order: order, Created: at, Retain: at})
		left := points[:0:0]
		for _, v := range prune.Decide(prune.Input{Side: prune.Source, Points: points, Keep: k, Location: loc, Now: at}) {
			if v.Destroy {
				gone[v.Snapshot.Order] = at
			} else {
				left = append(left, v.Snapshot)
			}
		}
		points = left
	}
	return points, gone
}

// What is foretold of a snapshot is what comes, hour by hour, under any policy.
func TestASnapshotGoesWhenItWasForetold(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		n := func(label string, most int) int { return rapid.IntRange(0, most).Draw(t, label) }
		k := policy.Keep{
			Last: n("last", 4), Hourly: n("hourly", 9), Daily: n("daily", 4), Weekly: n("weekly", 2),
			Within: time.Duration(n("within", 30)) * time.Hour,
		}
		if k.IsZero() {
			return
		}
		next := every(time.Duration(rapid.IntRange(1, 9).Draw(t, "every")) * 20 * time.Minute)
		now := start.Add(5 * 24 * time.Hour)
		points, _ := run(k, berlin, next, nil, start, now)
		verdicts := prune.Decide(prune.Input{Side: prune.Source, Points: points, Keep: k, Location: berlin, Now: now})
		_, gone := run(k, berlin, next, points, now, now.AddDate(0, 0, 25))
		for _, v := range verdicts {
			end := Of(v, points[len(points)-1], now, berlin, next)
			came, went := gone[v.Snapshot.Order]
			if end.Open != "" || went && !end.At.Equal(came) || !went && end.At.Before(now.AddDate(0, 0, 25)) {
				t.Fatalf("%s: foretold %+v, it went %v at %s; kept by %+v under %s", v.Snapshot.Retain, end, went, came, v.Reasons, k)
			}
		}
	})
}

func TestAnOpenReasonSaysWhatItWaitsFor(t *testing.T) {
	s := dataset.Snapshot{Retain: start}
	for _, c := range []struct {
		why  []prune.Reason
		want string
	}{
		{[]prune.Reason{{Kind: prune.Base, Ref: "sin1"}, {Kind: prune.Last, N: 1, Of: 2}}, "until sin1 has a newer base"},
		{[]prune.Reason{{Kind: prune.Unsent, Ref: "sin1", Rule: prune.Last, N: 55, Of: 100}}, "until sin1 has it, or the backlog is thinned"},
		{[]prune.Reason{{Kind: prune.Held, Ref: "step.db.sin1"}, {Kind: prune.InFlight}}, "until step.db.sin1 is released; until the unfinished step is done or given up"},
		{[]prune.Reason{{Kind: prune.Pinned}}, "until it is unpinned"},
		{[]prune.Reason{{Kind: prune.NoRule}}, "no keep rule is set"},
		{[]prune.Reason{{Kind: prune.Pinned, At: start.Add(90 * time.Minute)}}, ""},
	} {
		end := Of(prune.Verdict{Snapshot: s, Reasons: c.why}, s, start, nil, every(time.Hour))
		if end.Open != c.want || (c.want == "") == end.At.IsZero() {
			t.Errorf("%v: got %+v, want %q", c.why, end, c.want)
		}
	}
	if end := Of(prune.Verdict{Snapshot: s, Reasons: []prune.Reason{{Kind: prune.Pinned, At: start.Add(90 * time.Minute)}}}, s, start, nil, every(time.Hour)); !end.At.Equal(start.Add(2 * time.Hour)) {
		t.Errorf("a pin that ends at half past one: goes at %s, want the run at two", end.At)
	}
	never := func(time.Time) time.Time { return time.Time{} }
	if end := Of(prune.Verdict{Snapshot: s, Reasons: []prune.Reason{{Kind: prune.Newest}}}, s, start, nil, never); end.Open != "no further snapshot is scheduled" {
		t.Errorf("without a schedule: got %+v", end)
	}
}

// What Settle tells is what a daemon comes to that runs for as long.
func TestAPolicySettlesAtWhatWasForetold(t *testing.T) {
	k := policy.Keep{Last: 3, Hourly: 24, Daily: 7, Weekly: 4, Within: 5 * time.Hour}
	next := every(30 * time.Minute)
	s := Settle(k, nil, start, next)
	points, _ := run(k, nil, next, nil, start, s.Newest)
	if s.Bounded || s.Snapshots != len(points) || s.Oldest != s.Newest.Sub(points[0].Retain) {
		t.Errorf("foretold %d, the oldest %s old; came to %d, %s", s.Snapshots, s.Oldest, len(points), s.Newest.Sub(points[0].Retain))
	}
	n, unsent := s.Away(k, 20, nil, policy.Week, next)
	if unsent < 20 || n < s.Snapshots || n > s.Snapshots+21+24 {
		t.Errorf("a week without a target: %d snapshots, %d unsent, settled at %d", n, unsent, s.Snapshots)
	}
}

// Near-continuous protection is foretold as well, in bounded time.
func TestEveryFiveSecondsForYearsIsBounded(t *testing.T) {
	s := Settle(policy.Keep{Last: 100, Hourly: 48, Yearly: 3, Within: 3600 * time.Second}, nil, start, every(5*time.Second))
	if s.Bounded || s.Snapshots < 720 || s.Snapshots > 780 || s.Oldest < 2*365*24*time.Hour {
		t.Errorf("got %d, the oldest %s, bounded %t; want some 770 over more than two years", s.Snapshots, s.Oldest, s.Bounded)
	}
	if s := Settle(policy.Keep{Within: policy.Week * 52}, nil, start, every(5*time.Second)); !s.Bounded {
		t.Errorf("a year of points every five seconds: got %d, want it said that there are more", s.Snapshots)
	}
}
