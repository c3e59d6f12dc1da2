package daemon_test

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"antipode/daemon/ledger"
	"antipode/daemon/policy"
	"antipode/daemon/schedule"
)

// missed counts the runs of one kind that made up for missed ones.
func (n *node) missed(t *testing.T, kind string) int {
	t.Helper()
	if err := n.daemon.Ledger.Flush(); err != nil {
		t.Fatal(err)
	}
	runs, err := n.daemon.Ledger.Runs(ledger.MaxRuns)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, r := range runs {
		if r.Kind == kind && r.Cause == schedule.CauseMissed {
			count++
		}
	}
	return count
}

// TestARestartMakesUpForWhatWasMissedOnly, also where nothing is written, so that
// history has no runs.
func TestARestartMakesUpForWhatWasMissedOnly(t *testing.T) {
	runPair(t, func(p *pair) {
		j := &p.fra1.config.Jobs[0]
		j.Always, j.Replicate = false, policy.Schedule{Every: 2 * time.Hour}
		p.startBoth()
		after(6*time.Hour + 10*time.Minute)
		snapshots, sends := p.fra1.missed(t, ""), p.fra1.missed(t, ledger.RunReplicate)
		restart := func(down time.Duration) {
			p.fra1.stop()
			after(down)
			p.start(p.fra1)
			after(10 * time.Second)
		}
		restart(10 * time.Minute) // to 06:20
		if got := p.fra1.missed(t, ""); got != snapshots {
			t.Errorf("a restart between two times made up for %d runs, want none", got-snapshots)
		}
		if got := p.fra1.missed(t, ledger.RunReplicate); got != sends {
			t.Errorf("a restart between two times made up for %d replications, want none", got-sends)
		}
		restart(time.Hour) // to 07:20
		if got := p.fra1.missed(t, ""); got != snapshots+1 {
			t.Errorf("a restart after 07:00 made up for %d runs, want 1", got-snapshots)
		}
		if got := p.fra1.missed(t, ledger.RunReplicate); got != sends {
			t.Errorf("a restart before 08:00 made up for %d replications, want none", got-sends)
		}
	})
}

// TestQuietRunsOfEveryFewSecondsDoNotWriteAndAKillRunsNoneTwice: the ledger of a
// killed daemon is what was on the disk.
func TestQuietRunsOfEveryFewSecondsDoNotWriteAndAKillRunsNoneTwice(t *testing.T) {
	runPair(t, func(p *pair) {
		restful(p, time.Hour)
		p.startBoth()
		path := ledger.Path(p.fra1.config.StateDir)
		onDisk := func() []byte {
			raw, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			return raw
		}
		after(time.Minute)
		before := onDisk()
		after(ledger.LaterDelay / 2)
		if !slices.Equal(onDisk(), before) {
			t.Error("quiet runs wrote to the ledger")
		}
		had := p.fra1.missed(t, "") // which flushes what waits; the kill loses that
		p.fra1.stop()
		if slices.Equal(onDisk(), before) {
			t.Error("a stop did not write the last start")
		}
		if err := os.WriteFile(path, before, 0o600); err != nil {
			t.Fatal(err)
		}
		p.start(p.fra1)
		after(time.Second)
		if got := p.fra1.missed(t, ""); got != had {
			t.Errorf("after a kill %d runs were made up for, want none: the next is due in seconds", got-had)
		}
		began := time.Now()
		after(5 * time.Second)
		if last := p.fra1.daemon.Status().Jobs[0].LastRun; !last.After(began) {
			t.Errorf("the last run was at %v, want one after %v", last, began)
		}
	})
}

func TestARunThatTheEndOfTheDaemonCutShortIsMadeUpFor(t *testing.T) {
	runHooked(t, policy.OnFailSkip, func(h *hooked) {
		hook := h.fra1.hook
		h.startBoth()
		after(30 * time.Minute)
		h.fra1.hook = func(ctx context.Context, argv []string, env map[string]string) error {
			if argv[0] == "/bin/quiet" {
				<-ctx.Done()
				return context.Cause(ctx)
			}
			return hook(ctx, argv, env)
		}
		after(30*time.Minute + time.Second) // the run of 01:00 waits for its hook
		had := h.snapshots()
		h.fra1.stop()
		h.fra1.hook = hook
		h.start(h.fra1)
		after(time.Minute)
		if got := h.snapshots(); got != had+1 {
			t.Errorf("after the restart fra1 has %d snapshots, want %d and the one of 01:00", got, had)
		}
	})
}

// TestAReplicationThatARestartCutShortGoesOn: the next is due in a day.
func TestAReplicationThatARestartCutShortGoesOn(t *testing.T) {
	runPair(t, func(p *pair) {
		if err := p.fra1.disk.Grow(db, 64<<20); err != nil {
			t.Fatal(err)
		}
		p.fra1.disk.SetRate(1 << 20)
		p.fra1.config.Jobs[0].Replicate = policy.Schedule{Every: policy.Day}
		p.startBoth()
		after(10 * time.Second)
		if p.pairLine(db).Moving == nil {
			t.Fatal("nothing is sent")
		}
		p.fra1.stop()
		p.start(p.fra1)
		after(30 * time.Minute)
		if got := len(p.points(db)); got != 1 {
			t.Errorf("half an hour after the restart sin1 holds %d points, want the first copy", got)
		}
	})
}
