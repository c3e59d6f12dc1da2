package prune

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"antipode/daemon/policy"
	"antipode/fsdrivers/dataset"
)

const tagOfSin1 = dataset.Tag("base.db.sin1")

// away is a source of n hourly points whose target has had the first, and nothing since.
func away(n int) Input {
	points := every(time.Hour, n, start)
	points[0].Holds = []dataset.Tag{tagOfSin1}
	return Input{
		Side: Source, Points: points, Keep: policy.Keep{Last: 2}, Now: start.Add(time.Duration(n) * time.Hour), Bookmarks: true,
		Peers: []Peer{{Name: "sin1", Base: points[0].ID, Hold: tagOfSin1}},
	}
}

func TestABaseThatNothingElseKeepsBecomesABookmark(t *testing.T) {
	pinned := dataset.Pin{At: start}
	for name, c := range map[string]struct {
		change func(in *Input)
		want   string
	}{
		"nothing else":          {nil, "nothing keeps its data; a bookmark stays as the base of sin1"},
		"two peers":             {func(in *Input) { in.Peers = append(in.Peers, Peer{Name: "syd1", Base: in.Points[0].ID}) }, "nothing keeps its data; a bookmark stays as the base of sin1, syd1"},
		"no bookmarks":          {func(in *Input) { in.Bookmarks = false }, "held by base.db.sin1"},
		"a rule":                {func(in *Input) { in.Keep.Last = 9 }, "held by base.db.sin1"},
		"no rule":               {func(in *Input) { in.Keep = policy.Keep{} }, "held by base.db.sin1"},
		"a pin":                 {func(in *Input) { in.Points[0].Pin = &pinned }, "held by base.db.sin1"},
		"a step":                {func(in *Input) { in.Points[0].Holds = append(in.Points[0].Holds, "step.db.sin1") }, "held by base.db.sin1"},
		"a peer of others":      {func(in *Input) { in.Points[0].Holds = append(in.Points[0].Holds, "base.www.sin1") }, "held by base.db.sin1"},
		"in flight":             {func(in *Input) { in.InFlight = []dataset.ID{in.Points[0].ID} }, "held by base.db.sin1"},
		"it is the newest":      {func(in *Input) { in.Points = in.Points[:1] }, "newest"},
		"a clock that is wrong": {func(in *Input) { in.Now = in.Now.Add(90 * 24 * time.Hour) }, ""},
	} {
		in := away(5)
		if c.change != nil {
			c.change(&in)
		}
		v := Decide(in)[0]
		becomes := name == "nothing else" || name == "two peers"
		if v.Bookmark != becomes || v.Destroy != becomes || c.want != "" && v.Reasons[0].Text() != c.want {
			t.Errorf("%s: bookmark %t, destroy %t, %q; want %t, %t, %q", name, v.Bookmark, v.Destroy, v.Reasons[0].Text(), becomes, becomes, c.want)
		}
	}
}

// TestABacklogIsKeptForAPeerWhoseBaseIsABookmark as if it were none.
func TestABacklogIsKeptForAPeerWhoseBaseIsABookmark(t *testing.T) {
	in := away(12)
	in.Backlog, in.Bookmarks = 6, false
	want := survivors(Decide(in))
	in.Points[0].Bookmark, in.Points[0].Holds = true, nil
	for name, base := range map[string]dataset.ID{"known": in.Points[0].ID, "not known": ""} {
		in.Peers[0].Base = base
		got := survivors(Decide(in))
		if !slices.EqualFunc(got, want, func(a, b dataset.Snapshot) bool { return a.ID == b.ID }) {
			t.Errorf("%s: %d stay, want the %d that stay beside a snapshot", name, len(got), len(want))
		}
	}
}

func TestAGroupThatStaysKeepsABaseWhole(t *testing.T) {
	in := away(5)
	g := NewGroups()
	g.Note("/other", []Verdict{{Snapshot: in.Points[0], Reasons: []Reason{{Kind: Pinned}}}})
	verdicts := Decide(in)
	if g.Apply(verdicts); verdicts[0].Destroy || verdicts[0].Bookmark {
		t.Errorf("got %+v, want it to stay", verdicts[0])
	}
}

var errCrash = errors.New("the host crashed")

// marker is a file system with bookmarks whose host crashes after so many changes.
type marker struct {
	points  []dataset.Snapshot
	marks   map[dataset.ID]dataset.Snapshot
	changes int
}

func (m *marker) change() error {
	if m.changes == 0 {
		return errCrash
	}
	m.changes--
	return nil
}

func (m *marker) find(id dataset.ID) int {
	return slices.IndexFunc(m.points, func(p dataset.Snapshot) bool { return p.ID == id })
}

func (m *marker) Bookmark(_ context.Context, _ dataset.Path, s dataset.Snapshot, instead ...dataset.Tag) error {
	if err := m.change(); err != nil {
		return err
	}
	m.marks[s.ID] = s
	for _, tag := range instead {
		if err := m.change(); err != nil {
			return err
		}
		p := &m.points[m.find(s.ID)]
		p.Holds = slices.DeleteFunc(slices.Clone(p.Holds), func(t dataset.Tag) bool { return t == tag })
	}
	return nil
}

func (m *marker) Destroy(_ context.Context, _ dataset.Path, s dataset.Snapshot) error {
	if err := m.change(); err != nil {
		return err
	}
	if s.Bookmark {
		delete(m.marks, s.ID)
		return nil
	}
	at := m.find(s.ID)
	if len(m.points[at].Holds) > 0 {
		return fmt.Errorf("%v: %w", m.points[at].Holds, dataset.ErrHeld)
	}
	m.points = slices.Delete(m.points, at, at+1)
	return nil
}

// list is what is there: a bookmark stands for a snapshot that is gone.
func (m *marker) list() []dataset.Snapshot {
	all := slices.Clone(m.points)
	for id, s := range m.marks {
		if m.find(id) < 0 {
			s.Bookmark, s.Holds = true, nil
			all = append(all, s)
		}
	}
	return all
}

// TestACrashAtAnyInstantLeavesABase runs retention on a source whose target is away
// and crashes it after each number of changes, again and again.
func TestACrashAtAnyInstantLeavesABase(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := away(rapid.IntRange(4, 20).Draw(t, "points"))
		in.Backlog = rapid.IntRange(0, 8).Draw(t, "backlog")
		base := in.Peers[0].Base
		m := &marker{points: in.Points, marks: map[dataset.ID]dataset.Snapshot{}}
		for range 30 {
			in.Points = m.list()
			in.Peers[0].Base = ""
			if at := m.find(base); at >= 0 && len(m.points[at].Holds) > 0 {
				in.Peers[0].Base = base
			}
			m.changes = rapid.IntRange(0, 4).Draw(t, "changes")
			_, err := Execute(t.Context(), "/db", Decide(in), m)
			if err != nil && !errors.Is(err, errCrash) && !errors.Is(err, dataset.ErrHeld) {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(m.list(), func(s dataset.Snapshot) bool { return s.ID == base }) {
				t.Fatalf("the base is gone: %v", m.list())
			}
		}
		m.changes = 1000
		in.Points, in.Peers[0].Base = m.list(), ""
		if _, err := Execute(t.Context(), "/db", Decide(in), m); err != nil {
			t.Fatal(err)
		}
		if len(m.marks) != 1 || m.find(base) >= 0 {
			t.Fatalf("bookmarks %v of %v, want the base to be one", m.marks, m.points)
		}
	})
}

// stubborn has no bookmarks although it was said that it had.
type stubborn struct{ *marker }

func (stubborn) Bookmark(context.Context, dataset.Path, dataset.Snapshot, ...dataset.Tag) error {
	return dataset.ErrRefused
}

func TestABaseThatCannotBeBookmarkedHoldsBackNothing(t *testing.T) {
	in := away(6)
	m := &marker{points: in.Points, marks: map[dataset.ID]dataset.Snapshot{}, changes: 1000}
	done, err := Execute(t.Context(), "/db", Decide(in), stubborn{m})
	if !errors.Is(err, dataset.ErrRefused) || len(done) != 3 || m.find(in.Peers[0].Base) < 0 {
		t.Errorf("%d destroyed, %v, left %v; want the base and the newest two left", len(done), err, m.points)
	}
}
