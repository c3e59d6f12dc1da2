package prune

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"antipode/daemon/policy"
	"antipode/fsdrivers/dataset"
	"antipode/integration/golden"
)

const oneDay = 24 * time.Hour

// start is a Sunday at noon.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// every makes n points, the first at from, as a source lists them.
func every(step time.Duration, n int, from time.Time) []dataset.Snapshot {
	var out []dataset.Snapshot
	for i := range n {
		out = append(out, made(uint64(i+1), from.Add(time.Duration(i)*step)))
	}
	return out
}

func made(order uint64, at time.Time) dataset.Snapshot {
	return dataset.Snapshot{
		Name: "antipode_db_" + at.UTC().Format("20060102T150405Z"), ID: dataset.ID(fmt.Sprintf("%x", order)),
		Order: order, Created: at, Retain: at,
	}
}

// replica is a target that receives points one by one, as the daemon does it.
type replica struct {
	points []dataset.Snapshot
	order  uint64
}

// receive publishes a point that says it is from declared, at the target's now.
func (r *replica) receive(declared, now time.Time) dataset.Snapshot {
	newest := time.Time{}
	for _, p := range r.points {
		if p.Retain.After(newest) {
			newest = p.Retain
		}
	}
	r.order++
	s := made(r.order, declared)
	s.Received, s.Retain = now, ClampRetain(declared, newest, now)
	r.points = append(r.points, s)
	return s
}

// prune keeps what the verdicts keep.
func (r *replica) prune(in Input) {
	in.Side, in.Points = Target, r.points
	r.points = survivors(Decide(in))
}

func survivors(verdicts []Verdict) []dataset.Snapshot {
	var out []dataset.Snapshot
	for _, v := range verdicts {
		if !v.Destroy {
			out = append(out, v.Snapshot)
		}
	}
	return out
}

// story is a case that an operator can read. Its verdicts are in
// testdata/<name>.golden, under the story itself.
type story struct {
	name  string
	tells string
	in    func() Input
}

func stories() []story { return append(shortStories(), longStories()...) }

func shortStories() []story {
	return []story{
		{
			name: "hourly-for-a-month",
			tells: `A source that snapshots every hour for thirty days, with the keep rules of the README.
The last four, 48 hours, 14 days, 8 weeks and 12 months overlap: one point has several reasons.
Of each period the oldest stays, so a day is kept as its first hour, whatever comes later.`,
			in: func() Input {
				points := every(time.Hour, 30*24, start)
				points[len(points)-2].Holds = []dataset.Tag{"base.db.sin1"}
				return Input{
					Side: Source, Points: points, Now: start.Add(30 * oneDay),
					Keep:  policy.Keep{Last: 4, Hourly: 48, Daily: 14, Weekly: 8, Monthly: 12, Yearly: 3},
					Peers: []Peer{{Name: "sin1", Base: points[len(points)-2].ID}},
				}
			},
		},
		{
			name: "first-copy-of-two-weeks",
			tells: `Two weeks ago a first copy began: sin1 has nothing complete, so there is no common base. The
snapshot on its way is older than hourly = 48 reaches; the hold written before the first byte keeps it,
and so would the unfinished step alone. Snapshots made since are thinned by the rules, not kept for sin1.`,
			in: func() Input {
				points := every(time.Hour, 14*24, start)
				points[0].Holds = []dataset.Tag{"step.db.sin1"}
				return Input{
					Side: Source, Points: points, Now: start.Add(14 * oneDay),
					Keep: policy.Keep{Hourly: 48}, InFlight: []dataset.ID{points[0].ID}, Peers: []Peer{{Name: "sin1"}},
				}
			},
		},
		{
			name: "forged-names-and-times",
			tells: `A target with three honest days of six-hourly points. Then the source is stolen: within ten
minutes it sends forty points that claim to be from every month of the past and the future. Declared
times are clamped between the newest point and the target's clock, so they all fall into the present hour:
they take one place of hourly, none of daily, and no honest point goes for them. Without protect, to show it.`,
			in: func() Input {
				var r replica
				for i := range 12 {
					at := start.Add(time.Duration(i) * 6 * time.Hour)
					r.receive(at, at)
				}
				now := start.Add(3 * oneDay)
				for i := range 40 {
					r.receive(start.AddDate(0, i-20, 0), now.Add(time.Duration(i)*15*time.Second))
				}
				return Input{
					Side: Target, Points: r.points, Now: now.Add(10 * time.Minute),
					Keep: policy.Keep{Hourly: 12, Daily: 4},
				}
			},
		},
		{
			name: "forged-points-under-protect",
			tells: `The same theft, and the policy counts points (last = 3), which forged ones with changes in them
flush. protect = "7d" is what helps: nothing received in the last seven days goes, by the target's clock.`,
			in: func() Input {
				var r replica
				for i := range 6 {
					at := start.Add(time.Duration(i) * 2 * oneDay)
					r.receive(at, at)
				}
				now := start.Add(12 * oneDay)
				for i := range 5 {
					r.receive(start.AddDate(i-2, 0, 0), now.Add(time.Duration(i)*time.Second))
				}
				return Input{
					Side: Target, Points: r.points, Now: now.Add(time.Minute),
					Keep: policy.Keep{Last: 3}, Protect: 7 * oneDay,
				}
			},
		},
		{
			name: "clock-a-year-ahead",
			tells: `The target's clock jumps a year ahead. By it every point is far older than protect = "7d", and
nothing came for a year. Nothing is destroyed.`,
			in: func() Input {
				in := receivedDaily(10)
				in.Now = in.Now.AddDate(1, 0, 0)
				return in
			},
		},
		{
			name: "clock-a-year-ahead-and-one-more-point",
			tells: `The clock is still a year ahead, and a point was received by it. The gap of a year between two
receipts does not count towards protect: what came in the days before the jump stays protected, and only
what was older than that then is judged by the rules.`,
			in: func() Input {
				in := receivedDaily(10)
				r := replica{points: in.Points, order: 10}
				jumped := in.Now.AddDate(1, 0, 0)
				r.receive(in.Now, jumped)
				in.Points, in.Now = r.points, jumped.Add(time.Hour)
				return in
			},
		},
		{
			name: "clock-a-year-ahead-and-pins",
			tells: `A source's clock is a year ahead, and a snapshot was made by it. A pin ends by that clock too: the one
that had three months to go is over, its point goes, and the reason says so. The pin without an end stays. How
much time really passed cannot be told from the points: under last = 2 those that would show it are gone.`,
			in: func() Input {
				jumped := start.AddDate(1, 0, 0)
				points := append(every(oneDay, 6, start), every(oneDay, 1, jumped)...)
				points[6].ID, points[6].Order = "jumped", points[5].Order+1
				points[0].Pin = &dataset.Pin{Until: start.AddDate(0, 3, 0), At: start, Why: "audit"}
				points[1].Pin = &dataset.Pin{At: start, Why: "before the migration"}
				return Input{Side: Source, Points: points, Now: jumped.Add(time.Minute), Keep: policy.Keep{Last: 2}}
			},
		},
		{
			name: "clock-set-back",
			tells: `The target's clock is set back by three days: the newest point was received in its future. It cannot
be told whether the clock is wrong now or was wrong then. Nothing is destroyed until it has caught up.`,
			in: func() Input {
				in := receivedDaily(10)
				in.Now = in.Now.Add(-3 * oneDay)
				return in
			},
		},
		{
			name: "daily-across-summer-time",
			tells: `Points every hour around 2026-03-29 in Berlin, a day of 23 hours. Days begin at midnight there,
which is 23:00 UTC the evening before until the 29th and 22:00 from the 30th on. daily = 4.`,
			in: func() Input {
				berlin, err := time.LoadLocation("Europe/Berlin")
				if err != nil {
					panic(err)
				}
				points := every(time.Hour, 96, time.Date(2026, 3, 27, 0, 0, 0, 0, berlin).UTC())
				return Input{
					Side: Source, Points: points, Now: points[95].Retain, Keep: policy.Keep{Daily: 4}, Location: berlin,
				}
			},
		},
		{
			name: "hourly-when-clocks-go-back",
			tells: `Half-hourly points in the night of 2026-10-25 in Berlin, when the hour from two to three is there
twice. Both are hours of their own: no point of the first goes because the second has the same name.`,
			in: func() Input {
				berlin, err := time.LoadLocation("Europe/Berlin")
				if err != nil {
					panic(err)
				}
				points := every(30*time.Minute, 10, time.Date(2026, 10, 24, 23, 0, 0, 0, time.UTC))
				return Input{Side: Source, Points: points, Now: points[9].Retain, Keep: policy.Keep{Hourly: 5}, Location: berlin}
			},
		},
		{
			name: "snapshots-that-others-made",
			tells: `A job includes what another tool snapshots every six hours, beside its own hourly points. The common
base with sin1 is one of the other tool's. Theirs stay all, count for no rule, and are theirs to destroy; of ours
last = 2 stays, and as the backlog what came after the base.`,
			in: func() Input {
				points := every(time.Hour, 24, start)
				for i := range points {
					if i%6 == 5 {
						points[i].Name, points[i].Foreign = "zfs-auto-snap_frequent-"+points[i].Created.Format("2006-01-02-1504"), true
					}
				}
				points[17].Holds = []dataset.Tag{"base.db.sin1"}
				return Input{
					Side: Source, Points: points, Now: start.Add(oneDay), Keep: policy.Keep{Last: 2},
					Backlog: 100, Peers: []Peer{{Name: "sin1", Base: points[17].ID}},
				}
			},
		},
		{
			name:  "no-keep-rules",
			tells: `No policy is not a policy to destroy: everything stays.`,
			in: func() Input {
				return Input{Side: Source, Points: every(time.Hour, 3, start), Now: start.Add(3 * time.Hour)}
			},
		},
		{
			name: "base-removed-by-hand",
			tells: `Somebody removed the common base with sin1 by hand, and the daemon still thinks of it. Which older
point is the base now is not known here, so nothing goes before both sides were looked at again.`,
			in: func() Input {
				return Input{
					Side: Source, Points: every(time.Hour, 3, start), Now: start.Add(3 * time.Hour),
					Keep: policy.Keep{Last: 1}, Peers: []Peer{{Name: "sin1", Base: "gone"}},
				}
			},
		},
	}
}

// receivedDaily is a target with n daily points under daily = 2, protect = 7d.
func receivedDaily(n int) Input {
	var r replica
	for i := range n {
		at := start.Add(time.Duration(i) * oneDay)
		r.receive(at, at.Add(time.Minute))
	}
	return Input{
		Side: Target, Points: r.points, Now: start.Add(time.Duration(n-1)*oneDay + time.Hour),
		Keep: policy.Keep{Daily: 2}, Protect: 7 * oneDay,
	}
}

func TestStories(t *testing.T) {
	var all []golden.Story
	for _, s := range stories() {
		all = append(all, golden.Story{Name: s.name, Tells: s.tells, Text: func(*testing.T) string {
			in := s.in()
			return render(in, Decide(in))
		}})
	}
	golden.Stories(t, all)
}

// render writes one line for each point that is kept, and one for each run of
// points that go for the same reason.
func render(in Input, verdicts []Verdict) string {
	var b strings.Builder
	fmt.Fprintf(&b, "now %s, %s, %d points, %d stay\n\n", column(in.Now), in.Side, len(verdicts), len(survivors(verdicts)))
	for i := 0; i < len(verdicts); {
		v, n := verdicts[i], 1
		for v.Destroy && i+n < len(verdicts) && verdicts[i+n].Destroy && verdicts[i+n].Reasons[0] == v.Reasons[0] {
			n++
		}
		i += n
		if v.Destroy {
			fmt.Fprintf(&b, "destroy %3d from %s  %s\n", n, column(v.Snapshot.Retain), v.Reasons[0].Text())
			continue
		}
		var why []string
		for _, r := range v.Reasons {
			why = append(why, r.Text())
		}
		fmt.Fprintf(&b, "keep             %s  %s\n", column(v.Snapshot.Retain), strings.Join(why, ", "))
	}
	return b.String()
}

// column is a time as the golden files line it up.
func column(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }
