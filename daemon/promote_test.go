package daemon_test

import (
	"slices"
	"testing"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/policy"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
)

// Retention that was decided before a promotion must not destroy the point that
// the promotion has chosen: it is the base on which the way back stands (G1).
func TestRetentionUnderWaySparesThePointThatIsPromoted(t *testing.T) {
	runPair(t, func(p *pair) {
		p.sin1.config.Accepts[0].Keep = policy.Keep{}
		p.sin1.slow = time.Minute
		p.startBoth()
		for range 8 {
			after(time.Hour)
			p.write("log", time.Now().String())
		}
		p.sin1.reconfigure(t, func(a *policy.Accept) { a.Keep = policy.Keep{Last: 1} })
		points := p.points(db)
		after(90 * time.Second)
		if n := len(p.points(db)); n >= len(points) || n < len(points)-2 {
			t.Fatalf("sin1 holds %d points, want retention that has just begun on %d", n, len(points))
		}
		began := time.Now()
		chosen := points[5]
		p.promote(control.PromoteRequest{Dataset: db, Snapshot: chosen.Name, Force: true})
		if took := time.Since(began); took > time.Minute {
			t.Errorf("the promotion waited %s for retention, want one destroy at most", took)
		}
		after(time.Hour)
		if !slices.ContainsFunc(p.points(db), func(s dataset.Snapshot) bool { return s.ID == chosen.ID }) {
			t.Errorf("%s was promoted and destroyed; what is left: %v", chosen.Name, p.points(db))
		}
	})
}

// A driver does not find what is read-only; whoever looks at the status has to.
func TestADatasetThatIsFencedBelowAPatternStaysInSight(t *testing.T) {
	runPair(t, func(p *pair) {
		p.fra1.config.Jobs[0].Datasets = []policy.Pattern{{Path: "/data", Below: true}}
		p.startBoth()
		after(time.Hour)
		p.promote(control.PromoteRequest{Dataset: db, Force: true})
		after(3 * time.Hour)
		if line := p.pairLine(db); line.State != status.StateFenced {
			t.Errorf("state %s three hours after the demotion, want fenced", line.State)
		}
	})
}
