package daemon_test

import (
	"testing"
	"time"

	"antipode/daemon/control"
	"antipode/fsdrivers/dataset"
	"antipode/transport/transporttest"
)

// trigger runs the job without anything new in the dataset's snapshots but the one
// that the run makes.
func (p *pair) trigger() control.TriggerResponse {
	p.t.Helper()
	answer, err := p.fra1.daemon.Trigger(p.t.Context(), control.TriggerRequest{Job: "db", Wait: true})
	if err != nil {
		p.t.Fatal(err)
	}
	return answer
}

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
				p.trigger() // so that the target has just read its disk
				points = p.points(db)
				tc.change(p, points[len(points)-1])
				answer := p.trigger()
				switch {
				case tc.want == "" && (len(answer.Errors) > 0 || answer.Steps == 0):
					t.Errorf("the run after it: %d steps, %+v; want what is missing sent again", answer.Steps, answer.Errors)
				case tc.want == "":
					p.wantSame(db)
				case answer.Steps > 0 || len(answer.Errors) == 0:
					t.Errorf("the run after it: %d steps, %+v; want a refusal that says %s", answer.Steps, answer.Errors, tc.want)
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
