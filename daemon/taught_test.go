package daemon_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"antipode/daemon/activate"
	"antipode/daemon/control"
	"antipode/daemon/status"
	"antipode/daemon/watch"
	"antipode/fsdrivers/dataset"
	"antipode/transport/wire"
)

// wasPromoted gives fra1's dataset the mark of one that was promoted for the nth time, on
// top of what it carries.
func (p *pair) wasPromoted(generation uint64) dataset.Mark {
	p.t.Helper()
	source := p.fra1.disk.Source()
	have, err := source.Mark(p.t.Context(), db)
	if err != nil {
		p.t.Fatal(err)
	}
	mark := have
	for mark.Generation < generation {
		mark = activate.Promote(mark, "fra1", "", dataset.NewActivationID())
	}
	if err := source.SwapMark(p.t.Context(), db, have, mark); err != nil {
		p.t.Fatal(err)
	}
	return mark
}

// alarmsOfMarks are what sin1 has to say against the source's mark.
func (p *pair) alarmsOfMarks() (all []status.Alert) {
	for _, a := range p.sin1.daemon.Status().Alerts {
		if a.Kind == watch.MarkRefused || a.Kind == watch.SplitBrain {
			all = append(all, a)
		}
	}
	return all
}

// A dataset whose source was promoted before: its first copy brings the mark, so that a
// promotion right after it goes on from there and the source, once it is back, steps down.
func TestAFreshReplicaLearnsThatItsSourceWasPromoted(t *testing.T) {
	for _, generation := range []uint64{3, dataset.MaxMarkRise + 1, dataset.MaxMarkHistory + 20} {
		runPair(t, func(p *pair) {
			was := p.wasPromoted(generation)
			p.startBoth()
			p.hours(1)
			if got := p.sin1Mark(); !got.Same(was) {
				t.Fatalf("after the first copy sin1's replica carries %+v, want the source's %+v", got, was)
			}
			if got := p.alarmsOfMarks(); len(got) > 0 {
				t.Errorf("sin1 alarms: %+v", got)
			}
			p.fra1.crash()
			p.sin1.crash() // what it was taught is on the disk
			p.start(p.sin1)
			after(time.Minute)
			done := p.promote(control.PromoteRequest{Dataset: db})
			if done.Generation != generation+1 {
				t.Errorf("promoted in generation %d, want %d", done.Generation, generation+1)
			}
			p.start(p.fra1)
			after(3 * time.Hour)
			if line := p.pairLine(db); line.State != status.StateFenced {
				t.Errorf("generation %d: fra1 shows %+v, want it fenced", generation, line)
			}
			if err := p.fra1.disk.Write(db, "late", []byte("x")); err == nil {
				t.Errorf("generation %d: fra1 can still be written to", generation)
			}
		})
	}
}

// The source is promoted, and once more, while a replica has its points: the next exchange
// tells.
func TestAReplicaLearnsThatItsSourceWasPromotedAgain(t *testing.T) {
	runPair(t, func(p *pair) {
		p.startBoth()
		p.hours(2)
		for generation := range uint64(2) {
			was := p.wasPromoted(generation + 1)
			p.hours(2)
			if got := p.sin1Mark(); !got.Same(was) {
				t.Errorf("sin1's replica carries %+v, want the source's %+v", got, was)
			}
		}
		if got := p.alarmsOfMarks(); len(got) > 0 {
			t.Errorf("sin1 alarms: %+v", got)
		}
		if n := len(p.points(db)); n < 5 {
			t.Errorf("%d points, want that replication went on", n)
		}
	})
}

// What cannot be believed is not taken over: what no number of promotions leads to, what has
// no past, and what names the target itself, which would make it primary by a word.
func TestAReplicaDoesNotLearnWhatCannotBe(t *testing.T) {
	at := func(generation uint64, node string) dataset.Mark {
		return dataset.Mark{Activation: dataset.Activation{Generation: generation, ID: dataset.NewActivationID(), Node: node}}
	}
	long := func(generation uint64, node string) dataset.Mark {
		m := at(generation, node)
		for i := range uint64(dataset.MaxMarkHistory) {
			m.History = append(m.History, at(generation-1-i, node).Activation)
		}
		return m
	}
	for name, mark := range map[string]dataset.Mark{
		"is far off": long(1<<63, "fra1"), "is far off and has no past": at(1<<40, "fra1"), "has no past": at(2, "fra1"), "names the target": at(1, "sin1"),
	} {
		runPair(t, func(p *pair) {
			p.level = zerolog.Disabled
			p.startBoth()
			p.hours(1)
			h := newThief(p)
			found, err := p.fra1.disk.Source().Find(t.Context(), db, false)
			if err != nil {
				t.Fatal(err)
			}
			q := wire.InventoryRequest{Job: "db", Driver: "btrfs", Datasets: []wire.InventoryAsk{{Dataset: found[0], Mark: mark}}}
			if got := h.do(h.who, "POST", wire.PathInventory, fill(q, "")); got.status != http.StatusOK {
				t.Fatalf("%s: %v", name, got)
			}
			after(time.Minute)
			if got := p.sin1Mark(); !got.IsZero() {
				t.Errorf("a mark that %s: sin1's replica carries %+v, want none", name, got)
			}
			if len(p.alarmsOfMarks()) == 0 {
				t.Errorf("a mark that %s: sin1 raises no alarm", name)
			}
			p.sin1.crash()
			p.start(p.sin1)
			after(time.Minute)
			if lines := p.sin1.daemon.Status().Replicas; len(lines) != 1 || lines[0].Role != "standby" {
				t.Errorf("a mark that %s: sin1 shows %+v, want a standby", name, lines)
			}
		})
	}
}
