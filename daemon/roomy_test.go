package daemon_test

import (
	"strings"
	"testing"
	"time"

	"antipode/daemon/policy"
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
