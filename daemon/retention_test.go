package daemon_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/ledger"
	"antipode/daemon/policy"
	"antipode/daemon/prune"
	"antipode/fsdrivers/dataset"
	"antipode/integration/golden"
)

// Two datasets of a job, one of which has a pinned snapshot: as long as that stays,
// the other's of the same instant stays too, on both sides; then both go.
func TestASnapshotsGroupIsKeptAndDestroyedTogether(t *testing.T) {
	runPair(t, func(p *pair) {
		www := dataset.Path("/data/www")
		p.fra1.disk.Make(www)
		p.fra1.config.Jobs = []policy.Job{hourly("db", db, www)}
		p.fra1.config.Jobs[0].Keep, p.fra1.config.Jobs[0].Groups = policy.Keep{Last: 2}, true
		p.sin1.config.Accepts[0].Keep, p.sin1.config.Accepts[0].Groups = policy.Keep{Last: 2}, true
		p.startBoth()
		p.hours(2)
		name := p.own()[0].Name
		pin := control.PinRequest{Snapshot: string(db) + "@" + name, Why: "audit"}
		for _, n := range []*node{p.fra1, p.sin1} {
			if _, err := n.daemon.Pin(p.t.Context(), pin); err != nil {
				t.Fatal(err)
			}
		}
		p.hours(6)
		have := func() (all []bool) {
			for _, path := range []dataset.Path{db, www} {
				list, err := p.fra1.disk.Source().Snapshots(p.t.Context(), path)
				if err != nil {
					t.Fatal(err)
				}
				all = append(all, has(list, name), has(p.points(path), name))
			}
			return all
		}
		if got := have(); slices.Contains(got, false) {
			t.Fatalf("%s in db and www, here and there: %v, want it everywhere", name, got)
		}
		x, err := p.fra1.daemon.Explain(p.t.Context(), control.ExplainRequest{Snapshot: string(www) + "@" + name})
		if err != nil || x.Snapshots[0].Verdict.Reasons[0].Text() != "its group stays: pinned of /data/db" {
			t.Errorf("explain: %+v, %v; want that its group stays", x, err)
		}
		for _, n := range []*node{p.fra1, p.sin1} {
			if _, err := n.daemon.Unpin(p.t.Context(), pin); err != nil {
				t.Fatal(err)
			}
		}
		p.hours(2)
		if got := have(); slices.Contains(got, true) {
			t.Errorf("%s in db and www, here and there: %v, want it nowhere", name, got)
		}
	})
}

// As long as one of a group's datasets is away, nothing of the others goes: it may be
// what holds the group.
func TestAGroupWaitsForADatasetThatIsAway(t *testing.T) {
	runPair(t, func(p *pair) {
		www := dataset.Path("/data/www")
		p.fra1.disk.Make(www)
		p.fra1.config.Jobs = []policy.Job{hourly("db", db, www)}
		p.fra1.config.Jobs[0].Keep, p.fra1.config.Jobs[0].Groups = policy.Keep{Last: 2}, true
		p.startBoth()
		p.hours(2)
		name := p.own()[0].Name
		if _, err := p.fra1.daemon.Pin(p.t.Context(), control.PinRequest{Snapshot: string(www) + "@" + name}); err != nil {
			t.Fatal(err)
		}
		p.fra1.disk.Rename(www, "/away")
		p.hours(4)
		if !has(p.own(), name) {
			t.Errorf("%s of db went while www was away", name)
		}
		if j := p.fra1.daemon.Status().Jobs[0]; j.Problem == nil || !strings.Contains(j.Problem.Text, "destroys nothing, since groups is set") {
			t.Errorf("problem %+v; want why nothing is destroyed", j.Problem)
		}
		x, err := p.fra1.daemon.Preview(p.t.Context(), control.PlanRequest{Job: "db"})
		if err != nil || len(prune.Doomed(x.Jobs[0].Prunes[0].Verdicts)) != 0 {
			t.Errorf("plan: %+v, %v; want nothing doomed", x.Jobs, err)
		}
		p.fra1.disk.Rename("/away", www)
		p.hours(2)
		if n := len(p.own()); !has(p.own(), name) || n > 4 {
			t.Errorf("%d snapshots, want retention to go on with the group of %s kept", n, name)
		}
	})
}

// What another node is primary of stays, since no run here looks at it; and neither does
// it keep or count for anything of the datasets that runs look at.
func TestExplainSeesWhatARunSeesOnceAnotherNodeIsPrimary(t *testing.T) {
	runPair(t, func(p *pair) {
		www := dataset.Path("/data/www")
		p.fra1.disk.Make(www)
		p.fra1.config.Jobs = []policy.Job{hourly("db", db, www)}
		p.fra1.config.Jobs[0].Keep = policy.Keep{}
		p.startBoth()
		p.hours(3)
		name := p.own()[0].Name
		if _, err := p.fra1.daemon.Pin(p.t.Context(), control.PinRequest{Snapshot: string(db) + "@" + name}); err != nil {
			t.Fatal(err)
		}
		p.promote(control.PromoteRequest{Dataset: db, Force: true})
		after(2 * time.Hour)
		job := p.fra1.config.Jobs[0]
		job.Keep, job.Groups = policy.Keep{Last: 1}, true
		p.fra1.config.Jobs = []policy.Job{job}
		if _, err := p.fra1.daemon.ReloadConfig(); err != nil {
			t.Fatal(err)
		}
		dry, err := p.fra1.daemon.Prune(p.t.Context(), pruneRequest{Job: "db", DryRun: true})
		if err != nil || len(dry.Runs[0].Prunes) != 1 || dry.Runs[0].Prunes[0].Dataset != www {
			t.Fatalf("dry run: %+v, %v; want that of www alone", dry, err)
		}
		x, err := p.fra1.daemon.Explain(p.t.Context(), control.ExplainRequest{Snapshot: name})
		if err != nil || len(x.Snapshots) != 2 || len(x.Problems) != 0 {
			t.Fatalf("explain: %+v, %v; want both", x, err)
		}
		if e := x.Snapshots[0]; e.Dataset != db || e.Verdict.Destroy || !strings.Contains(e.Verdict.Reasons[0].Text(), "sin1 is primary") || e.Open == "" || len(e.Holds) == 0 {
			t.Errorf("db: %+v, want that it stays, since sin1 is primary, and what holds it", e)
		}
		if e, want := x.Snapshots[1], dry.Runs[0].Prunes[0].Verdicts[0]; e.Dataset != www || !e.Verdict.Destroy || !want.Destroy || want.Snapshot.Name != name {
			t.Errorf("www: %+v, and a run: %+v; want that it goes", e, want)
		}
	})
}

// A policy that would destroy most of what a target has waits for its operator, who
// is told; what is received meanwhile is published.
func TestATargetsBrakeHoldsUntilItIsReleased(t *testing.T) {
	runPair(t, func(p *pair) {
		p.sin1.config.Accepts[0].Keep, p.sin1.config.Accepts[0].Brake = policy.Keep{}, 50
		p.startBoth()
		p.hours(prune.BrakeFloor + 10)
		before := len(p.points(db))
		p.sin1.reconfigure(p.t, func(a *policy.Accept) { a.Keep = policy.Keep{Last: 3} })
		p.hours(2)
		if got := len(p.points(db)); got != before+2 {
			t.Fatalf("%d points were %d, want none destroyed and two received", got, before)
		}
		if notes := p.told.since(0); !slices.Contains(notes, "sin1 brake accept from fra1 (btrfs)") {
			t.Errorf("told %v, want the brake", notes)
		}
		dry, err := p.sin1.daemon.Prune(p.t.Context(), pruneRequest{From: "fra1", DryRun: true})
		if err != nil || len(dry.Runs) != 1 || !strings.Contains(dry.Runs[0].Brake, "50%") {
			t.Errorf("dry run: %+v, %v; want it said", dry, err)
		}
		r, err := p.sin1.daemon.Prune(p.t.Context(), pruneRequest{From: "fra1"})
		if err != nil || len(r.Runs) != 1 || r.Runs[0].Destroyed != 0 || len(r.Runs[0].Errors) != 1 || !strings.Contains(r.Runs[0].Errors[0].Next, "prune --from fra1 --release-brake") {
			t.Errorf("without releasing it: %+v, %v; want how to", r, err)
		}
		r, err = p.sin1.daemon.Prune(p.t.Context(), pruneRequest{From: "fra1", ReleaseBrake: true})
		if err != nil || r.Runs[0].Destroyed != before-1 || len(p.points(db)) != 3 {
			t.Errorf("released: %+v, %v; want three points left of %d", r, err, before+2)
		}
		p.hours(3)
		if got := len(p.points(db)); got != 3 {
			t.Errorf("%d points, want retention to go on with three", got)
		}
	})
}

// What held for a target that left is let go by command, and what is in use is not.
func TestAHoldThatIsLeftIsReleasedByCommand(t *testing.T) {
	runPair(t, func(p *pair) {
		p.startBoth()
		p.hours(2)
		job := p.fra1.config.Jobs[0]
		job.ReplicateTo = nil
		p.fra1.config.Jobs = []policy.Job{job}
		if _, err := p.fra1.daemon.ReloadConfig(); err != nil {
			t.Fatal(err)
		}
		ask := func(release string) (control.HoldsResponse, error) {
			return p.fra1.daemon.Holds(p.t.Context(), control.HoldsRequest{Release: release})
		}
		left := func(r control.HoldsResponse) bool {
			return slices.ContainsFunc(r.Holds, func(h control.HoldLine) bool { return h.Tag == "base.db.sin1" && h.Owner == control.OwnerLeft })
		}
		if r, err := ask(""); err != nil || !left(r) {
			t.Fatalf("%+v, %v; want the base of a target that left", r, err)
		}
		for _, none := range []string{"base.db.syd1", "NO TAG"} {
			if r, err := ask(none); err == nil && r.Released != 0 {
				t.Errorf("%s: released %d, %v", none, r.Released, err)
			}
		}
		r, err := ask("base.db.sin1")
		if err != nil || r.Released != 1 || left(r) {
			t.Errorf("%+v, %v; want it released in one dataset", r, err)
		}
		if slices.ContainsFunc(p.own(), func(s dataset.Snapshot) bool { return len(s.Holds) > 0 }) {
			t.Errorf("%v are held", p.own())
		}
		h, err := p.fra1.daemon.History(ledger.Query{Dataset: db})
		if err != nil || !slices.ContainsFunc(h.Entries, func(e ledger.Entry) bool { return e.Text == "hold-released: base.db.sin1" }) {
			t.Errorf("history %+v, %v; want the release", h, err)
		}
	})
}

// A policy that became stricter is carried out when it is put in force, also while
// nothing comes.
func TestAStricterPolicyOfATargetCountsAtOnce(t *testing.T) {
	runPair(t, func(p *pair) {
		p.startBoth()
		p.hours(8)
		p.fra1.stop()
		p.sin1.reconfigure(p.t, func(a *policy.Accept) { a.Keep = policy.Keep{Last: 2} })
		synctest.Wait()
		if got := p.points(db); len(got) != 2 {
			t.Errorf("sin1 has %d points, want the two that its new policy keeps", len(got))
		}
	})
}

// A target explains by its own rules and clock, and asks nobody.
func TestATargetExplainsWhatItKeeps(t *testing.T) {
	runPair(t, func(p *pair) {
		p.sin1.config.Accepts[0].Keep, p.sin1.config.Accepts[0].Protect = policy.Keep{Hourly: 3}, 5*time.Hour+time.Minute
		p.startBoth()
		p.hours(8)
		points := p.points(db)
		explain := func(s dataset.Snapshot) control.Explained[prune.Verdict] {
			t.Helper()
			r, err := p.sin1.daemon.Explain(p.t.Context(), control.ExplainRequest{Snapshot: s.Name})
			if err != nil || len(r.Snapshots) != 1 || r.Snapshots[0].From != "fra1" || len(r.Snapshots[0].Targets) != 0 {
				t.Fatalf("explain %s: %+v, %v; want one replica of fra1's", s.Name, r, err)
			}
			return r.Snapshots[0]
		}
		old := explain(points[0])
		if k := old.Verdict.Reasons[0].Kind; k != prune.Protected || old.Until.IsZero() || time.Until(old.Until) > 2*time.Hour {
			t.Errorf("the oldest: %+v, want it protected for another hour", old)
		}
		if newest := explain(points[len(points)-1]); newest.Verdict.Reasons[0].Kind != prune.Newest {
			t.Errorf("the newest: %+v", newest)
		}
		for has(p.points(db), points[0].Name) && time.Now().Before(old.Until.Add(2*time.Hour)) {
			p.hours(1)
		}
		if has(p.points(db), points[0].Name) || time.Now().Before(old.Until) {
			t.Errorf("%s went before %s, or is still there", points[0].Name, old.Until)
		}
	})
}

// What check --deep says of a policy, in words.
func TestCheckDeepInWords(t *testing.T) {
	var text string
	runPair(t, func(p *pair) {
		p.fra1.config.Jobs[0].Keep = policy.Keep{Last: 4, Hourly: 48, Daily: 14}
		p.fra1.config.Jobs[0].Backlog = policy.DefaultBacklog
		p.fra1.config.Jobs[0].Rate = policy.Timetable{Base: 1 << 20}
		ever, asked := dataset.Path("/data/ever"), dataset.Path("/data/asked")
		p.fra1.disk.Make(ever)
		p.fra1.disk.Make(asked)
		p.fra1.config.Jobs = append(p.fra1.config.Jobs, hourly("ever", ever), hourly("asked", asked))
		p.fra1.config.Jobs[1].Keep, p.fra1.config.Jobs[2].Schedule = policy.Keep{}, policy.Schedule{}
		if err := p.fra1.disk.Grow(db, 32<<20); err != nil {
			t.Fatal(err)
		}
		p.start(p.fra1)
		after(time.Minute)
		r, err := p.fra1.daemon.CheckDeep(p.t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		for _, f := range r.Findings {
			if strings.HasPrefix(f.Object, "job ") {
				lines = append(lines, fmt.Sprintf("%-7s %s: %s%s", f.Severity, f.Object, f.What, strings.TrimSuffix(" -> "+f.Cure, " -> ")))
			}
		}
		slices.Sort(lines)
		text = strings.Join(slices.Compact(lines), "\n") + "\n"
	})
	golden.Check(t, filepath.Join("testdata", "check-deep.txt"), "# Three jobs whose target is away: one with rules, one that keeps everything, one that runs when triggered.\n"+text)
}

// What first copies send and how long they take, as their job makes them.
func TestCheckDeepTellsOfFirstCopiesAsTheyAreMade(t *testing.T) {
	for name, c := range map[string]struct {
		change func(j *policy.Job)
		says   string
	}{
		"the newest":   {func(*policy.Job) {}, "first copies of 1 dataset to sin1 send about 33.0 MiB; no rate_limit is set"},
		"all":          {func(j *policy.Job) { j.Initial = policy.InitialAll }, "send about 34.0 MiB; no rate_limit"},
		"none unasked": {func(j *policy.Job) { j.Initial = policy.InitialFail }, `no first copy of 1 dataset to sin1 is made unasked (initial = "fail"); that would send about 33.0 MiB`},
		"in a window":  {func(j *policy.Job) { j.Rate.Windows = []policy.Window{{From: 0, To: 24 * 60, Rate: 1 << 20}} }, "takes about 33s at the configured rate of 1MiB/s"},
		"from a slow base into a window": {func(j *policy.Job) {
			j.Rate = policy.Timetable{Base: 1 << 10, Windows: []policy.Window{{From: 4 * 60, To: 5 * 60, Rate: 1 << 20}}}
		}, "at the configured rates"},
		"after a window": {func(j *policy.Job) {
			j.Rate.Windows = []policy.Window{{From: 3 * 60, To: 3*60 + 1, Rate: 1 << 10}}
		}, "s, and after that the link decides"},
		"too few to tell":  {func(j *policy.Job) { j.Rate.Base = 1 << 40 }, "takes less than a second at the configured rate"},
		"outside a window": {func(j *policy.Job) { j.Rate.Windows = []policy.Window{{From: 12 * 60, To: 13 * 60, Rate: 1 << 20}} }, "no rate_limit is in force now"},
	} {
		t.Run(name, func(t *testing.T) {
			runPair(t, func(p *pair) {
				j := &p.fra1.config.Jobs[0]
				j.Location = time.UTC
				c.change(j)
				if err := p.fra1.disk.Grow(db, 32<<20); err != nil {
					t.Fatal(err)
				}
				p.start(p.fra1)
				for range 3 {
					after(time.Hour)
					p.write("log", strings.Repeat(time.Now().String(), 1<<20/len(time.Now().String())))
				}
				after(time.Second)
				r, err := p.fra1.daemon.CheckDeep(p.t.Context())
				if err != nil || !slices.ContainsFunc(r.Findings, func(f control.Finding) bool { return strings.Contains(f.What, c.says) }) {
					for _, f := range r.Findings {
						t.Log(f.What)
					}
					t.Errorf("%v; want %q", err, c.says)
				}
			})
		})
	}
}

// A shell that completes a word hears of all datasets and snapshots of this node.
func TestNamesForAShell(t *testing.T) {
	runPair(t, func(p *pair) {
		p.startBoth()
		p.hours(2)
		var want []string
		for _, s := range p.own() {
			want = append(want, s.Name)
		}
		for _, n := range []*node{p.fra1, p.sin1} {
			sets, err := n.daemon.Names(p.t.Context(), control.NamesRequest{})
			if err != nil || !slices.Equal(sets.Names, []string{string(db)}) {
				t.Errorf("%s has %v, %v; want its dataset", n.name, sets, err)
			}
			got, err := n.daemon.Names(p.t.Context(), control.NamesRequest{Dataset: db})
			if err != nil || !slices.Equal(got.Names, want) {
				t.Errorf("%s has %v, %v; want %v", n.name, got, err, want)
			}
		}
		if got, err := p.fra1.daemon.Names(p.t.Context(), control.NamesRequest{Dataset: "/none"}); err != nil || len(got.Names) != 0 {
			t.Errorf("of no dataset: %v, %v", got, err)
		}
	})
}
