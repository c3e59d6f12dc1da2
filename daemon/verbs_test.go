package daemon_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/policy"
	"antipode/fsdrivers/dataset"
)

func TestVerbsRefuseWhatTheyDoNotKnow(t *testing.T) {
	runPair(t, func(p *pair) {
		p.startBoth()
		after(time.Hour)
		ctx := p.t.Context()
		names := []string{"", "nosuch", "DB", "db ", "../db", "db\x00", "-", "%s%n", strings.Repeat("x", 4096), "\xff"}
		for _, name := range names {
			asks := map[string]func() error{
				"trigger": func() error { _, err := p.fra1.daemon.Trigger(ctx, control.TriggerRequest{Job: name}); return err },
				"trigger, wait": func() error {
					_, err := p.fra1.daemon.Trigger(ctx, control.TriggerRequest{Job: name, Wait: true})
					return err
				},
				"pause": func() error { _, err := p.fra1.daemon.SetPaused(name, true); return err },
				"abort": func() error { _, err := p.fra1.daemon.Abort(ctx, control.AbortRequest{Job: name}); return err },
				"promote": func() error {
					_, err := p.sin1.daemon.Promote(ctx, control.PromoteRequest{Dataset: dataset.Path(name), Force: true})
					return err
				},
				"promote from": func() error {
					_, err := p.sin1.daemon.Promote(ctx, control.PromoteRequest{Dataset: db, From: "x" + name, Force: true})
					return err
				},
				"promote to": func() error {
					_, err := p.sin1.daemon.Promote(ctx, control.PromoteRequest{Dataset: db, Snapshot: "x" + name, Force: true})
					return err
				},
			}
			if name != "" { // no name is every job
				asks["plan"] = func() error { _, err := p.fra1.daemon.Preview(ctx, control.PlanRequest{Job: name}); return err }
			}
			before := slices.Concat(p.fra1.disk.Facts(), p.sin1.disk.Facts())
			for verb, ask := range asks {
				var refused *control.Error
				if err := ask(); !errors.As(err, &refused) || refused.Kind != control.KindNotFound || refused.Next == "" {
					t.Errorf("%s %.20q = %v, want a not-found with the next step", verb, name, err)
				}
			}
			if after := slices.Concat(p.fra1.disk.Facts(), p.sin1.disk.Facts()); !slices.Equal(before, after) {
				t.Errorf("%.20q: the disks changed", name)
			}
		}
	})
}

// A promotion of what is not there must not even be begun on the side that asks.
func TestTheSourcesOwnDatasetsCannotBePromoted(t *testing.T) {
	runPair(t, func(p *pair) {
		p.startBoth()
		after(time.Hour)
		if _, err := p.fra1.daemon.Promote(p.t.Context(), control.PromoteRequest{Dataset: db, Force: true}); err == nil {
			t.Error("fra1 promoted a dataset that it sends itself")
		}
	})
}

func TestPlanWritesNothing(t *testing.T) {
	for _, tc := range []struct {
		name  string
		setUp func(p *pair)
	}{
		{"before the first run", func(*pair) {}},
		{"with a base", func(*pair) { after(5 * time.Hour) }},
		{"with the target promoted", func(p *pair) {
			after(time.Hour)
			p.promote(control.PromoteRequest{Dataset: db, Force: true})
		}},
		{"with a step down that a crash cut off", func(p *pair) {
			after(time.Hour)
			mark := dataset.Mark{Activation: dataset.Activation{Generation: 1, ID: dataset.NewActivationID(), Node: "sin1"}}
			if err := p.fra1.disk.Source().SwapMark(p.t.Context(), db, dataset.Mark{}, mark); err != nil {
				p.t.Fatal(err)
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			runPair(t, func(p *pair) {
				p.startBoth()
				synctest.Wait()
				tc.setUp(p)
				synctest.Wait()
				near, far, line := p.fra1.disk.Facts(), p.sin1.disk.Facts(), p.fra1.daemon.Status()
				if _, err := p.fra1.daemon.Preview(p.t.Context(), control.PlanRequest{}); err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if got := p.fra1.disk.Facts(); !slices.Equal(got, near) {
					t.Errorf("plan changed the source:\n%s\nit was:\n%s", strings.Join(got, "\n"), strings.Join(near, "\n"))
				}
				if got := p.sin1.disk.Facts(); !slices.Equal(got, far) {
					t.Errorf("plan changed the target:\n%s\nit was:\n%s", strings.Join(got, "\n"), strings.Join(far, "\n"))
				}
				if got := p.fra1.daemon.Status(); len(got.Alerts) != len(line.Alerts) {
					t.Errorf("plan raised alerts: %v", got.Alerts)
				}
			})
		})
	}
}

// What `plan --json` printed is what the run of the same moment does, name by name.
func TestARunDoesWhatItsPlanSaid(t *testing.T) {
	runPair(t, func(p *pair) {
		p.fra1.config.Jobs[0].Keep = policy.Keep{Last: 2, Hourly: 3}
		p.fra1.config.Jobs[0].Schedule = policy.Schedule{} // only when triggered
		p.startBoth()
		for range 6 {
			if _, err := p.fra1.daemon.Trigger(p.t.Context(), control.TriggerRequest{Job: "db", Wait: true}); err != nil {
				t.Fatal(err)
			}
			after(time.Hour)
		}
		text, err := p.fra1.daemon.Preview(p.t.Context(), control.PlanRequest{Job: "db"})
		if err != nil {
			t.Fatal(err)
		}
		said := throughJSON(t, text).Jobs[0]
		if len(said.Snapshots) != 1 || len(said.Sends) != 1 || said.Sends[0].Plan == nil || len(said.Prunes) != 1 || len(said.Problems) != 0 {
			t.Fatalf("plan = %+v, want a snapshot, a send and verdicts", said)
		}
		was, held := p.own(), p.points(db)
		if _, err := p.fra1.daemon.Trigger(p.t.Context(), control.TriggerRequest{Job: "db", Wait: true}); err != nil {
			t.Fatal(err)
		}
		is, holds := p.own(), p.points(db)
		if got := names(is, was); !slices.Equal(got, []string{said.Snapshots[0].Name}) {
			t.Errorf("the run made %v, planned was %s", got, said.Snapshots[0].Name)
		}
		var planned []string
		for _, s := range said.Sends[0].Plan.Steps {
			planned = append(planned, s.To.Name)
		}
		if got := names(holds, held); !slices.Equal(got, planned) {
			t.Errorf("the run sent %v, planned was %v", got, planned)
		}
		if base := said.Sends[0].Plan.Base; base.ID != held[len(held)-1].ID {
			t.Errorf("planned from base %s, and the target's newest is %s", base.ID, held[len(held)-1].ID)
		}
		var destroy []string
		for _, v := range said.Prunes[0].Verdicts {
			if v.Destroy {
				destroy = append(destroy, v.Snapshot.Name)
			}
			if len(v.Reasons) == 0 {
				t.Errorf("%s has no reason", v.Snapshot.Name)
			}
		}
		if got := names(was, is); !slices.Equal(got, destroy) || len(destroy) == 0 {
			t.Errorf("the run destroyed %v, planned was %v", got, destroy)
		}
	})
}

// own is what fra1 has of db, oldest first.
func (p *pair) own() []dataset.Snapshot {
	p.t.Helper()
	list, err := p.fra1.disk.Source().Snapshots(p.t.Context(), db)
	if err != nil {
		p.t.Fatal(err)
	}
	return list
}

// names lists what is in all and not in others.
func names(all, others []dataset.Snapshot) (out []string) {
	for _, s := range all {
		if !slices.ContainsFunc(others, func(o dataset.Snapshot) bool { return o.ID == s.ID }) {
			out = append(out, s.Name)
		}
	}
	return out
}

// throughJSON is v as whoever reads what was printed decodes it.
func throughJSON[T any](t *testing.T, v T) (back T) {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	return back
}
