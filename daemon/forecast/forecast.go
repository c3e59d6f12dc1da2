// Package forecast tells what a policy leads to while everything runs on as
// configured: when a snapshot goes, how many a dataset settles at, what a target
// costs that is away. It asks the very decision that a run executes. It is pure,
// and knows neither drivers nor the transport.
package forecast

import (
	"time"

	"antipode/daemon/policy"
	"antipode/daemon/prune"
	"antipode/fsdrivers/dataset"
)

// Ticks tells when the next snapshot after a time is made; zero for never.
type Ticks func(after time.Time) time.Time

// End is when a snapshot goes.
type End struct {
	// At is the run that destroys it; zero where Open says what it waits for, or
	// where no run ever does.
	At   time.Time
	Open string
}

// Of tells when the snapshot of a verdict goes. loc is where days begin, nil is
// UTC; newest is the newest point of the dataset.
func Of(v prune.Verdict, newest dataset.Snapshot, now time.Time, loc *time.Location, next Ticks) End {
	if v.Destroy {
		return End{At: now}
	}
	var end End
	for _, r := range v.Reasons {
		one := of(r, v.Snapshot, newest, now, loc, next)
		switch {
		case one.Open != "" && end.Open != "":
			end.Open += "; " + one.Open
		case one.Open != "":
			end.Open = one.Open
		case one.At.IsZero():
			end.Open = join(end.Open, "no further snapshot is scheduled")
		case one.At.After(end.At):
			end.At = one.At
		}
	}
	if end.Open != "" {
		end.At = time.Time{}
	}
	return end
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

func of(r prune.Reason, s, newest dataset.Snapshot, now time.Time, loc *time.Location, next Ticks) End {
	switch r.Kind {
	case prune.Newest:
		return End{At: next(now)}
	case prune.Last:
		return End{At: later(now, r.Of-r.N+1, next)}
	case prune.Hourly, prune.Daily, prune.Weekly, prune.Monthly, prune.Yearly:
		at := newest.Retain
		for range r.Of - r.N + 1 {
			if at = next(maxTime(now, prune.PeriodEnd(r.Kind, at, loc).Add(-1))); at.IsZero() {
				break
			}
		}
		return End{At: at}
	case prune.Within:
		return End{At: next(maxTime(now, s.Retain.Add(r.Length)))}
	case prune.Pinned, prune.Protected:
		if !r.At.IsZero() {
			return End{At: next(maxTime(now, r.At.Add(-1)))}
		}
		return End{Open: "until it is unpinned"}
	case prune.Base:
		return End{Open: "until " + r.Ref + " has a newer base"}
	case prune.Held:
		return End{Open: "until " + r.Ref + " is released"}
	case prune.Unsent:
		return End{Open: "until " + r.Ref + " has it, or the backlog is thinned"}
	case prune.InFlight:
		return End{Open: "until the unfinished step is done or given up"}
	}
	return End{Open: r.Text()}
}

// later is the n-th tick after now.
func later(now time.Time, n int, next Ticks) time.Time {
	for range n {
		if now = next(now); now.IsZero() {
			break
		}
	}
	return now
}

func maxTime(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// maxPoints bounds what is simulated, and so the time it takes.
const maxPoints = 200_000

// Settled is what a dataset comes to.
type Settled struct {
	Snapshots int
	Oldest    time.Duration // age of the oldest
	Newest    time.Time     // when it has come to this
	// Bounded says that the policy keeps more than could be simulated.
	Bounded bool
	points  []dataset.Snapshot
}

// Settle runs a policy from nothing until it is full: as many of its longest period
// as it counts.
func Settle(k policy.Keep, loc *time.Location, from time.Time, next Ticks) Settled {
	if k.IsZero() {
		return Settled{Bounded: true}
	}
	until := horizon(k, from, next)
	dense := until.Add(-max(k.Within, until.Sub(lastTicks(k.Last, until, next))) - time.Hour) // the first of an hour skips its rest
	var points []dataset.Snapshot
	bounded := false
	for at := next(from); !at.IsZero() && !at.After(until); {
		points = append(points, point(len(points), at))
		if bounded = len(points) >= maxPoints; bounded {
			break
		}
		after := at
		if at.Before(dense) { // of each hour only the first can be kept
			after = prune.PeriodEnd(prune.Hourly, at, loc).Add(-1)
		}
		at = next(after)
	}
	if len(points) == 0 {
		return Settled{}
	}
	newest := points[len(points)-1].Retain
	kept := survivors(prune.Input{Side: prune.Source, Points: points, Keep: k, Location: loc, Now: newest})
	return Settled{Snapshots: len(kept), Oldest: newest.Sub(kept[0].Retain), Newest: newest, Bounded: bounded, points: kept}
}

// horizon is when the longest rule has all that it counts.
func horizon(k policy.Keep, from time.Time, next Ticks) time.Time {
	at := later(from, min(k.Last+1, maxPoints), next)
	for _, end := range []time.Time{
		from.Add(k.Within), from.Add(time.Duration(k.Hourly) * time.Hour), from.AddDate(0, 0, k.Daily), from.AddDate(0, 0, 7*k.Weekly),
		from.AddDate(0, k.Monthly, 0), from.AddDate(k.Yearly, 0, 0),
	} {
		at = maxTime(at, end)
	}
	return next(at.AddDate(0, 0, 1))
}

// lastTicks is about where the n last ticks before until begin.
func lastTicks(n int, until time.Time, next Ticks) time.Time {
	if n == 0 {
		return until
	}
	step := time.Minute
	for ; step < 10*366*24*time.Hour; step *= 2 {
		at, count := until.Add(-step), 0
		for at = next(at); !at.IsZero() && at.Before(until) && count <= n; at = next(at) {
			count++
		}
		if count > n {
			break
		}
	}
	return until.Add(-step)
}

func point(n int, at time.Time) dataset.Snapshot {
	return dataset.Snapshot{ID: dataset.ID("f"), Order: uint64(n + 1), Created: at, Retain: at}
}

func survivors(in prune.Input) []dataset.Snapshot {
	var kept []dataset.Snapshot
	for _, v := range prune.Decide(in) {
		if !v.Destroy {
			kept = append(kept, v.Snapshot)
		}
	}
	return kept
}

// Away is what a dataset comes to when a target does not answer for some time: how
// many snapshots there are then, and how many of them the target has not got.
func (s Settled) Away(k policy.Keep, backlog int, loc *time.Location, away time.Duration, next Ticks) (snapshots, unsent int) {
	if len(s.points) == 0 {
		return 0, 0
	}
	points := append([]dataset.Snapshot{}, s.points...)
	base := len(points) - 1
	for at := next(s.Newest); !at.IsZero() && at.Sub(s.Newest) <= away && len(points) < maxPoints; at = next(at) {
		points = append(points, point(len(points), at))
	}
	for i := range points {
		points[i].ID, points[i].Order = "f", uint64(i+1)
	}
	points[base].ID = "b"
	kept := survivors(prune.Input{
		Side: prune.Source, Points: points, Keep: k, Backlog: backlog, Location: loc, Now: points[len(points)-1].Retain,
		Peers: []prune.Peer{{Name: "away", Base: "b"}},
	})
	for _, p := range kept {
		if p.Retain.After(s.Newest) {
			unsent++
		}
	}
	return len(kept), unsent
}
