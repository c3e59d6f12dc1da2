package daemon_test

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"antipode/daemon/config"
	"antipode/daemon/control"
	"antipode/daemon/policy"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
)

// chain makes a third node, syd1, to which sin1 sends on what fra1 sends.
func (p *pair) chain() (syd1 *node) {
	p.t.Helper()
	syd1 = p.join("syd1", p.sin1)
	p.sin1.config.Jobs = []policy.Job{{
		ID: "onward", Driver: policy.Btrfs, Forward: "fra1", Datasets: policy.Patterns{{Path: "/data", Below: true}},
		ReplicateTo: []string{"syd1"}, RPO: 90 * time.Minute, Location: time.UTC,
	}}
	syd1.config.Accepts = []policy.Accept{{
		From: "sin1", Driver: policy.Btrfs, Into: "/backup/sin1", RPO: 90 * time.Minute, Location: time.UTC,
		Keep: policy.Keep{Hourly: 48, Daily: 60}, MinFree: policy.Amount{Percent: 5},
	}}
	return syd1
}

// runChain runs a test on a chain of three, once prepare, nil for nothing, has changed
// what its nodes are to do.
func runChain(t *testing.T, prepare func(p *pair), test func(p *pair, syd1 *node)) {
	runPair(t, func(p *pair) {
		syd1 := p.chain()
		if prepare != nil {
			prepare(p)
		}
		p.startBoth()
		p.start(syd1)
		defer func() { syd1.stop() }()
		test(p, syd1)
	})
}

func (p *pair) pointsOf(n *node, into string, path dataset.Path) []dataset.Snapshot {
	p.t.Helper()
	points, err := n.disk.Target(into, time.Now).Snapshots(p.t.Context(), path)
	if err != nil {
		p.t.Fatal(err)
	}
	return points
}

func ids(all []dataset.Snapshot) (out []dataset.ID) {
	for _, s := range all {
		out = append(out, s.ID)
	}
	return out
}

// wantForwarded fails unless syd1's newest point is fra1's newest snapshot, with its
// identity, its times and what it holds.
func (p *pair) wantForwarded(syd1 *node) {
	p.t.Helper()
	points, own := p.pointsOf(syd1, "/backup/sin1", db), p.own()
	if len(points) == 0 || len(own) == 0 {
		p.t.Fatalf("%d points on syd1 of %d snapshots on fra1", len(points), len(own))
	}
	last, want := points[len(points)-1], own[len(own)-1]
	if last.ID != want.ID || last.Name != want.Name || !last.Created.Equal(want.Created) {
		p.t.Fatalf("syd1 has %s (%s, of %s), want %s (%s, of %s)", last.Name, last.ID, last.Created, want.Name, want.ID, want.Created)
	}
	got, err := syd1.disk.SnapshotFiles("/backup/sin1", db, last.Name)
	if err != nil {
		p.t.Fatal(err)
	}
	files, err := p.fra1.disk.SnapshotFiles("", db, want.Name)
	if err != nil {
		p.t.Fatal(err)
	}
	if !maps.EqualFunc(got, files, bytes.Equal) {
		p.t.Errorf("what arrived at the end of the chain differs: got %d files, want %d", len(got), len(files))
	}
}

// onwardLine is sin1's line about what it sends on.
func (p *pair) onwardLine() status.Pair {
	p.t.Helper()
	for _, j := range p.sin1.daemon.Status().Jobs {
		for _, d := range j.Datasets {
			if j.ID == "onward" && d.Path == db && len(d.Peers) == 1 {
				return d.Peers[0]
			}
		}
	}
	p.t.Fatal("sin1 shows no line of what it sends on")
	return status.Pair{}
}

func TestAChainOfThreeCarriesPointsWithTheirIdentity(t *testing.T) {
	runChain(t, nil, func(p *pair, syd1 *node) {
		for hour := range 30 {
			p.write("log", fmt.Sprint("hour ", hour))
			after(time.Hour)
			if line := p.onwardLine(); line.State != status.StateOK || line.Lag > time.Hour+time.Minute {
				t.Fatalf("hour %d: state %s, lag %s, error %v; want ok within an hour", hour, line.State, line.Lag, line.LastError)
			}
		}
		p.wantForwarded(syd1)
		if first, second := ids(p.points(db)), ids(p.pointsOf(syd1, "/backup/sin1", db)); !slices.Equal(first, second) {
			t.Errorf("syd1 holds %v, want what sin1 holds: %v", second, first)
		}
		if got := len(p.sin1.daemon.Status().Replicas); got != 1 {
			t.Errorf("sin1 shows %d replicas, want one", got)
		}
		if notes := p.told.since(0); len(notes) != 0 {
			t.Errorf("somebody was told %v, want nothing", notes)
		}
		p.wantFinding(p.sin1, "job onward", control.Good, "sends on what fra1 sends")
		if j := p.sin1.daemon.Status().Jobs[0]; j.Forward != "fra1" || j.Problem != nil || j.Datasets[0].Role != "standby" {
			t.Errorf("sin1 shows the job as %+v, want one that forwards a standby", j)
		}
	})
}

// The lag at the end of a chain is that of the source's snapshot, not of the hop.
func TestTheLagOfAChainCountsFromTheSource(t *testing.T) {
	runChain(t, nil, func(p *pair, syd1 *node) {
		after(2 * time.Hour)
		newest := p.own()[len(p.own())-1].Created
		p.fra1.crash()
		after(3 * time.Hour)
		if got, want := p.onwardLine().Lag, time.Since(newest); got != want {
			t.Errorf("sin1 says syd1 lags %s, want %s: as old as fra1's last snapshot", got, want)
		}
		for _, n := range []string{"sin1", "syd1"} {
			if !slices.Contains(p.told.since(0), n+" rpo-missed /data/db") {
				t.Errorf("told %v, want that %s missed its rpo", p.told.since(0), n)
			}
		}
	})
}

// What the end of the chain needs stays in the middle, whatever its retention says.
func TestTheMiddleKeepsWhatTheEndNeeds(t *testing.T) {
	runChain(t, func(p *pair) { p.sin1.config.Accepts[0].Keep = policy.Keep{Last: 1} }, func(p *pair, syd1 *node) {
		after(2 * time.Hour)
		base := p.pointsOf(syd1, "/backup/sin1", db)
		syd1.stop()
		for hour := range 5 {
			p.write("log", fmt.Sprint("away ", hour))
			after(time.Hour)
		}
		held := p.points(db)
		if !slices.Contains(ids(held), base[len(base)-1].ID) || len(held) > 3 {
			t.Errorf("sin1 holds %v, want its newest and the base that syd1 has, %s", held, base[len(base)-1].ID)
		}
		p.sin1.crash()
		after(time.Second)
		p.start(p.sin1)
		p.start(syd1)
		after(time.Hour)
		p.wantForwarded(syd1)
		if got := p.pointsOf(syd1, "/backup/sin1", db); got[0].ID != base[0].ID {
			t.Errorf("syd1 holds %v, want that it went on from %s", got, base[0].ID)
		}
		if got := p.points(db); slices.Contains(ids(got), base[len(base)-1].ID) {
			t.Errorf("sin1 still holds the former base %s", base[len(base)-1].ID)
		}
	})
}

// A source in which nothing is written sends nothing, and the end of the chain knows
// that its point is as good as new.
func TestTheEndOfAChainIsToldThatNothingWasWritten(t *testing.T) {
	runChain(t, func(p *pair) { p.fra1.config.Jobs[0].Always = false }, func(p *pair, syd1 *node) {
		after(12*time.Hour + time.Minute)
		if got := len(p.pointsOf(syd1, "/backup/sin1", db)); got != 1 {
			t.Errorf("%d points at the end of the chain, want the one that there is", got)
		}
		if notes := p.told.since(0); len(notes) != 0 {
			t.Errorf("somebody was told %v, want nothing", notes)
		}
		p.fra1.crash()
		after(3 * time.Hour)
		if notes := p.told.since(0); !slices.Contains(notes, "syd1 rpo-missed /data/db") {
			t.Errorf("three hours after the source died told %v, want syd1's rpo-missed", notes)
		}
	})
}

func TestAReloadTakesAChainApartAndPutsItTogether(t *testing.T) {
	runChain(t, nil, func(p *pair, syd1 *node) {
		after(2 * time.Hour)
		jobs := p.sin1.config.Jobs
		p.reload(p.sin1, func(c *config.Config) { c.Jobs = nil })
		before := len(p.pointsOf(syd1, "/backup/sin1", db))
		after(2 * time.Hour)
		if got := len(p.pointsOf(syd1, "/backup/sin1", db)); got != before {
			t.Errorf("%d points on syd1 after the job was taken out, want still %d", got, before)
		}
		p.reload(p.sin1, func(c *config.Config) { c.Jobs = jobs })
		after(time.Minute)
		p.wantForwarded(syd1)
		p.sin1.reconfigure(t, func(a *policy.Accept) { a.Into = "/backup/elsewhere" })
		held := ids(p.pointsOf(syd1, "/backup/sin1", db))
		after(2 * time.Hour)
		if line := p.onwardLine(); line.State != status.StateConflict || !slices.Equal(ids(p.pointsOf(syd1, "/backup/sin1", db)), held) {
			t.Errorf("where sin1 begins anew, without the base that syd1 has: state %s, syd1 holds %v; want a conflict, and what it held", line.State, p.pointsOf(syd1, "/backup/sin1", db))
		}
	})
}

// A renamed dataset is followed to the end of the chain, and not copied again.
func TestARenamedDatasetIsFollowedThroughAChain(t *testing.T) {
	runChain(t, below, func(p *pair, syd1 *node) {
		after(2 * time.Hour)
		had := p.pointsOf(syd1, "/backup/sin1", db)
		p.fra1.disk.Rename(db, "/data/renamed")
		after(2 * time.Hour)
		now := p.pointsOf(syd1, "/backup/sin1", "/data/renamed")
		if len(now) <= len(had) || now[0].ID != had[0].ID {
			t.Errorf("under the new path syd1 has %d points, want the %d of before and more", len(now), len(had))
		}
		if left := p.pointsOf(syd1, "/backup/sin1", db); len(left) != 0 {
			t.Errorf("under the old path syd1 still has %v", left)
		}
		if told := p.told.since(0); len(told) != 0 {
			t.Errorf("told %v, want nobody", told)
		}
	})
}

// A dataset that was made anew reaches the end of the chain, and what was held of the
// one before is set aside there too.
func TestADatasetThatWasMadeAnewGoesThroughAChain(t *testing.T) {
	runChain(t, nil, func(p *pair, syd1 *node) {
		after(2 * time.Hour)
		old := ids(p.pointsOf(syd1, "/backup/sin1", db))
		p.fra1.disk.Remove(db)
		p.fra1.disk.Make(db)
		p.write("first", "of the new one")
		after(2 * time.Hour)
		p.wantForwarded(syd1)
		kept := 0
		for _, r := range syd1.daemon.Status().Replicas {
			if r.Path != db && slices.Equal(ids(p.pointsOf(syd1, "/backup/sin1", r.Path))[:len(old)], old) {
				kept++
			}
		}
		if kept != 1 {
			t.Errorf("syd1 shows %+v, want that what it held before is set aside", syd1.daemon.Status().Replicas)
		}
	})
}

// A promotion at the end of a chain ends the chain there, and reaches neither the
// middle, which is primary of nothing, nor the source.
func TestAPromotionAtTheEndLeavesTheRestOfAChainAlone(t *testing.T) {
	runChain(t, nil, func(p *pair, syd1 *node) {
		after(2 * time.Hour)
		had := p.pointsOf(syd1, "/backup/sin1", db)
		if _, err := syd1.daemon.Promote(p.t.Context(), control.PromoteRequest{Dataset: db, Force: true}); err != nil {
			t.Fatal(err)
		}
		after(3 * time.Hour)
		if got := p.pointsOf(syd1, "/backup/sin1", db); !slices.Equal(ids(got), ids(had)) {
			t.Errorf("after the promotion syd1 holds %v, want what it held: %v", ids(got), ids(had))
		}
		if line := p.pairLine(db); line.State != status.StateOK {
			t.Errorf("fra1 to sin1: %+v, want ok", line)
		}
		if line := p.onwardLine(); line.State == status.StateOK {
			t.Errorf("sin1 to syd1: %+v, want that nothing goes there any more", line)
		}
		if role := p.sin1.daemon.Status().Replicas[0].Role; role != "standby" {
			t.Errorf("sin1's replica is %s, want a standby", role)
		}
		if told := p.told.since(0); !slices.Contains(told, "sin1 mark-refused /data/db") {
			t.Errorf("told %v, want sin1's operator", told)
		}
	})
}
