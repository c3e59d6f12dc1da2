package daemon_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/ledger"
	"antipode/daemon/policy"
	"antipode/daemon/prune"
	"antipode/fsdrivers/dataset"
)

type (
	pruneRequest = control.PruneRequest[prune.Verdict]
	prunePlan    = control.PrunePlan[prune.Verdict]
)

func has(list []dataset.Snapshot, name string) bool {
	return slices.ContainsFunc(list, func(s dataset.Snapshot) bool { return s.Name == name })
}

// hours lets the pair work for n hours, writing something in each.
func (p *pair) hours(n int) {
	for range n {
		p.write("log", time.Now().String())
		after(time.Hour)
	}
}

func TestAPinOutlivesThePolicyOnBothSidesAndADaemon(t *testing.T) {
	runPair(t, func(p *pair) {
		p.fra1.config.Jobs[0].Keep, p.sin1.config.Accepts[0].Keep = policy.Keep{Last: 2}, policy.Keep{Last: 2}
		p.startBoth()
		p.hours(2)
		name := p.own()[0].Name
		for _, n := range []*node{p.fra1, p.sin1} {
			r, err := n.daemon.Pin(p.t.Context(), control.PinRequest{Snapshot: string(db) + "@" + name, Until: time.Now().Add(12 * time.Hour), Why: "audit"})
			if err != nil || len(r.Snapshots) != 1 {
				t.Fatalf("pin on %s: %+v, %v", n.name, r, err)
			}
		}
		h, err := p.fra1.daemon.History(ledger.Query{Dataset: db, Kind: ledger.EntryEvent})
		want := "pinned: " + name + " until " + time.Now().Add(12*time.Hour).UTC().Format("2006-01-02 15:04:05 UTC") + ": audit"
		if err != nil || len(h.Entries) != 1 || h.Entries[0].Text != want {
			t.Errorf("history: %+v, %v; want %q", h.Entries, err, want)
		}
		if _, err := p.fra1.daemon.History(ledger.Query{Job: "bd"}); err == nil || !strings.Contains(err.Error(), "there is no such job") {
			t.Errorf("history of a job that there is not: %v", err)
		}
		if h, err := p.fra1.daemon.History(ledger.Query{Job: "sin1"}); err != nil || len(h.Entries) != 0 {
			t.Errorf("history of a peer: %+v, %v; want none", h, err)
		}
		p.fra1.stop()
		p.start(p.fra1)
		p.hours(6)
		if !has(p.own(), name) || !has(p.points(db), name) {
			t.Fatalf("%s was pinned and is gone", name)
		}
		holds, err := p.sin1.daemon.Holds(p.t.Context(), control.HoldsRequest{})
		if err != nil || !slices.ContainsFunc(holds.Holds, func(h control.HoldLine) bool {
			return h.Owner == control.OwnerUser && h.Snapshot == name && strings.Contains(h.Why, "audit")
		}) {
			t.Errorf("holds: %+v, %v; want the pin with its reason", holds, err)
		}
		p.hours(8)
		if has(p.own(), name) || has(p.points(db), name) {
			t.Errorf("the pin of %s ended, and it is still there", name)
		}
	})
}

func TestPinsAreRefusedWithTheNextStep(t *testing.T) {
	runPair(t, func(p *pair) {
		p.startBoth()
		p.hours(1)
		for name, r := range map[string]control.PinRequest{
			"no such snapshot": {Snapshot: "x"}, "a pin that ended": {Snapshot: p.own()[0].Name, Until: time.Now().Add(-time.Hour)},
			"two lines": {Snapshot: p.own()[0].Name, Why: "a\nb"}, "no dataset": {Snapshot: "a//b@x"},
		} {
			if _, err := p.fra1.daemon.Pin(p.t.Context(), r); err == nil || control.ErrorOf(err).Next == "" {
				t.Errorf("%s: %v, want an error that says what to do", name, err)
			}
		}
	})
}

// A plan is the value that a run executes: what was printed is destroyed, and
// nothing else, unless something needs it by now.
func TestAPrintedPlanIsExecutedAsItIs(t *testing.T) {
	runPair(t, func(p *pair) {
		p.fra1.config.Jobs[0].Keep = policy.Keep{}
		p.startBoth()
		p.hours(8)
		all := p.own()
		printed, err := p.fra1.daemon.Prune(p.t.Context(), pruneRequest{Job: "db", DryRun: true})
		if err != nil || len(printed.Runs) != 1 || len(printed.Runs[0].Prunes[0].Verdicts) != len(all) {
			t.Fatalf("dry run: %+v, %v", printed, err)
		}
		plan := throughJSON(t, printed).Runs[0].PrunePlan
		verdicts := plan.Prunes[0].Verdicts
		for i := range verdicts[:4] {
			verdicts[i].Destroy, verdicts[i].Reasons = true, []prune.Reason{{Kind: prune.Expired}}
		}
		last := &verdicts[len(verdicts)-1] // a plan cannot destroy the newest
		last.Destroy, last.Reasons = true, []prune.Reason{{Kind: prune.Expired}}
		verdicts[3].Snapshot.ID = "feed" // another one under that name
		if _, err := p.fra1.daemon.Pin(p.t.Context(), control.PinRequest{Snapshot: all[2].Name}); err != nil {
			t.Fatal(err)
		}
		r, err := p.fra1.daemon.Prune(p.t.Context(), pruneRequest{Plan: []prunePlan{plan}})
		if err != nil || r.Runs[0].Destroyed != 2 || len(r.Runs[0].Errors) != 2 {
			t.Fatalf("got %+v, %v; want two destroyed, and two refused", r, err)
		}
		if got := names(all, p.own()); !slices.Equal(got, []string{all[0].Name, all[1].Name}) {
			t.Errorf("destroyed %v, want the first two", got)
		}
		h, err := p.fra1.daemon.History(ledger.Query{Kind: ledger.EntryDestruction, Dataset: db})
		if err != nil || len(h.Entries) != 2 || h.Entries[0].Text != "nothing keeps it" {
			t.Errorf("history: %+v, %v; want both destructions", h, err)
		}
	})
}

// A root that is not there is told of, and what the others hold is pinned, explained and
// pruned as a run would; a dataset that is named by its path is not less known for it.
func TestAMissingRootHidesNothingOfTheOthers(t *testing.T) {
	runPair(t, func(p *pair) {
		p.fra1.config.Jobs = []policy.Job{hourly("db", db, "/data/gone")}
		p.fra1.config.Jobs[0].Keep = policy.Keep{}
		p.startBoth()
		p.hours(3)
		p.fra1.stop()
		p.fra1.config.Jobs[0].Keep = policy.Keep{Last: 1}
		p.fra1.disk.Stick() // the run at the start prunes nothing
		p.start(p.fra1)
		p.fra1.disk.Unstick()
		name := p.own()[0].Name
		tells := func(problems []control.Error) bool {
			return len(problems) == 1 && strings.Contains(problems[0].Text, "/data/gone") && problems[0].Next != ""
		}
		dry, err := p.fra1.daemon.Prune(p.t.Context(), pruneRequest{Job: "db", DryRun: true})
		if run := dry.Runs[0]; err != nil || len(run.Prunes) != 1 || len(prune.Doomed(run.Prunes[0].Verdicts)) == 0 || !tells(run.Errors) {
			t.Errorf("dry run: %+v, %v; want what goes of db, and what is missing", dry, err)
		}
		x, err := p.fra1.daemon.Explain(p.t.Context(), control.ExplainRequest{Snapshot: name})
		if err != nil || len(x.Snapshots) != 1 || !x.Snapshots[0].Verdict.Destroy || !tells(x.Problems) {
			t.Errorf("explain: %+v, %v; want that of db, and what is missing", x, err)
		}
		r, err := p.fra1.daemon.Pin(p.t.Context(), control.PinRequest{Snapshot: name})
		if err != nil || len(r.Snapshots) != 1 || !tells(r.Problems) {
			t.Errorf("pin: %+v, %v; want that of db, and what is missing", r, err)
		}
		if r, err = p.fra1.daemon.Unpin(p.t.Context(), control.PinRequest{Snapshot: string(db) + "@" + name}); err != nil || len(r.Snapshots) != 1 || len(r.Problems) != 0 {
			t.Errorf("by its path: %+v, %v; want no word of another", r, err)
		}
		done, err := p.fra1.daemon.Prune(p.t.Context(), pruneRequest{Job: "db"})
		if err != nil || done.Runs[0].Destroyed == 0 || has(p.own(), name) || !tells(done.Runs[0].Errors) {
			t.Errorf("prune: %+v, %v; want %s destroyed, and what is missing", done, err, name)
		}
	})
}

func TestADryRunTellsWhatItWouldFree(t *testing.T) {
	runPair(t, func(p *pair) {
		const size = 1 << 20
		p.fra1.config.Jobs[0].Keep = policy.Keep{}
		p.startBoth()
		for range 6 {
			p.write("big", strings.Repeat(time.Now().Format(time.RFC3339), size/20))
			after(time.Hour)
		}
		p.fra1.stop()
		p.fra1.config.Jobs[0].Keep = policy.Keep{Last: 1}
		p.fra1.disk.Stick() // the run at the start prunes nothing
		p.start(p.fra1)
		p.fra1.disk.Unstick()
		r, err := p.fra1.daemon.Prune(p.t.Context(), pruneRequest{Job: "db", DryRun: true})
		if err != nil || len(r.Runs) != 1 || len(r.Runs[0].Prunes) != 1 {
			t.Fatalf("%+v, %v", r, err)
		}
		shown := r.Runs[0].Prunes[0]
		doomed := int64(len(prune.Doomed(shown.Verdicts)))
		if doomed < 3 || shown.Frees.Kind != control.About || shown.Frees.Bytes < (doomed-2)*size || shown.Frees.Bytes > doomed*size {
			t.Errorf("%d go, which frees %+v; want about %d bytes each", doomed, shown.Frees, size)
		}
	})
}

func TestTheBrakeStopsARunAndIsReleasedByCommand(t *testing.T) {
	runPair(t, func(p *pair) {
		p.fra1.config.Jobs[0].Keep = policy.Keep{}
		p.startBoth()
		p.hours(prune.BrakeFloor + 10)
		p.fra1.stop()
		p.fra1.config.Jobs[0].Keep, p.fra1.config.Jobs[0].Brake = policy.Keep{Last: 3}, 50
		p.start(p.fra1)
		before := len(p.own())
		p.hours(1)
		if n := len(p.own()); n < before {
			t.Fatalf("%d of %d snapshots are left; the brake did not hold", n, before)
		}
		status := p.fra1.daemon.Status()
		if j := status.Jobs[0]; j.Problem == nil || !strings.Contains(j.Problem.Text, "brake") || !strings.Contains(j.Problem.Next, "--release-brake") {
			t.Errorf("problem %+v, want the brake and how to release it", j.Problem)
		}
		dry, err := p.fra1.daemon.Prune(p.t.Context(), pruneRequest{Job: "db", DryRun: true})
		if err != nil || dry.Runs[0].Brake == "" {
			t.Errorf("dry run: %v, brake %q; want it said", err, dry.Runs[0].Brake)
		}
		plan := pruneRequest{Plan: []prunePlan{throughJSON(t, dry).Runs[0].PrunePlan}}
		before = len(p.own())
		if r, err := p.fra1.daemon.Prune(p.t.Context(), plan); err != nil || len(p.own()) != before || len(r.Runs[0].Errors) != 1 || !strings.Contains(r.Runs[0].Errors[0].Next, "--plan FILE --release-brake") {
			t.Errorf("the plan of it: %+v, %v; %d of %d left, want the brake for it too", r, err, len(p.own()), before)
		}
		r, err := p.fra1.daemon.Prune(p.t.Context(), pruneRequest{Job: "db", ReleaseBrake: true})
		if err != nil || r.Runs[0].Destroyed < prune.BrakeFloor || len(p.own()) > 5 {
			t.Errorf("released: %d destroyed, %d left, %v", r.Runs[0].Destroyed, len(p.own()), err)
		}
		p.hours(1)
		if j := p.fra1.daemon.Status().Jobs[0]; j.Problem != nil {
			t.Errorf("problem %+v after the brake was released", j.Problem)
		}
	})
}

func TestExplainTellsWhoKeepsASnapshotAndUntilWhen(t *testing.T) {
	runPair(t, func(p *pair) {
		p.fra1.config.Jobs[0].Keep = policy.Keep{Hourly: 5}
		p.startBoth()
		p.hours(8)
		own := p.own()
		r, err := p.fra1.daemon.Explain(p.t.Context(), control.ExplainRequest{Snapshot: own[1].Name})
		if err != nil || len(r.Snapshots) != 1 {
			t.Fatalf("explain: %+v, %v", r, err)
		}
		e := r.Snapshots[0]
		if e.Until.IsZero() || len(e.Targets) != 1 || e.Targets[0].State != "has it" || e.Verdict.Reasons[0].Kind != prune.Hourly {
			t.Errorf("got %+v, want hourly, an end, and that sin1 has it", e)
		}
		for time.Now().Before(e.Until.Add(-time.Minute)) {
			if !has(p.own(), own[1].Name) {
				t.Fatalf("%s went before %s", own[1].Name, e.Until)
			}
			p.hours(1)
		}
		p.hours(2)
		if has(p.own(), own[1].Name) {
			t.Errorf("%s is still there after %s", own[1].Name, e.Until)
		}
		r, err = p.fra1.daemon.Explain(p.t.Context(), control.ExplainRequest{Snapshot: string(db) + "@" + own[1].Name})
		if err != nil || len(r.Gone) != 1 || r.Gone[0].Job != "db" || r.Gone[0].Why != "nothing keeps it" || r.Gone[0].At.Sub(e.Until).Abs() > time.Minute {
			t.Errorf("of what is gone: %+v, %v; want when and why", r, err)
		}
		if r, err := p.fra1.daemon.Explain(p.t.Context(), control.ExplainRequest{Snapshot: "/data/other@" + own[1].Name}); err == nil {
			t.Errorf("of another dataset: %+v, want that there is none", r)
		}
		newest := p.own()[len(p.own())-1]
		r, err = p.fra1.daemon.Explain(p.t.Context(), control.ExplainRequest{Snapshot: newest.Name})
		if err != nil || r.Snapshots[0].Open == "" || len(r.Snapshots[0].Holds) == 0 {
			t.Errorf("the base: %+v, %v; want it open, and held", r, err)
		}
	})
}

func TestABaseIsGivenUpByCommandOnly(t *testing.T) {
	runPair(t, func(p *pair) {
		p.startBoth()
		p.hours(2)
		p.sin1.stop()
		ask := control.AbandonRequest{Job: "db", Dataset: db, Peer: "sin1", Preview: true}
		r, err := p.fra1.daemon.Abandon(p.t.Context(), ask)
		if err != nil || r.Base == "" || r.FullCopy.Kind != control.About {
			t.Fatalf("preview: %+v, %v", r, err)
		}
		held := func() bool {
			return slices.ContainsFunc(p.own(), func(s dataset.Snapshot) bool { return slices.Contains(s.Holds, "base.db.sin1") })
		}
		if !held() {
			t.Fatal("the preview let the base go")
		}
		if r, err := p.fra1.daemon.Holds(p.t.Context(), control.HoldsRequest{Release: "base.db.syd1"}); err == nil || control.ErrorOf(err).Kind != control.KindNotFound {
			t.Errorf("releasing what nobody holds: %+v, %v; want that there is none", r, err)
		}
		if _, err := p.fra1.daemon.Holds(p.t.Context(), control.HoldsRequest{Release: "base.db.sin1"}); err == nil {
			t.Error("a hold that is in use was released")
		}
		ask.Preview = false
		if _, err := p.fra1.daemon.Abandon(p.t.Context(), ask); err != nil || held() {
			t.Errorf("abandon: %v, held %t", err, held())
		}
		ask.Peer = "syd1"
		if _, err := p.fra1.daemon.Abandon(p.t.Context(), ask); err == nil || control.ErrorOf(err).Next == "" {
			t.Errorf("an unknown peer: %v", err)
		}
	})
}

// A job that runs in a window only, later by its jitter: what is foretold of its
// snapshots goes by those times.
func TestWhatIsForetoldGoesByTheWindowAndTheJitter(t *testing.T) {
	runPair(t, func(p *pair) {
		j := &p.fra1.config.Jobs[0]
		j.Schedule.Window, j.Schedule.Jitter = policy.Opening{From: 22 * 60, To: 6 * 60}, 20*time.Minute
		j.Keep, j.ReplicateTo = policy.Keep{Within: policy.Week}, nil
		p.start(p.fra1)
		r, err := p.fra1.daemon.CheckDeep(p.t.Context())
		if err != nil || !slices.ContainsFunc(r.Findings, func(f control.Finding) bool { return strings.Contains(f.What, "settles at 57 snapshots") }) {
			t.Errorf("check: %+v, %v; want 8 snapshots a day, and one", r.Findings, err)
		}
		last := *j
		last.Keep = policy.Keep{Last: 3}
		p.fra1.config.Jobs = []policy.Job{last}
		if _, err := p.fra1.daemon.ReloadConfig(); err != nil {
			t.Fatal(err)
		}
		p.hours(5)
		name := p.own()[len(p.own())-1].Name
		x, err := p.fra1.daemon.Explain(p.t.Context(), control.ExplainRequest{Snapshot: name})
		if err != nil || len(x.Snapshots) != 1 {
			t.Fatalf("explain: %+v, %v", x, err)
		}
		until := x.Snapshots[0].Until
		for has(p.own(), name) && time.Since(until) < policy.Day {
			p.write("log", time.Now().String())
			after(time.Minute)
		}
		if late := time.Since(until); has(p.own(), name) || late < 0 || late > time.Minute {
			t.Errorf("%s went %s after %s, when it was to go", name, late, until)
		}
	})
}
