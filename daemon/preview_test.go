package daemon_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/plan"
	"antipode/daemon/policy"
	"antipode/daemon/prune"
)

// planned is what `plan db --json` prints on fra1.
func (p *pair) planned() control.JobPreview[plan.Plan, prune.Verdict] {
	p.t.Helper()
	shown, err := p.fra1.daemon.Preview(p.t.Context(), control.PlanRequest{Job: "db"})
	if err != nil || len(shown.Jobs) != 1 {
		p.t.Fatalf("plan: %+v, %v", shown, err)
	}
	return throughJSON(p.t, shown).Jobs[0]
}

// doomedIn are the names that go of the first dataset of a plan.
func doomedIn(j control.JobPreview[plan.Plan, prune.Verdict]) (all []string) {
	for _, v := range prune.Doomed(j.Prunes[0].Verdicts) {
		all = append(all, v.Snapshot.Name)
	}
	return all
}

// Half an hour before its run a plan names the snapshot as the run does, and what it
// says goes is what the run destroys: judged by now, nothing would.
func TestAPlanIsOfTheTimeOfItsRun(t *testing.T) {
	runPair(t, func(p *pair) {
		p.fra1.config.Jobs[0].Keep = policy.Keep{Hourly: 2}
		p.startBoth()
		p.hours(4)
		after(30 * time.Minute)
		if _, err := p.fra1.daemon.Pin(p.t.Context(), control.PinRequest{Snapshot: p.own()[0].Name, Until: time.Now().Add(15 * time.Minute)}); err != nil {
			t.Fatal(err)
		}
		said, was := p.planned(), p.own()
		after(time.Until(said.Next) + time.Minute)
		is := p.own()
		if got := names(is, was); !slices.Equal(got, []string{said.Snapshots[0].Name}) {
			t.Errorf("the run made %v, planned was %s", got, said.Snapshots[0].Name)
		}
		if got := names(was, is); !slices.Equal(got, doomedIn(said)) || len(got) == 0 {
			t.Errorf("the run destroyed %v, planned was %v", got, doomedIn(said))
		}
	})
}

// A plan of a run that is still to come can be carried out before: what needs a snapshot
// then is asked again, and what only the run makes is not sent.
func TestAPlanOfARunToComeIsCarriedOutBefore(t *testing.T) {
	runPair(t, func(p *pair) {
		p.fra1.config.Jobs[0].Keep = policy.Keep{Last: 4}
		p.startBoth()
		p.hours(6)
		after(30 * time.Minute)
		pinned := p.own()[1].Name
		if _, err := p.fra1.daemon.Pin(p.t.Context(), control.PinRequest{Snapshot: pinned, Until: time.Now().Add(15 * time.Minute)}); err != nil {
			t.Fatal(err)
		}
		p.fra1.config.Jobs = slices.Clone(p.fra1.config.Jobs)
		p.fra1.config.Jobs[0].Keep = policy.Keep{Last: 2}
		if _, err := p.fra1.daemon.ReloadConfig(); err != nil {
			t.Fatal(err)
		}
		said, was := p.planned(), p.own()
		if !slices.Contains(doomedIn(said), pinned) {
			t.Fatalf("planned is that %v go, want %s among them, whose pin ends before the run", doomedIn(said), pinned)
		}
		r, err := p.fra1.daemon.Prune(p.t.Context(), pruneRequest{Plan: []prunePlan{{Job: "db", Prunes: said.Prunes}}})
		want := slices.DeleteFunc(doomedIn(said), func(name string) bool { return name == pinned })
		if got := names(was, p.own()); err != nil || !slices.Equal(got, want) || len(r.Runs[0].Errors) != 1 || !strings.Contains(r.Runs[0].Errors[0].Text, "pinned until") {
			t.Errorf("destroyed %v, %+v, %v; want %v, and that %s is pinned yet", got, r, err, want, pinned)
		}
		sent := p.send(control.SendRequest[plan.Plan]{Plan: []control.SendPlan[plan.Plan]{{Job: "db", Sends: said.Sends}}})
		if sent.Error != nil || sent.Steps != 0 || !slices.Equal(sent.Unmade, []string{said.Snapshots[0].Name}) {
			t.Errorf("sent %+v, want nothing but that %s is not made yet", sent, said.Snapshots[0].Name)
		}
	})
}

// A job that replicates at times of its own sends then, and not with the run.
func TestAPlanTellsWhenItSends(t *testing.T) {
	unborn := func(j control.JobPreview[plan.Plan, prune.Verdict]) bool {
		return slices.ContainsFunc(j.Sends[0].Plan.Steps, func(s plan.Step) bool { return s.To.ID == plan.Unborn })
	}
	runPair(t, func(p *pair) {
		p.fra1.config.Jobs[0].Replicate = policy.Schedule{Every: policy.Day}
		p.startBoth()
		p.hours(2)
		said, before := p.planned(), len(p.points(db))
		if said.NextReplication.IsZero() || !said.NextReplication.After(said.Next) || !unborn(said) {
			t.Fatalf("the run is at %s and replication at %s, steps %+v; want it later, and the run's snapshot sent", said.Next, said.NextReplication, said.Sends[0].Plan.Steps)
		}
		after(time.Until(said.NextReplication) - time.Minute)
		if got := len(p.points(db)); got != before {
			t.Errorf("%d points before replication, were %d", got, before)
		}
		after(2 * time.Minute)
		if got := len(p.points(db)); got == before {
			t.Error("nothing was sent when the plan said")
		}
	})
	runPair(t, func(p *pair) {
		job := &p.fra1.config.Jobs[0]
		job.Schedule, job.Replicate = policy.Schedule{Every: policy.Day}, policy.Schedule{Every: time.Hour}
		p.startBoth()
		after(90 * time.Minute)
		if said := p.planned(); !said.NextReplication.Before(said.Next) || unborn(said) {
			t.Errorf("the run is at %s and replication at %s, steps %+v; want it before, without what is not made by then", said.Next, said.NextReplication, said.Sends[0].Plan.Steps)
		}
	})
}

// Where the run would find too little room, the plan makes nothing either.
func TestAPlanAsksForRoom(t *testing.T) {
	runPair(t, func(p *pair) {
		p.startBoth()
		p.hours(2)
		p.fra1.config.Jobs = slices.Clone(p.fra1.config.Jobs)
		p.fra1.config.Jobs[0].MinFree = policy.Amount{Percent: 100}
		if _, err := p.fra1.daemon.ReloadConfig(); err != nil {
			t.Fatal(err)
		}
		heard := len(p.told.since(0))
		said := p.planned()
		if len(said.Snapshots) != 1 || said.Snapshots[0].Name != "" || !strings.Contains(said.Snapshots[0].Why, "min_free") ||
			len(said.Problems) != 1 || !strings.Contains(said.Problems[0].Next, "antipode holds") {
			t.Errorf("planned %+v, problems %+v; want no snapshot, and why", said.Snapshots, said.Problems)
		}
		if slices.ContainsFunc(said.Prunes[0].Verdicts, func(v prune.Verdict) bool { return v.Snapshot.ID == plan.Unborn }) {
			t.Error("verdicts count with a snapshot that is not made")
		}
		after(time.Second)
		if told := p.told.since(heard); len(told) != 0 {
			t.Errorf("a plan told %v", told)
		}
		made := p.own()
		after(2 * time.Hour)
		if got := names(p.own(), made); len(got) != 0 {
			t.Errorf("the run made %v", got)
		}
	})
}
