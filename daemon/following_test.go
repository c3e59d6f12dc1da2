package daemon_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/plan"
	"antipode/daemon/policy"
)

// printed is what `plan --json` printed, read again.
func (p *pair) printed() control.SendRequest[plan.Plan] {
	p.t.Helper()
	preview, err := p.fra1.daemon.Preview(p.t.Context(), control.PlanRequest{Job: "db"})
	if err != nil {
		p.t.Fatal(err)
	}
	var r control.SendRequest[plan.Plan]
	for _, j := range throughJSON(p.t, preview).Jobs {
		r.Plan = append(r.Plan, control.SendPlan[plan.Plan]{Job: j.Job, Sends: j.Sends})
	}
	return r
}

func (p *pair) send(r control.SendRequest[plan.Plan]) control.Sent {
	p.t.Helper()
	answer, err := p.fra1.daemon.Send(p.t.Context(), r)
	if err != nil || len(answer.Sends) != 1 {
		p.t.Fatalf("send: %+v, %v; want one line", answer, err)
	}
	return answer.Sends[0]
}

// runPlanned is a pair whose source replicates once a day.
func runPlanned(t *testing.T, test func(p *pair)) {
	runPair(t, func(p *pair) {
		p.startBoth()
		p.hours(1) // the first copy: what is due at the start comes in any order
		p.fra1.stop()
		p.fra1.config.Jobs[0].Replicate = policy.Schedule{Every: 24 * time.Hour}
		p.start(p.fra1)
		p.hours(3)
		test(p)
	})
}

// A printed plan is the value that is executed: its steps are sent, no other, and
// what only a run makes is named.
func TestAPrintedPlanIsSentAsItIs(t *testing.T) {
	runPlanned(t, func(p *pair) {
		have := len(p.points(db))
		r := p.printed()
		steps := r.Plan[0].Sends[0].Plan.Steps
		if len(steps) != 4 {
			t.Fatalf("planned %d steps, want those of three hours and one that is not made yet", len(steps))
		}
		p.hours(2) // which the plan knows nothing of
		got := p.send(r)
		if got.Error != nil || got.Steps != len(steps)-1 || got.Bytes == 0 || !slices.Equal(got.Unmade, []string{steps[len(steps)-1].To.Name}) {
			t.Errorf("sent %+v, want all but the last of %d steps", got, len(steps))
		}
		points := p.points(db)
		if len(points) != have+got.Steps || points[len(points)-1].ID != steps[len(steps)-2].To.ID {
			t.Errorf("sin1 has %v, want exactly the plan's", points)
		}
		p.wantSame(db)
		if got := p.send(r); got.Steps != 0 || got.Error == nil || got.Error.Next == "" || !strings.Contains(got.Error.Text, "the newest common point is") {
			t.Errorf("again: %+v, want it refused, because the base moved", got)
		}
	})
}

func TestAPrintedPlanThatDoesNotFitIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(p *pair, r *control.SendRequest[plan.Plan])
		says   string
	}{
		"a snapshot is gone": {func(p *pair, r *control.SendRequest[plan.Plan]) {
			gone := r.Plan[0].Sends[0].Plan.Steps[1].To
			if err := p.fra1.disk.Source().Destroy(p.t.Context(), db, gone); err != nil {
				p.t.Fatal(err)
			}
		}, "is not there any more"},
		"the job is paused": {func(p *pair, _ *control.SendRequest[plan.Plan]) {
			if _, err := p.fra1.daemon.SetPaused("db", true); err != nil {
				p.t.Fatal(err)
			}
		}, "is paused"},
		"the job has no such dataset": {func(_ *pair, r *control.SendRequest[plan.Plan]) {
			s := &r.Plan[0].Sends[0]
			s.Dataset, s.Plan.Dataset.Path = "/other", "/other"
		}, "no dataset of job db"},
		"the job has no such target": {func(_ *pair, r *control.SendRequest[plan.Plan]) { r.Plan[0].Sends[0].Peer = "syd1" }, "does not replicate to it"},
		"the plan is of another dataset": {func(_ *pair, r *control.SendRequest[plan.Plan]) {
			r.Plan[0].Sends[0].Plan.Dataset.Path = "/data/other"
		}, "its plan is for /data/other"},
	} {
		t.Run(name, func(t *testing.T) {
			runPlanned(t, func(p *pair) {
				p.trigger()
				p.hours(3)
				r := p.printed()
				before := p.points(db)
				c.change(p, &r)
				got := p.send(r)
				if got.Steps != 0 || got.Error == nil || got.Error.Next == "" && !strings.Contains(got.Error.Text, "no dataset") || !strings.Contains(got.Error.Text, c.says) {
					t.Errorf("got %+v, want it refused with %q", got, c.says)
				}
				if after := p.points(db); len(after) != len(before) {
					t.Errorf("sin1 had %d points and has %d", len(before), len(after))
				}
			})
		})
	}
	runPlanned(t, func(p *pair) {
		if _, err := p.fra1.daemon.Send(t.Context(), control.SendRequest[plan.Plan]{Plan: []control.SendPlan[plan.Plan]{{Job: "nosuch"}}}); err == nil {
			t.Error("a plan of no job was taken")
		}
	})
}

// While a step is on its way no plan begins another.
func TestAPrintedPlanWaitsForNoOtherStep(t *testing.T) {
	runPlanned(t, func(p *pair) {
		p.trigger()
		if err := p.fra1.disk.Grow(db, 64<<20); err != nil {
			t.Fatal(err)
		}
		p.hours(1)
		r := p.printed()
		p.fra1.disk.SetRate(1 << 20)
		done := make(chan control.Sent, 1)
		go func() { done <- p.send(r) }()
		after(10 * time.Second)
		if got := p.send(r); got.Error == nil || got.Error.Kind != control.KindBusy {
			t.Errorf("got %+v, want that it is busy", got)
		}
		after(10 * time.Minute)
		if got := <-done; got.Error != nil || got.Steps != 1 {
			t.Errorf("the first: %+v, want it sent", got)
		}
	})
}

// trigger runs the job now and waits.
func (p *pair) trigger() {
	p.t.Helper()
	r, err := p.fra1.daemon.Trigger(p.t.Context(), control.TriggerRequest{Job: "db", Wait: true})
	if err != nil || len(r.Errors) > 0 {
		p.t.Fatalf("trigger: %+v, %v", r, err)
	}
}
