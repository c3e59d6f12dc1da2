package daemon_test

import (
	"strings"
	"testing"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/transport/transporttest"
)

// The target remembers what it read of its disk. Whatever somebody does there past
// the daemon has to show in its next answer.
func TestATargetAnswersFromItsDiskWhateverItRemembers(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(p *pair, newest dataset.Snapshot)
		want   string // in the line's error; "" if it is mended without help
	}{
		"the newest point is removed": {func(p *pair, newest dataset.Snapshot) {
			p.sin1.disk.RemoveSnapshot(into, db, newest.Name)
		}, ""},
		"all points are removed": {func(p *pair, _ dataset.Snapshot) {
			for _, s := range p.points(db) {
				p.sin1.disk.RemoveSnapshot(into, db, s.Name)
			}
		}, ""},
		"another daemon promoted it": {func(p *pair, newest dataset.Snapshot) {
			mark := dataset.Mark{Activation: dataset.Activation{Generation: 1, ID: dataset.NewActivationID(), Node: "sin1", Base: newest.ID}}
			if err := p.sin1.disk.Target(into, time.Now).SwapMark(p.t.Context(), db, dataset.Mark{}, mark); err != nil {
				p.t.Fatal(err)
			}
		}, "promoted"},
	} {
		t.Run(name, func(t *testing.T) {
			runPair(t, func(p *pair) {
				p.startBoth()
				after(3*time.Hour + time.Minute)
				points := p.points(db)
				for range 2 { // what the target has read is what it is asked for
					if tally, err := p.fra1.daemon.Replicate(p.t.Context(), "db"); err != nil || tally.Steps != 0 {
						t.Fatalf("before: %+v, %v; want nothing to do", tally, err)
					}
				}
				tc.change(p, points[len(points)-1])
				tally, err := p.fra1.daemon.Replicate(p.t.Context(), "db")
				switch {
				case tc.want == "" && (err != nil || tally.Steps == 0):
					t.Errorf("after it: %+v, %v; want what is missing sent again", tally, err)
				case tc.want == "":
					p.wantSame(db)
				case tally.Steps > 0 || err == nil || !strings.Contains(err.Error(), tc.want):
					t.Errorf("after it: %+v, %v; want a refusal that says %s", tally, err, tc.want)
				}
			})
		})
	}
}

// A daemon that starts anew knows no list of its peer's.
func TestARestartedTargetIsToldTheListAgain(t *testing.T) {
	runPair(t, func(p *pair) {
		p.startBoth()
		after(time.Hour)
		p.sin1.stop()
		p.start(p.sin1)
		after(time.Hour)
		p.wantSame(db)
		if line := p.pairLine(db); line.LastError != nil {
			t.Errorf("last error %+v, want none", line.LastError)
		}
	})
}

// One dataset that nobody wrote to costs the link next to nothing.
func TestAnExchangeAboutNothingNewIsSmall(t *testing.T) {
	runPair(t, func(p *pair) {
		p.startBoth()
		after(10 * time.Second)
		if _, err := p.fra1.daemon.Replicate(p.t.Context(), "db"); err != nil {
			t.Fatal(err)
		}
		before := p.net.Carried(transporttest.ToListener) + p.net.Carried(transporttest.ToCaller)
		if _, err := p.fra1.daemon.Replicate(p.t.Context(), "db"); err != nil {
			t.Fatal(err)
		}
		if n := p.net.Carried(transporttest.ToListener) + p.net.Carried(transporttest.ToCaller) - before; n == 0 || n > 2<<10 {
			t.Errorf("%d bytes went over the link, want some and at most 2 KiB", n)
		}
	})
}
