package activate

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"antipode/fsdrivers/dataset"
)

// world is three nodes that show each other their marks in any order, lose and
// repeat messages, restart at any time and are promoted by a careless operator.
type world struct {
	nodes  []State
	source []bool // whether the node's dataset is the job's source
	drawn  int    // activation ids drawn so far
	shown  []dataset.Mark
}

func newWorld() *world {
	return &world{
		nodes: []State{
			{Role: Primary, Node: "fra1"},
			{Role: Seeding, Node: "sin1"},
			{Role: Standby, Node: "gru1"},
		},
		source: []bool{true, false, false},
	}
}

// event draws what happens to node i next.
func (w *world) event(t *rapid.T, i int) Event {
	s := w.nodes[i]
	switch rapid.IntRange(0, 9).Draw(t, "event") {
	case 0:
		w.drawn++
		base := rapid.SampledFrom([]dataset.ID{"b", "b", ""}).Draw(t, "base")
		return Asked{Base: base, ID: activation(fmt.Sprint("drawn ", w.drawn)), Force: rapid.Bool().Draw(t, "force")}
	case 1:
		return Completed{}
	case 2:
		return Stopped{}
	case 3:
		return Rejoined{Points: rapid.Bool().Draw(t, "points")}
	case 4:
		return Restarted{
			Mark: s.Mark, Source: w.source[i], Points: s.Role != Seeding,
			Live: s.Role == Primary || s.Role == Outdated || s.Role == Fenced, ReadOnly: s.Role == Fenced,
		}
	default:
		return Seen{
			Peer: rapid.SampledFrom(w.nodes).Draw(t, "peer").Node,
			Mark: rapid.SampledFrom(w.shown).Draw(t, "shown"), MayPromote: rapid.Bool().Draw(t, "may"),
		}
	}
}

func TestMarksNeverMakeTwoPrimariesOfOneActivation(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		for range rapid.IntRange(1, 80).Draw(t, "events") {
			for _, s := range w.nodes {
				w.shown = append(w.shown, s.Mark) // may arrive at any time from now on
			}
			i := rapid.IntRange(0, 2).Draw(t, "node")
			before, ev := w.nodes[i], w.event(t, i)
			after, effects, err := Step(before, ev)
			w.nodes[i] = after
			if _, ok := ev.(Rejoined); ok && err == nil {
				w.source[i] = false
			}
			checkStep(t, before, after, ev, effects)
			checkPrimaries(t, w)
		}
	})
}

// checkStep holds one node to what it must do by itself.
func checkStep(t *rapid.T, before, after State, ev Event, effects []Effect) {
	what := fmt.Sprintf("%T %+v took %+v to %+v", ev, ev, before, after)
	if after.Mark.Generation < before.Mark.Generation {
		t.Fatalf("the generation fell: %s", what)
	}
	if err := after.Mark.Validate(); err != nil {
		t.Fatalf("%v: %s", err, what)
	}
	if after.Node != before.Node {
		t.Fatalf("the node changed its name: %s", what)
	}
	if changed := !after.Mark.Same(before.Mark); changed != slices.Contains(effects, WriteMark) {
		t.Fatalf("mark changed %v, effects %v: %s", changed, effects, what)
	}
	if after.Mark.Node == before.Node && !after.Mark.IsZero() && after.Role != Primary {
		t.Fatalf("the mark names a node that is not primary: %s", what)
	}
	if seen, ok := ev.(Seen); ok && !seen.MayPromote &&
		(after.Role != before.Role || !after.Mark.Same(before.Mark) || after.IsFrozen() && !before.IsFrozen()) {
		t.Fatalf("moved by who may not promote: %s", what)
	}
	live, wanted := slices.Index(effects, MakeLive), slices.Index(effects, WriteMark)
	if live >= 0 && live < wanted {
		t.Fatalf("live before the mark: %v, %s", effects, what)
	}
}

// checkPrimaries counts who believes to be primary by each activation.
func checkPrimaries(t *rapid.T, w *world) {
	by := map[dataset.ActivationID]string{}
	for i, s := range w.nodes {
		if s.Role != Primary {
			continue
		}
		if s.Mark.IsZero() && !w.source[i] || !s.Mark.IsZero() && s.Mark.Node != s.Node {
			t.Fatalf("%s is primary by a mark that does not name it: %+v", s.Node, s.Mark)
		}
		if other, taken := by[s.Mark.ID]; taken {
			t.Fatalf("%s and %s are both primary of activation %q", other, s.Node, s.Mark.ID)
		}
		by[s.Mark.ID] = s.Node
		if err := s.MayReceive(); err == nil {
			t.Fatalf("%s is primary and may be received into", s.Node)
		}
	}
}

// drawHostile is any mark at all: well formed or not, chaining or not.
func drawHostile(t *rapid.T, ours dataset.Mark) dataset.Mark {
	m := ours
	for range rapid.IntRange(0, 3).Draw(t, "promotions") {
		m = Promote(m, rapid.SampledFrom([]string{"evil", "sin1"}).Draw(t, "node"), "b", activation(fmt.Sprint(rapid.Int().Draw(t, "id"))))
	}
	switch rapid.IntRange(0, 3).Draw(t, "bend") {
	case 0:
		m.Generation = rapid.Uint64().Draw(t, "generation")
	case 1:
		m.History = m.History[:rapid.IntRange(0, len(m.History)).Draw(t, "remembered")]
	case 2:
		m.ID = activation(rapid.String().Draw(t, "other"))
	}
	return m
}

func TestHostileMarksMoveNobody(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := in(rapid.SampledFrom([]Role{Primary, Standby, Seeding, Outdated, Fenced}).Draw(t, "role"))
		after, effects, _ := Step(s, Seen{Peer: "evil", Mark: drawHostile(t, s.Mark)})
		if after.Role != s.Role || !after.Mark.Same(s.Mark) || after.IsFrozen() || len(effects) != 0 {
			t.Fatalf("moved to %+v with %v", after, effects)
		}
	})
}

func TestWhatIsAcceptedChainsAndIsBounded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ours := line([]string{"", "fra1", "fra1 sin1"}[rapid.IntRange(0, 2).Draw(t, "ours")])
		theirs := drawHostile(t, ours)
		verdict, err := Accept(ours, theirs, true)
		if (verdict == "") != (err != nil) {
			t.Fatalf("verdict %q with %v", verdict, err)
		}
		if verdict != StepDown {
			return
		}
		rise := theirs.Generation - ours.Generation
		if theirs.Generation <= ours.Generation || rise > MaxRise {
			t.Fatalf("a rise from %d to %d is accepted", ours.Generation, theirs.Generation)
		}
		if ours.IsZero() {
			if uint64(len(theirs.History)) != rise-1 {
				t.Fatalf("from zero, and it remembers %d of %d", len(theirs.History), rise-1)
			}
		} else if theirs.History[rise-1] != ours.Activation {
			t.Fatalf("our activation is not where it belongs: %+v", theirs.History)
		}
	})
}
