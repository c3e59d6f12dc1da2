package daemon_test

import (
	"slices"
	"testing"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/policy"
	"antipode/daemon/status"
	"antipode/transport/transporttest"
)

// restful is a pair whose job is due every five seconds and snapshots only what was
// written to.
func restful(p *pair, rpo time.Duration) {
	j := &p.fra1.config.Jobs[0]
	j.Schedule, j.Always, j.RPO, j.Keep = policy.Schedule{Every: 5 * time.Second}, false, rpo, policy.Keep{Last: 100}
	p.sin1.config.Accepts[0].RPO = rpo
}

func (p *pair) snapshots() int {
	p.t.Helper()
	own, err := p.fra1.disk.Source().Snapshots(p.t.Context(), db)
	if err != nil {
		p.t.Fatal(err)
	}
	return len(own)
}

func (p *pair) snapshotNow() error {
	_, err := p.fra1.daemon.Trigger(p.t.Context(), control.TriggerRequest{Job: "db"})
	return err
}

func (p *pair) replicaLine() status.Replica {
	p.t.Helper()
	for _, r := range p.sin1.daemon.Status().Replicas {
		if r.Path == db {
			return r
		}
	}
	p.t.Fatal("sin1 shows no replica")
	return status.Replica{}
}

func TestADatasetInWhichNothingIsWrittenGetsNoSnapshotAndStaysWithinItsRPO(t *testing.T) {
	runPair(t, func(p *pair) {
		restful(p, time.Minute)
		p.startBoth()
		after(12 * time.Second)
		had, connections := p.snapshots(), p.net.Dials()
		after(6 * time.Hour)
		if n := p.snapshots(); n != had || n != 1 {
			t.Errorf("fra1 has %d snapshots, want the 1 that there was after the first run", n)
		}
		if pairLine, replica := p.pairLine(db), p.replicaLine(); pairLine.State != status.StateOK || replica.State != status.StateOK ||
			pairLine.Lag > 30*time.Second || replica.Lag > 30*time.Second {
			t.Errorf("fra1 says %s, lag %s, sin1 %s, lag %s; want both ok, confirmed within half the rpo", pairLine.State, pairLine.Lag, replica.State, replica.Lag)
		}
		if told := p.told.since(0); len(told) != 0 {
			t.Errorf("told %v, want nobody", told)
		}
		// A quarter of the rpo is 15 s: at most four questions a minute, not twelve.
		if n := p.net.Dials() - connections; n > 6*60*4 {
			t.Errorf("%d connections in six hours, want at most %d", n, 6*60*4)
		}
		p.write("log", "something")
		after(6 * time.Second)
		if n := len(p.points(db)); n != 2 {
			t.Errorf("six seconds after a write sin1 has %d points, want 2", n)
		}
		p.wantSame(db)
	})
}

func TestTheTargetSpeaksUpWhenTheSourceOfAnUnchangedDatasetFallsSilent(t *testing.T) {
	runPair(t, func(p *pair) {
		restful(p, time.Minute)
		p.startBoth()
		after(time.Hour)
		p.fra1.crash()
		after(55 * time.Second)
		if told := p.told.since(0); slices.Contains(told, "sin1 rpo-missed /data/db") && p.replicaLine().Lag < time.Minute {
			t.Errorf("told %v before the rpo was over", told)
		}
		after(10 * time.Second)
		if told := p.told.since(0); !slices.Contains(told, "sin1 rpo-missed /data/db") {
			t.Errorf("told %v, want sin1's rpo-missed an rpo after the last word", told)
		}
	})
}

func TestBothSidesSpeakUpWhenAnUnchangedDatasetCannotBeConfirmed(t *testing.T) {
	runPair(t, func(p *pair) {
		restful(p, time.Minute)
		p.startBoth()
		after(time.Hour)
		p.net.Down(transporttest.Outage{Refuse: true, Reset: true})
		after(70 * time.Second)
		told := p.told.since(0)
		slices.Sort(told)
		if want := []string{"fra1 rpo-missed /data/db", "sin1 rpo-missed /data/db"}; !slices.Equal(told, want) {
			t.Fatalf("told %v, want %v", told, want)
		}
		p.net.Up()
		after(5 * time.Minute)
		told = p.told.since(2)
		slices.Sort(told)
		if want := []string{"fra1 rpo-met /data/db", "sin1 rpo-met /data/db"}; !slices.Equal(told, want) {
			t.Errorf("after the link came back told %v, want %v", told, want)
		}
		if n := p.snapshots(); n != 1 {
			t.Errorf("fra1 has %d snapshots, want 1", n)
		}
	})
}

// TestWhatWasConfirmedOutlivesARestart: the point is a day old, and neither daemon
// takes its own start for a miss.
func TestWhatWasConfirmedOutlivesARestart(t *testing.T) {
	runPair(t, func(p *pair) {
		restful(p, 90*time.Minute)
		p.fra1.config.Jobs[0].Schedule.Every = time.Hour
		p.startBoth()
		after(24*time.Hour + 10*time.Minute)
		for _, n := range []*node{p.sin1, p.fra1} {
			n.stop()
			p.start(n)
			after(20 * time.Minute)
		}
		if told := p.told.since(0); len(told) != 0 {
			t.Errorf("told %v, want nobody", told)
		}
		if n := p.snapshots(); n != 1 {
			t.Errorf("fra1 has %d snapshots, want 1", n)
		}
	})
}

func TestAlwaysAndATriggerSnapshotWhatNothingWasWrittenTo(t *testing.T) {
	runPair(t, func(p *pair) {
		restful(p, time.Hour)
		p.fra1.config.Jobs[0].Schedule.Every = time.Hour
		p.startBoth()
		after(3 * time.Hour)
		if err := p.snapshotNow(); err != nil {
			t.Fatal(err)
		}
		after(time.Second)
		if n := p.snapshots(); n != 2 {
			t.Errorf("after a trigger fra1 has %d snapshots, want 2", n)
		}
		p.fra1.config.Jobs[0].Always = true
		if _, err := p.fra1.daemon.ReloadConfig(); err != nil {
			t.Fatal(err)
		}
		after(3 * time.Hour)
		if n := p.snapshots(); n != 5 {
			t.Errorf("after three hours of always fra1 has %d snapshots, want 5", n)
		}
	})
}

// TestSnapshotsThatHaveTimesOfTheirOwnAreReplicatedAtOthers: snapshots every ten
// minutes, replication every hour.
func TestSnapshotsThatHaveTimesOfTheirOwnAreReplicatedAtOthers(t *testing.T) {
	runPair(t, func(p *pair) {
		j := &p.fra1.config.Jobs[0]
		j.Schedule.Every, j.Replicate = 10*time.Minute, policy.Schedule{Every: time.Hour}
		j.Keep = policy.Keep{Last: 100}
		p.sin1.config.Accepts[0].Keep = policy.Keep{Last: 100}
		p.startBoth()
		after(66 * time.Minute) // the first copy is of 01:00
		began := len(p.points(db))
		after(50 * time.Minute) // 01:56
		if n := len(p.points(db)); n != began || n == 0 {
			t.Errorf("at 01:56 sin1 has %d points, want the %d of 01:00", n, began)
		}
		after(10 * time.Minute) // 02:06
		if n := len(p.points(db)); n != began+5 && n != began+6 {
			t.Errorf("at 02:06 sin1 has %d points, want the %d of 01:00 and those of the hour", n, began)
		}
		// A restart is no reason to send before the time.
		had := len(p.points(db))
		after(30 * time.Minute)
		p.fra1.stop()
		p.start(p.fra1)
		after(10 * time.Minute)
		if n := len(p.points(db)); n != had {
			t.Errorf("at 02:46, after a restart, sin1 has %d points, want %d", n, had)
		}
		if next := p.fra1.daemon.Status().Jobs[0].NextReplication; next.Minute() != 0 {
			t.Errorf("next replication at %v, want a full hour", next)
		}
	})
}
