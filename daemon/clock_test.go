package daemon_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/ledger"
	"antipode/daemon/policy"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
	"antipode/transport/transporttest"
)

const year = 365 * 24 * time.Hour

// setClock restarts a node with its clock so far ahead of the true time.
func (p *pair) setClock(n *node, ahead time.Duration) {
	n.stop()
	n.ahead = ahead
	p.start(n)
}

// A clock that jumps a year ahead, and is set right a few hours later, destroys
// nothing, is shown, and does not end the replication.
func TestAClockAYearAheadDestroysNothing(t *testing.T) {
	for _, tc := range []struct {
		name string
		of   func(p *pair) *node
	}{
		{"the source's", func(p *pair) *node { return p.fra1 }},
		{"the target's", func(p *pair) *node { return p.sin1 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			runPair(t, func(p *pair) {
				p.sin1.config.Accepts[0].Keep = policy.Keep{Hourly: 24}
				p.sin1.config.Accepts[0].Protect = 24 * time.Hour
				p.startBoth()
				after(5*time.Hour + 30*time.Minute)
				own, held := p.own(), p.points(db)
				p.setClock(tc.of(p), year)
				after(4 * time.Hour)
				p.wantStill("while it is ahead", own, held)
				p.wantSkewShown()
				p.wantSame(db)
				during := p.points(db)
				p.setClock(tc.of(p), 0)
				after(4 * time.Hour)
				p.wantStill("after it was set right", own, during)
				p.wantSame(db)
				if got := len(p.points(db)); got <= len(during) {
					t.Errorf("%d points, and %d before the clock was set right: want replication to go on", got, len(during))
				}
			})
		})
	}
}

// wantStill fails if one of the snapshots is gone that were there before.
func (p *pair) wantStill(when string, own, held []dataset.Snapshot) {
	p.t.Helper()
	if gone := names(own, p.own()); len(gone) != 0 {
		p.t.Errorf("%s: fra1 has lost %v", when, gone)
	}
	if gone := names(held, p.points(db)); len(gone) != 0 {
		p.t.Errorf("%s: sin1 has lost %v", when, gone)
	}
}

// wantSkewShown fails unless check and status say that the clocks are apart.
func (p *pair) wantSkewShown() {
	p.t.Helper()
	found, err := p.fra1.daemon.Check(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	if !slices.ContainsFunc(found.Findings, func(f control.Finding) bool {
		return f.Severity == control.Warning && strings.Contains(f.What, "clock is 8760h") && f.Cure != ""
	}) {
		p.t.Errorf("check finds %+v, want the clocks a year apart", found.Findings)
	}
	peers := p.fra1.daemon.Status().Peers
	if !slices.ContainsFunc(peers, func(s status.Peer) bool { return s.ClockSkew.Abs() > year-time.Minute }) {
		p.t.Errorf("status shows %+v, want the skew", peers)
	}
}

// A source whose clock jumps makes a point that is a year younger than all others.
// The plan keeps those that were young before it, says why, and the run does so.
func TestAJumpingClockMakesNoSnapshotOld(t *testing.T) {
	runPair(t, func(p *pair) {
		p.fra1.config.Jobs[0].Keep = policy.Keep{Within: 24 * time.Hour}
		p.startBoth()
		after(5*time.Hour + 30*time.Minute)
		own := p.own()
		p.setClock(p.fra1, year)
		shown, err := p.fra1.daemon.Preview(p.t.Context(), control.PlanRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range shown.Jobs[0].Prunes[0].Verdicts {
			if v.Destroy || len(v.Reasons) == 0 || v.Reasons[0].Text() == "" {
				t.Errorf("%s: destroy %t, reasons %v; want it kept and why", v.Snapshot.Name, v.Destroy, v.Reasons)
			}
		}
		after(2 * time.Hour)
		p.wantStill("two runs later", own, nil)
	})
}

// A point that was made while the source's clock was a year ahead looks a year
// young once the clock is right. It must not hide that nothing arrives.
func TestAPointFromTheFutureHidesNoMissedObjective(t *testing.T) {
	runPair(t, func(p *pair) {
		p.startBoth()
		after(2 * time.Hour)
		p.setClock(p.fra1, year)
		after(2 * time.Hour)
		p.setClock(p.fra1, 0)
		after(30 * time.Minute)
		told := len(p.told.since(0))
		p.net.Down(transporttest.Outage{Refuse: true, Reset: true})
		after(3 * time.Hour)
		notes := p.told.since(told)
		for _, want := range []string{"fra1 rpo-missed /data/db", "sin1 rpo-missed /data/db"} {
			if !slices.Contains(notes, want) {
				t.Errorf("three hours without a link told %v, want %s", notes, want)
			}
		}
	})
}

// A retention that a clock stopped, which was ahead, says so for as long on every side:
// nothing is destroyed meanwhile, and the disk fills.
func TestARetentionThatAClockStoppedSpeaksUp(t *testing.T) {
	for _, tc := range []struct {
		name, object string
		of           func(p *pair) *node
		problem      func(s status.Status) *status.Problem
	}{
		{"the source's", "job db", func(p *pair) *node { return p.fra1 }, func(s status.Status) *status.Problem { return s.Jobs[0].Datasets[0].Problem }},
		{"the target's", "accept from fra1", func(p *pair) *node { return p.sin1 }, func(s status.Status) *status.Problem { return s.Replicas[0].Problem }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			runPair(t, func(p *pair) {
				p.startBoth()
				p.hours(3)
				n := tc.of(p)
				p.setClock(n, year)
				p.hours(1)
				p.setClock(n, 0)
				p.hours(8)
				told := n.name + " retention-frozen " + tc.object
				if n == p.sin1 {
					told += " (btrfs)" // of its rooms for fra1
				}
				if notes := p.told.since(0); !slices.Contains(notes, told) {
					t.Errorf("told %v, want %s", notes, told)
				}
				s := n.daemon.Status()
				if x := tc.problem(s); x == nil || !strings.Contains(x.Text, "retention destroys nothing: ") || x.Next == "" {
					t.Errorf("problem %+v, want why nothing is destroyed, and what to do", x)
				}
				if code, line := status.Health(s); code == status.HealthOK {
					t.Errorf("health: %s", line)
				}
				r, err := n.daemon.Check(p.t.Context())
				if err != nil || !slices.ContainsFunc(r.Findings, func(f control.Finding) bool {
					return f.Severity == control.Warning && f.Object == tc.object && strings.HasPrefix(f.What, "retention destroys nothing") && f.Cure != ""
				}) {
					t.Errorf("check: %+v, %v; want it found", r, err)
				}
				q := pruneRequest{Job: "db"}
				if n == p.sin1 {
					q = pruneRequest{From: "fra1"}
				}
				if a, err := n.daemon.Prune(p.t.Context(), q); err != nil || len(a.Runs[0].Errors) != 1 || a.Runs[0].Destroyed != 0 {
					t.Errorf("prune: %+v, %v; want why it destroys nothing", a, err)
				}
				h, err := n.daemon.History(ledger.Query{Kind: ledger.EntryRun})
				if err != nil || slices.ContainsFunc(h.Entries, func(e ledger.Entry) bool { return e.Error != "" }) {
					t.Errorf("history %+v, %v; want no run that failed", h, err)
				}
				p.setClock(n, year)
				p.hours(2)
				if s := n.daemon.Status(); tc.problem(s) != nil || slices.ContainsFunc(s.Alerts, func(a status.Alert) bool { return a.Kind == "retention-frozen" }) {
					t.Errorf("a year later it still says %+v, %+v", tc.problem(s), s.Alerts)
				}
			})
		})
	}
}

// A dataset in which nothing is written any more has no newer snapshot, ever; that its
// retention waits for one is as it should be.
func TestARetentionThatWaitsForAPointIsNoProblem(t *testing.T) {
	runPair(t, func(p *pair) {
		p.fra1.config.Jobs[0].Always = false
		p.startBoth()
		after(3 * time.Hour)
		for _, n := range []*node{p.fra1, p.sin1} {
			p.setClock(n, 50*24*time.Hour)
		}
		after(3 * time.Hour)
		if notes := p.told.since(0); slices.ContainsFunc(notes, func(s string) bool { return strings.Contains(s, "frozen") }) {
			t.Errorf("told %v, want nothing of retention", notes)
		}
		for _, n := range []*node{p.fra1, p.sin1} {
			if code, line := status.Health(n.daemon.Status()); code != status.HealthOK {
				t.Errorf("%s: %s", n.name, line)
			}
		}
	})
}
