package prune

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"antipode/daemon/policy"
	"antipode/fsdrivers/dataset"
)

// source is a dataset that a job snapshots and prunes run by run.
type source struct {
	in    Input
	order uint64
}

// run makes a point at the time and prunes.
func (s *source) run(at time.Time) {
	s.order++
	s.in.Points = append(s.in.Points, made(s.order, at))
	s.in.Now = at
	s.in.Points = survivors(Decide(s.in))
}

// rehold moves the base of a peer to the newest point.
func (s *source) rehold(peer string) {
	for i := range s.in.Points {
		s.in.Points[i].Holds = nil
	}
	newest := &s.in.Points[len(s.in.Points)-1]
	newest.Holds = []dataset.Tag{dataset.Tag("base.db." + peer)}
	s.in.Peers = []Peer{{Name: peer, Base: newest.ID}}
}

// hourlyYear runs every hour of 2026, and looks after each run that nothing that
// went came too early: the first of each local day of the last fourteen is there.
func hourlyYear(loc *time.Location) Input {
	s := source{in: Input{Side: Source, Location: loc, Keep: policy.Keep{Last: 4, Hourly: 48, Daily: 14, Weekly: 8, Monthly: 12, Yearly: 3}}}
	for at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC); at.Year() == 2026; at = at.Add(time.Hour) {
		s.run(at)
	}
	return s.in
}

// awayForAMonth is a job whose target answers for a week, and then for thirty days
// does not.
func awayForAMonth() Input {
	s := source{in: Input{Side: Source, Keep: policy.Keep{Last: 2, Daily: 3}, Backlog: 24}}
	for at := start; at.Before(start.Add(37 * oneDay)); at = at.Add(time.Hour) {
		s.run(at)
		if at.Before(start.Add(7 * oneDay)) {
			s.rehold("sin1")
		}
	}
	return s.in
}

// setBackADay is a job whose clock is set back by a day, five runs ago.
func setBackADay() Input {
	s := source{in: Input{Side: Source, Keep: policy.Keep{Last: 3, Daily: 2}}}
	at := start
	for ; at.Before(start.Add(3 * oneDay)); at = at.Add(6 * time.Hour) {
		s.run(at)
	}
	named := at // the daemon names a new point after the newest: max(now, newest + 1 s)
	for i := range 5 {
		s.order++
		s.in.Points = append(s.in.Points, made(s.order, named.Add(time.Duration(i)*time.Second)))
		s.in.Now = at.Add(-oneDay + time.Duration(i)*time.Hour)
		s.in.Points = survivors(Decide(s.in))
	}
	return s.in
}

// stricter is a settled job, the morning after daily = 30 became daily = 7.
func stricter() Input {
	s := source{in: Input{Side: Source, Keep: policy.Keep{Hourly: 24, Daily: 30}}}
	for at := start; at.Before(start.Add(40 * oneDay)); at = at.Add(time.Hour) {
		s.run(at)
	}
	s.rehold("sin1")
	s.in.Keep.Daily = 7
	return s.in
}

// pinned has two pins, of which one ended an hour ago.
func pinned() Input {
	points := every(6*time.Hour, 20, start)
	now := start.Add(5 * oneDay)
	points[2].Pin = &dataset.Pin{Until: now.Add(-time.Hour), Why: "before the migration", At: start.Add(oneDay)}
	points[3].Pin = &dataset.Pin{Until: now.Add(oneDay), Why: "audit 2026", At: start.Add(oneDay)}
	points[4].Pin = &dataset.Pin{Why: "keep for ever", At: start.Add(oneDay)}
	return Input{Side: Source, Points: points, Now: now, Keep: policy.Keep{Last: 2}}
}

func longStories() []story {
	return []story{
		{
			name: "hourly-through-a-year",
			tells: `A source in Berlin that snapshots and prunes every hour of 2026, through both changes of the clocks.
At the end there are the newest 48 hours, the first hour of each of fourteen days, eight weeks and twelve months.
Days begin at midnight in Berlin: at 23:00 UTC in winter and at 22:00 between 29 March and 25 October.`,
			in: func() Input {
				berlin, err := time.LoadLocation("Europe/Berlin")
				if err != nil {
					panic(err)
				}
				return hourlyYear(berlin)
			},
		},
		{
			name: "target-away-for-a-month",
			tells: `Hourly points, keep = { last = 2, daily = 3 } and backlog = 24. sin1 got every point for a week and
has not answered for thirty days. The base stays, whatever its age, and so does the newest. What sin1 has not
got is bounded: twelve newest points, and before them the first of each of six hours, three days and three weeks.`,
			in: awayForAMonth,
		},
		{
			name: "clock-set-back-by-a-day",
			tells: `The source's clock is set back by a day, and the job ran five times since. New names go on a second
after the newest, so order is kept; but those times are a day ahead of this clock, so nothing is destroyed
until it has caught up. Which of the two clocks was right cannot be told from here.`,
			in: setBackADay,
		},
		{
			name: "policy-made-stricter",
			tells: `daily = 30 became daily = 7 in the configuration. The next run destroys the twenty-three days that no
rule keeps any more, and nothing else. (A job of more snapshots would be stopped by its brake, see Brake.)`,
			in: stricter,
		},
		{
			name: "pin-that-ends",
			tells: `Three points were pinned by hand. The first pin ended an hour ago: its point goes, and the reason says so.
The second has a day to go, the third has no end.`,
			in: pinned,
		},
	}
}

// The golden file shows the end; this looks at every hour of the way.
func TestEachLocalDayKeepsItsFirstHourThroughAYear(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	s := source{in: Input{Side: Source, Location: berlin, Keep: policy.Keep{Daily: 14}}}
	for at := time.Date(2026, 1, 1, 0, 0, 0, 0, berlin); at.Before(time.Date(2027, 1, 1, 0, 0, 0, 0, berlin)); at = at.Add(time.Hour) {
		s.run(at.UTC())
		days := 0
		for _, p := range s.in.Points {
			if l := p.Retain.In(berlin); l.Hour() == 0 {
				days++
			}
		}
		passed := int(at.Sub(time.Date(2026, 1, 1, 0, 0, 0, 0, berlin))/oneDay) + 1
		if days < min(passed, 14) {
			t.Fatalf("at %s %d midnights are kept, want %d", at, days, min(passed, 14))
		}
	}
}

func TestABacklogIsBoundedForAsLongAsATargetIsAway(t *testing.T) {
	s := source{in: Input{Side: Source, Keep: policy.Keep{Last: 1}, Backlog: 40}}
	s.run(start)
	s.rehold("sin1")
	base := s.in.Points[0].ID
	for at := start.Add(time.Hour); at.Before(start.Add(400 * oneDay)); at = at.Add(time.Hour) {
		s.run(at)
		if n := len(s.in.Points); n > 41 {
			t.Fatalf("at %s there are %d points, want at most the backlog and the base", at, n)
		}
		if p := s.in.Points; p[0].ID != base || !p[len(p)-1].Retain.Equal(at) {
			t.Fatalf("at %s the base or the newest is gone", at)
		}
	}
	if n := len(s.in.Points); n < 30 {
		t.Errorf("after a year %d points are left, want most of the backlog of 40", n)
	}
}

func TestBrake(t *testing.T) {
	for _, c := range []struct {
		brake         Brake
		doomed, total int
		stops         bool
	}{
		{50, 0, 1000, false},
		{50, 500, 1000, false},
		{50, 501, 1000, true},
		{50, BrakeFloor, BrakeFloor, false},
		{50, BrakeFloor + 1, BrakeFloor + 1, true},
		{0, 1000, 1000, false},
		{100, 1000, 1000, false},
		{0.5, 101, 100_000, false},
		{0.1, 101, 100_000, true},
	} {
		if got := c.brake.Stops(c.doomed, c.total); (got != "") != c.stops {
			t.Errorf("brake %v, %d of %d: %q, want stopped %t", c.brake, c.doomed, c.total, got, c.stops)
		}
	}
	want := `retention would destroy 501 of 1000 snapshots, more than brake = "50%" lets a run do by itself, and destroys none`
	if got := Brake(50).Stops(501, 1000); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAGroupStaysAsLongAsOneOfItStays(t *testing.T) {
	groups := NewGroups()
	judged := map[dataset.Path][]Verdict{}
	for d, keep := range map[dataset.Path]policy.Keep{"/b": {Last: 1}, "/a": {Last: 2}, "/c": {Last: 1}} {
		judged[d] = Decide(Input{Side: Source, Points: every(time.Hour, 4, start), Keep: keep, Now: start.Add(4 * time.Hour)})
	}
	judged["/c"][0] = Verdict{Snapshot: judged["/c"][0].Snapshot, Reasons: []Reason{{Kind: Pinned}}}
	for d, v := range judged {
		groups.Note(d, v)
	}
	var got []string
	for _, d := range []dataset.Path{"/a", "/b", "/c"} {
		groups.Apply(judged[d])
		for i, v := range judged[d] {
			if v.Reasons[0].Kind == Group || v.Destroy {
				got = append(got, fmt.Sprint(d, i, " ", v.Reasons[0].Text()))
			}
		}
	}
	want := []string{
		"/a0 its group stays: pinned of /c", "/a1 nothing keeps it", "/b0 its group stays: pinned of /c", "/b1 nothing keeps it",
		"/b2 its group stays: last of /a", "/c1 nothing keeps it", "/c2 its group stays: last of /a",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// A base that is only a bookmark any more outlives every rule until all targets have
// a newer one, and counts for none.
func TestABookmarkStaysUntilEveryTargetHasANewerBase(t *testing.T) {
	points := every(time.Hour, 4, start)
	points[0].Bookmark = true
	in := Input{Side: Source, Points: points, Keep: policy.Keep{Last: 3}, Now: start.Add(4 * time.Hour), Peers: []Peer{{Name: "sin1"}, {Name: "syd1", Base: points[2].ID}}}
	for base, want := range map[dataset.ID]int{"": 4, points[0].ID: 4, points[1].ID: 3} {
		in.Peers[0].Base = base
		if got := survivors(Decide(in)); len(got) != want {
			t.Errorf("base of sin1 %q: %d points stay, want %d", base, len(got), want)
		}
	}
}
