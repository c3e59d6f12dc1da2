package daemon_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"antipode/daemon/policy"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
)

func TestAFullSourceMakesNoSnapshotsWhereMinFreeIsSetAndTellsWhy(t *testing.T) {
	for name, amount := range map[string]policy.Amount{"set": {Percent: 100}, "left out": {}} {
		t.Run(name, func(t *testing.T) {
			runPair(t, func(p *pair) {
				p.fra1.config.Jobs[0].MinFree = amount
				p.startBoth()
				p.write("log", "x")
				after(3 * time.Hour)
				made := len(p.own())
				if amount.IsZero() {
					if made == 0 {
						t.Error("no snapshot was made, and nothing was said of min_free")
					}
					return
				}
				j := p.fra1.daemon.Status().Jobs[0]
				if made != 0 || j.Problem == nil || !strings.Contains(j.Problem.Text, "min_free") || !strings.Contains(j.Problem.Next, "antipode holds") {
					t.Errorf("%d snapshots, problem %+v; want none, and why", made, j.Problem)
				}
			})
		})
	}
}

// Two jobs on one file system ask for more and for less room than there is: the alarm of
// the one stands until it has room, or is gone, whatever the other finds.
func TestTheAlarmOfAFullSourceIsItsJobsOwn(t *testing.T) {
	runPair(t, func(p *pair) {
		www := dataset.Path("/data/www")
		p.fra1.disk.Make(www)
		p.fra1.config.Jobs = append(p.fra1.config.Jobs, hourly("www", www))
		p.fra1.config.Jobs[0].MinFree, p.fra1.config.Jobs[1].MinFree = policy.Amount{Percent: 50}, policy.Amount{Percent: 1}
		p.fra1.disk.FillBut(10 * gib)
		p.startBoth()
		after(2 * time.Second) // past the second in which alarms are shown
		told := func() int { return count(p.told.since(0), "fra1 space-low fra1 of job db") }
		stands := func() bool {
			return slices.ContainsFunc(p.fra1.daemon.Status().Alerts, func(a status.Alert) bool { return a.Kind == "space-low" })
		}
		for range 4 {
			p.hours(1)
			if told() != 1 || !stands() {
				t.Fatalf("told %v, stands %t; want it told once, and to stand", p.told.since(0), stands())
			}
		}
		p.fra1.disk.Drain()
		p.hours(1)
		if stands() {
			t.Error("it stands although there is room")
		}
		p.fra1.disk.FillBut(10 * gib)
		p.hours(1)
		if told() != 2 || !stands() {
			t.Errorf("told %v, want it again", p.told.since(0))
		}
		p.fra1.config.Jobs = p.fra1.config.Jobs[1:]
		if _, err := p.fra1.daemon.ReloadConfig(); err != nil {
			t.Fatal(err)
		}
		after(time.Minute)
		if stands() {
			t.Error("it stands although its job is gone")
		}
	})
}

func count(list []string, what string) (n int) {
	for _, s := range list {
		if s == what {
			n++
		}
	}
	return n
}
