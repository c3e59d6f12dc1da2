package daemon_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/policy"
	"antipode/daemon/send"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/fake"
	"antipode/transport/transporttest"
)

// marked are the bookmarks of db on fra1.
func (p *pair) marked() []dataset.Snapshot {
	p.t.Helper()
	return slices.DeleteFunc(p.own(), func(s dataset.Snapshot) bool { return !s.Bookmark })
}

// base is the snapshot that fra1 holds as sin1's.
func (p *pair) base() dataset.Snapshot {
	p.t.Helper()
	own := p.own()
	at := slices.IndexFunc(own, func(s dataset.Snapshot) bool { return slices.Contains(s.Holds, send.BaseTag("db", "sin1")) })
	if at < 0 {
		p.t.Fatalf("no snapshot of %v is held as a base", own)
	}
	return own[at]
}

func runBookmarking(t *testing.T, test func(p *pair)) {
	runPair(t, func(p *pair) {
		p.fra1.marks = true
		p.fra1.config.Jobs[0].Keep, p.fra1.config.Jobs[0].Backlog = policy.Keep{Last: 3}, 10
		p.startBoth()
		p.hours(3)
		test(p)
	})
}

// TestTheBaseOfATargetThatStaysAwayBecomesABookmark: it pins nothing then, and once
// the target is back increments go on from it.
func TestTheBaseOfATargetThatStaysAwayBecomesABookmark(t *testing.T) {
	runBookmarking(t, func(p *pair) {
		had := len(p.points(db))
		p.net.Down(transporttest.Outage{Refuse: true, Reset: true})
		base := p.base()
		if marked := p.marked(); len(marked) != 0 {
			t.Fatalf("bookmarks %v before anybody was away", marked)
		}
		p.hours(1)
		if marked := p.marked(); len(marked) != 0 {
			t.Fatalf("bookmarks %v after an hour, and a rule keeps the base", marked)
		}
		p.hours(16)
		if marked := p.marked(); len(marked) != 1 || marked[0].ID != base.ID {
			t.Fatalf("bookmarks %v, want one of the base %s", marked, base.Name)
		}
		if n := len(p.own()); n < 7 || n > 11 {
			t.Errorf("%d are left, want the bookmark, and of the backlog the newest 6 and no more than 10", n)
		}
		explained, err := p.fra1.daemon.Explain(p.t.Context(), control.ExplainRequest{Snapshot: base.Name})
		if err != nil || len(explained.Snapshots) != 1 || explained.Snapshots[0].Verdict.Destroy {
			t.Errorf("explain: %+v, %v; want that the bookmark stays", explained, err)
		}
		carried := p.net.Carried(transporttest.ToListener)
		p.net.Up()
		after(20 * time.Minute)
		p.wantSame(db)
		if n := len(p.points(db)); n <= had {
			t.Errorf("sin1 has %d points, and had %d", n, had)
		}
		p.hours(1)
		if marked := p.marked(); len(marked) != 0 {
			t.Errorf("bookmarks %v are left, and sin1 has a newer base", marked)
		}
		if sent := p.net.Carried(transporttest.ToListener) - carried; sent > 64<<10 {
			t.Errorf("%d bytes were sent, want increments only", sent)
		}
	})
}

// TestACrashBetweenBookmarkAndDestroyLosesNoBase: the bookmark has taken the place of
// the hold, and the snapshot is still there.
func TestACrashBetweenBookmarkAndDestroyLosesNoBase(t *testing.T) {
	runBookmarking(t, func(p *pair) {
		p.net.Down(transporttest.Outage{Refuse: true, Reset: true})
		base := p.base()
		p.hours(1)
		p.fra1.crash()
		src := fake.Bookmarking{Source: p.fra1.disk.Source()}
		if err := src.Bookmark(t.Context(), db, base, send.BaseTag("db", "sin1")); err != nil {
			t.Fatal(err)
		}
		p.start(p.fra1)
		p.hours(6)
		if marked := p.marked(); len(marked) != 1 || marked[0].ID != base.ID {
			t.Fatalf("bookmarks %v, want one of %s", marked, base.Name)
		}
		p.net.Up()
		after(20 * time.Minute)
		p.wantSame(db)
		p.hours(1)
		if marked := p.marked(); len(marked) != 0 {
			t.Errorf("bookmarks %v are left", marked)
		}
	})
}

// TestAFileSystemWithoutBookmarksKeepsTheBase as it was.
func TestAFileSystemWithoutBookmarksKeepsTheBase(t *testing.T) {
	runBookmarking(t, func(p *pair) {
		p.fra1.stop()
		p.fra1.marks = false
		p.net.Down(transporttest.Outage{Refuse: true, Reset: true})
		base := p.base()
		p.start(p.fra1)
		p.hours(12)
		if got := p.base(); got.ID != base.ID || got.Bookmark {
			t.Errorf("the base is %+v, want %+v", got, base)
		}
	})
}

func TestCheckTellsWhatBecomesOfABase(t *testing.T) {
	for marks, want := range map[bool]string{true: "as a bookmark", false: "on Btrfs the base keeps"} {
		runPair(t, func(p *pair) {
			p.fra1.marks = marks
			p.startBoth()
			after(time.Minute)
			r, err := p.fra1.daemon.CheckDeep(p.t.Context())
			if err != nil || !slices.ContainsFunc(r.Findings, func(f control.Finding) bool { return strings.Contains(f.What, want) }) {
				t.Errorf("%+v, %v; want %q in it", r, err, want)
			}
		})
	}
}
