package daemon_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"antipode/daemon/control"
	"antipode/daemon/ledger"
	"antipode/daemon/policy"
	"antipode/fsdrivers/dataset"
)

// resolve previews a cure, which must change nothing, and applies it.
func (n *node) resolve(t *testing.T, r control.ResolveRequest) []string {
	t.Helper()
	r.Dataset, r.Preview = db, true
	shown, err := n.daemon.Resolve(t.Context(), r)
	if err != nil || len(shown.Does) == 0 {
		t.Fatalf("%s on %s: preview %+v, %v", r.With, n.name, shown, err)
	}
	r.Preview = false
	done, err := n.daemon.Resolve(t.Context(), r)
	if err != nil || !slices.Equal(done.Does, shown.Does) {
		t.Fatalf("%s on %s: %+v, %v; want what was shown, %v", r.With, n.name, done, err, shown.Does)
	}
	h, err := n.daemon.History(ledger.Query{Dataset: db})
	if err != nil || !slices.ContainsFunc(h.Entries, func(e ledger.Entry) bool { return strings.Contains(e.Text, r.With) }) {
		t.Errorf("history of %s: %+v, %v; want the cure", n.name, h, err)
	}
	return done.Does
}

// refuses wants a cure to be refused, with the next step.
func (n *node) refuses(t *testing.T, r control.ResolveRequest, says string) {
	t.Helper()
	r.Dataset = db
	_, err := n.daemon.Resolve(t.Context(), r)
	if err == nil || !strings.Contains(err.Error(), says) || control.ErrorOf(err).Next == "" {
		t.Errorf("%+v on %s: %v; want it refused with %q and a next step", r, n.name, err, says)
	}
}

// conflict is what fra1 tells of its dataset; "" for nothing.
func (p *pair) conflict() string {
	p.t.Helper()
	r, err := p.fra1.daemon.Resolve(p.t.Context(), control.ResolveRequest{Dataset: db})
	if err != nil {
		p.t.Fatal(err)
	}
	if len(r.Conflicts) == 0 {
		return ""
	}
	return r.Conflicts[0].Conflict.Error()
}

func TestAFirstCopyThatTheJobForbidsIsSentWhenAskedFor(t *testing.T) {
	runPair(t, func(p *pair) {
		p.fra1.config.Jobs[0].Initial = policy.InitialFail
		p.startBoth()
		p.hours(2)
		if got := p.conflict(); !strings.Contains(got, "--with first-copy") || len(p.points(db)) != 0 {
			t.Fatalf("%s; want the conflict with its cure, and nothing sent", got)
		}
		p.fra1.refuses(p.t, control.ResolveRequest{With: "give-way"}, "never promoted")
		p.fra1.resolve(p.t, control.ResolveRequest{With: "first-copy"})
		p.hours(2)
		if got := p.conflict(); got != "" {
			t.Errorf("%s; want no conflict any more", got)
		}
		p.wantSame(db)
		p.fra1.refuses(p.t, control.ResolveRequest{With: "first-copy"}, "nothing keeps a first copy back")
	})
}

// A source that must not be fenced by its target refuses the target's mark, until its
// operator says otherwise.
func TestASourceGivesWayWhenAskedTo(t *testing.T) {
	runPair(t, func(p *pair) {
		p.fra1.config.Jobs[0].MayPromote = false
		p.startBoth()
		p.hours(1)
		p.promote(control.PromoteRequest{Dataset: db, Force: true})
		p.hours(1)
		if got := p.conflict(); !strings.Contains(got, "--with give-way") {
			t.Fatalf("%s; want the conflict with its cure", got)
		}
		p.fra1.resolve(p.t, control.ResolveRequest{With: "give-way", Peer: "sin1"})
		if err := p.fra1.disk.Write(db, "late", []byte("x")); err == nil {
			t.Error("fra1 gave way and can still be written to")
		}
		own := p.own()
		after(3 * time.Hour)
		if got := p.own(); len(got) < len(own) {
			t.Errorf("fra1 had %d snapshots and has %d, want none destroyed", len(own), len(got))
		}
		if s := p.fra1.daemon.Status().Jobs[0].Datasets[0]; s.Role != "fenced" || s.Generation != 1 {
			t.Errorf("fra1 shows %+v, want it fenced in generation 1", s)
		}
	})
}

// Both sides were promoted in one generation: the target gives way, and is a standby
// again.
func TestATargetGivesWayInASplitBrainWhenAskedTo(t *testing.T) {
	runPair(t, func(p *pair) {
		p.startBoth()
		p.hours(1)
		activate := func(node string) dataset.Mark {
			return dataset.Mark{Activation: dataset.Activation{Generation: 1, ID: dataset.NewActivationID(), Node: node}}
		}
		for by, swap := range map[string]func(dataset.Mark) error{
			"fra1": func(m dataset.Mark) error { return p.fra1.disk.Source().SwapMark(p.t.Context(), db, dataset.Mark{}, m) },
			"sin1": func(m dataset.Mark) error {
				return p.sin1.disk.Target(into, time.Now).SwapMark(p.t.Context(), db, dataset.Mark{}, m)
			},
		} {
			if err := swap(activate(by)); err != nil {
				t.Fatal(err)
			}
		}
		p.hours(2)
		points := len(p.points(db))
		if got := p.conflict(); !strings.Contains(got, "split brain") || !strings.Contains(got, "--with give-way") {
			t.Fatalf("%s; want the conflict with its cure", got)
		}
		there, err := p.sin1.daemon.Resolve(p.t.Context(), control.ResolveRequest{Dataset: db})
		if err != nil || len(there.Conflicts) != 1 || there.Conflicts[0].Peer != "fra1" {
			t.Errorf("sin1 tells %+v, %v; want the conflict too", there, err)
		}
		p.sin1.resolve(p.t, control.ResolveRequest{With: "give-way"})
		p.hours(2)
		if got := p.conflict(); got != "" || len(p.points(db)) <= points {
			t.Errorf("%s; want replication to go on, and %d points are %d", got, points, len(p.points(db)))
		}
		p.wantSame(db)
		p.sin1.refuses(p.t, control.ResolveRequest{With: "give-way"}, "never promoted")
	})
}

// A replica that went on beyond its source is taken back to the newest common point,
// and to no point that somebody wants.
func TestTheNewerPointsOfADivergedReplicaGoWhenAskedFor(t *testing.T) {
	runPair(t, func(p *pair) {
		p.startBoth()
		p.hours(4)
		own := p.own()
		base, lost := own[len(own)-3], own[len(own)-2:]
		if err := p.fra1.disk.Source().Release(p.t.Context(), db, "base.db.sin1"); err != nil {
			t.Fatal(err)
		}
		for _, s := range lost { // as a person would
			p.fra1.disk.RemoveSnapshot("", db, s.Name)
		}
		if err := p.fra1.disk.Source().Hold(p.t.Context(), db, base, "base.db.sin1"); err != nil {
			t.Fatal(err)
		}
		p.hours(1)
		if got := p.conflict(); !strings.Contains(got, "--with drop-newer --after "+base.Name) {
			t.Fatalf("%s; want the conflict with its cure", got)
		}
		r := control.ResolveRequest{With: "drop-newer", After: base.Name}
		p.fra1.refuses(p.t, r, "no replica of it is held here; next: this node holds no replicas at all")
		p.sin1.refuses(p.t, control.ResolveRequest{With: "drop-newer", After: "x"}, `no point "x"`)
		if _, err := p.sin1.daemon.Pin(p.t.Context(), control.PinRequest{Snapshot: lost[0].Name, Why: "audit"}); err != nil {
			t.Fatal(err)
		}
		p.sin1.refuses(p.t, r, "is pinned: audit")
		if _, err := p.sin1.daemon.Unpin(p.t.Context(), control.PinRequest{Snapshot: lost[0].Name}); err != nil {
			t.Fatal(err)
		}
		does := p.sin1.resolve(p.t, r)
		if want := []string{"destroys " + lost[0].Name, "destroys " + lost[1].Name}; !slices.Equal(does, want) {
			t.Errorf("did %v, want %v", does, want)
		}
		p.hours(2)
		if got := p.conflict(); got != "" {
			t.Errorf("%s; want no conflict any more", got)
		}
		p.wantSame(db)
		points := p.points(db)
		p.sin1.refuses(p.t, control.ResolveRequest{With: "drop-newer", After: points[len(points)-1].Name}, "is the newest point")
	})
}

func TestACureThatIsNoneIsRefused(t *testing.T) {
	runPair(t, func(p *pair) {
		p.startBoth()
		p.hours(1)
		p.fra1.refuses(p.t, control.ResolveRequest{With: "hope"}, "is no cure")
		p.fra1.refuses(p.t, control.ResolveRequest{With: "first-copy", Peer: "nobody"}, "no job of this node sends it")
		if got := p.conflict(); got != "" {
			t.Errorf("%s; want none", got)
		}
	})
}

// A replica without a common base is kept under another name when that is asked for,
// and the dataset is sent in whole; a second time too.
func TestAReplicaWithoutABaseIsSetAsideWhenAskedFor(t *testing.T) {
	runPair(t, func(p *pair) {
		p.startBoth()
		for range 2 {
			p.hours(3)
			was := p.points(db)
			for _, s := range p.own() { // as a person would
				p.fra1.disk.RemoveSnapshot("", db, s.Name)
			}
			p.hours(2)
			if got := p.conflict(); !strings.Contains(got, "no common base") || !strings.Contains(got, "--with set-aside") {
				t.Fatalf("%s; want the conflict with its cure", got)
			}
			p.fra1.refuses(p.t, control.ResolveRequest{With: "set-aside"}, "no replica of it is held here")
			p.sin1.resolve(p.t, control.ResolveRequest{With: "set-aside"})
			p.hours(2)
			if got := p.conflict(); got != "" {
				t.Errorf("%s; want no conflict any more", got)
			}
			p.wantSame(db)
			if got := p.points(db); has(got, was[0].Name) {
				t.Errorf("the new replica has %v", got)
			}
			held, err := p.sin1.disk.Target(into, time.Now).Find(p.t.Context(), "/", true)
			if err != nil {
				t.Fatal(err)
			}
			if !slices.ContainsFunc(held, func(h dataset.Dataset) bool {
				return strings.HasPrefix(string(h.Path), string(db)+".was-") && has(p.points(h.Path), was[0].Name)
			}) {
				t.Errorf("sin1 holds %v, want the former replica under a name", held)
			}
		}
		p.promote(control.PromoteRequest{Dataset: db, Force: true})
		p.sin1.refuses(p.t, control.ResolveRequest{With: "set-aside"}, "this node is primary of it")
	})
}

// A target that is primary keeps its replica where the fence is. Once it gave way that is
// a standby as any other, and what was live is left alone.
func TestAPromotedReplicaIsSetAsideOnceItGaveWay(t *testing.T) {
	runPair(t, func(p *pair) {
		p.level = zerolog.Disabled
		p.fra1.config.Jobs[0].MayPromote = false
		p.startBoth()
		p.hours(3)
		was := p.points(db)
		live := p.promote(control.PromoteRequest{Dataset: db, Force: true}).Live
		if err := p.sin1.disk.Write(dataset.Path(live), "mine", []byte("written on sin1")); err != nil {
			p.t.Fatal(err)
		}
		set := control.ResolveRequest{With: "set-aside"}
		p.sin1.refuses(p.t, set, "nobody would tell fra1 to stop")
		mark := dataset.Mark{Activation: dataset.Activation{Generation: 1, ID: dataset.NewActivationID(), Node: "fra1"}}
		if err := p.fra1.disk.Source().SwapMark(p.t.Context(), db, dataset.Mark{}, mark); err != nil {
			p.t.Fatal(err)
		}
		p.hours(1)
		p.sin1.refuses(p.t, set, "this node is primary of it")
		p.sin1.resolve(p.t, control.ResolveRequest{With: "give-way"})
		for _, s := range p.own() { // as a person would
			p.fra1.disk.RemoveSnapshot("", db, s.Name)
		}
		p.hours(1)
		if got := p.conflict(); !strings.Contains(got, "no common base") || !strings.Contains(got, "--with set-aside") {
			p.t.Fatalf("%s; want the conflict with its cure", got)
		}
		p.sin1.resolve(p.t, set)
		p.hours(2)
		if got := p.conflict(); got != "" {
			t.Errorf("%s; want no conflict any more", got)
		}
		p.wantSame(db)
		aside := db + ".was-"
		held, err := p.sin1.disk.Target(into, time.Now).Find(p.t.Context(), "/", true)
		if err != nil || !slices.ContainsFunc(held, func(h dataset.Dataset) bool {
			return strings.HasPrefix(string(h.Path), string(aside)) && has(p.points(h.Path), was[0].Name)
		}) {
			t.Errorf("sin1 holds %v, %v; want the former replica under a name", held, err)
		}
		if files, err := p.sin1.disk.Files(dataset.Path(live)); err != nil || string(files["mine"]) != "written on sin1" {
			t.Errorf("what was live: %v, %v; want it as it was", files, err)
		}
	})
}
