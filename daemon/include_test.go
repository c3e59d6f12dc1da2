package daemon_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/policy"
	"antipode/fsdrivers/dataset"
)

// others is what fra1 has of other tools.
func (p *pair) others() []string {
	p.t.Helper()
	list, err := p.fra1.disk.Source().Foreign(p.t.Context(), db)
	if err != nil {
		p.t.Fatal(err)
	}
	var all []string
	for _, s := range list {
		all = append(all, s.Name)
	}
	return all
}

// Of what others made a job sends what it includes. Retention leaves all of it alone
// on the source; on the target it is a point like others.
func TestWhatOthersMadeIsReplicatedWhereItIsIncluded(t *testing.T) {
	runPair(t, func(p *pair) {
		p.fra1.config.Jobs[0].Include = policy.Names{"auto-*"}
		p.fra1.config.Jobs[0].Keep, p.sin1.config.Accepts[0].Keep = policy.Keep{Last: 2}, policy.Keep{Last: 3}
		p.startBoth()
		p.hours(1)
		p.write("log", "for the other tool")
		p.fra1.disk.MakeForeign(db, "auto-1", time.Now())
		p.fra1.disk.MakeForeign(db, "manual", time.Now())
		p.hours(1)
		if got := p.points(db); !has(got, dataset.ForeignPrefix+"auto-1") || slices.ContainsFunc(got, func(s dataset.Snapshot) bool { return strings.Contains(s.Name, "manual") }) {
			t.Errorf("sin1 has %v, want auto-1 under a name of ours, and not manual", got)
		}
		x, err := p.fra1.daemon.Explain(p.t.Context(), control.ExplainRequest{Snapshot: "auto-1"})
		if err != nil || len(x.Snapshots) != 1 || x.Snapshots[0].Verdict.Destroy || x.Snapshots[0].Verdict.Reasons[0].Text() != "others made it, and they alone destroy it" {
			t.Errorf("explain: %+v, %v; want that others made it", x, err)
		}
		p.hours(6)
		if got := p.others(); !slices.Equal(got, []string{"auto-1", "manual"}) {
			t.Errorf("fra1 has %v of others, want both as they were", got)
		}
		if got := p.own(); len(got) > 4 {
			t.Errorf("fra1 keeps %d of its own, want two and what is in use", len(got))
		}
		if got := p.points(db); has(got, dataset.ForeignPrefix+"auto-1") || len(got) != 3 {
			t.Errorf("sin1 has %v, want its own policy's three", got)
		}
		p.wantSame(db)
	})
}

// Where another tool has snapshotted all that was written, that is the newest point:
// no snapshot of ours is needed, and the replica stays as good as new. It stays the
// base when the job includes it no more.
func TestAFilterHidesNoBase(t *testing.T) {
	runPair(t, func(p *pair) {
		p.fra1.config.Jobs[0].Always, p.fra1.config.Jobs[0].Include = false, policy.Names{"auto-*"}
		p.startBoth()
		p.hours(1)
		p.write("log", "for the other tool")
		p.fra1.disk.MakeForeign(db, "auto-1", time.Now())
		after(4 * time.Hour)
		own := p.own()
		if got := p.points(db); got[len(got)-1].Name != dataset.ForeignPrefix+"auto-1" {
			t.Fatalf("sin1 has %v, want auto-1 as the newest", got)
		}
		if notes := p.told.since(0); len(notes) != 0 {
			t.Errorf("somebody was told %v, and nothing was written since", notes)
		}
		job := p.fra1.config.Jobs[0]
		job.Include = nil
		p.fra1.config.Jobs = []policy.Job{job}
		if _, err := p.fra1.daemon.ReloadConfig(); err != nil {
			t.Fatal(err)
		}
		p.hours(2)
		if line := p.pairLine(db); line.LastError != nil || line.Lag > time.Hour+time.Minute {
			t.Errorf("%+v, want increments on top of what is included no more", line)
		}
		if got := p.own(); len(got) <= len(own) {
			t.Errorf("fra1 has %v, want new ones of its own", got)
		}
		p.wantSame(db)
	})
}
