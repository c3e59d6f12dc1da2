package drivertest

import (
	"slices"
	"testing"

	"antipode/fsdrivers"
)

// Ability is what a Harness or its drivers may be able to do beyond what all are.
type Ability string

// The abilities that cases need. What a suite lacks it has to say: a case that is
// missing without a word is missed by nobody.
const (
	Fills       Ability = "Filler"
	Removes     Ability = "Remover"
	Vanishes    Ability = "Vanisher"
	Copies      Ability = "Copier"
	Litters     Ability = "Litterer"
	Guards      Ability = "Guard"
	Returns     Ability = "Returner"
	Includes    Ability = "Outsider"
	Resumes     Ability = "Resumer"
	Nests       Ability = "Nester"
	Compares    Ability = "fsdrivers.Comparer"
	Versions    Ability = "fsdrivers.Versioner"
	Moves       Ability = "fsdrivers.Mover"
	Disowns     Ability = "fsdrivers.Disowner"
	InPlaces    Ability = "fsdrivers.InPlacer"
	DestroysAll Ability = "fsdrivers.ManyDestroyer"
	Frees       Ability = "fsdrivers.Freer"
	Forwards    Ability = "fsdrivers.Forwarder and Chainer"
	ComparesAll Ability = "fsdrivers.ManyComparer"
	Bookmarks   Ability = "fsdrivers.Bookmarker"
)

// abilities tell of a Harness what it can do. What both drivers may have, both or
// none has.
var abilities = map[Ability]func(Harness) bool{
	Fills:       is[Filler],
	Removes:     is[Remover],
	Vanishes:    is[Vanisher],
	Copies:      is[Copier],
	Litters:     is[Litterer],
	Guards:      is[Guard],
	Returns:     is[Returner],
	Includes:    is[Outsider],
	Resumes:     func(h Harness) bool { r, tells := h.(Resumer); return !tells || r.Resumes() },
	Nests:       func(h Harness) bool { n, tells := h.(Nester); return !tells || n.Nests() },
	Compares:    func(h Harness) bool { return has[fsdrivers.Comparer](h.Source()) },
	Versions:    func(h Harness) bool { return onEither[fsdrivers.Versioner](h) },
	Moves:       func(h Harness) bool { return has[fsdrivers.Mover](h.Target()) },
	Disowns:     func(h Harness) bool { return has[fsdrivers.Disowner](h.Target()) },
	InPlaces:    func(h Harness) bool { return has[fsdrivers.InPlacer](h.Target()) },
	DestroysAll: func(h Harness) bool { return onEither[fsdrivers.ManyDestroyer](h) },
	ComparesAll: func(h Harness) bool { return has[fsdrivers.ManyComparer](h.Source()) },
	Bookmarks:   func(h Harness) bool { return has[fsdrivers.Bookmarker](h.Source()) },
	Forwards:    func(h Harness) bool { return has[fsdrivers.Forwarder](h.Target()) && is[Chainer](h) },
	Frees:       func(h Harness) bool { return onEither[fsdrivers.Freer](h) },
}

func has[T any](v any) bool { _, ok := v.(T); return ok }

func is[T any](h Harness) bool { return has[T](h) }

func onEither[T any](h Harness) bool { return has[T](h.Source()) || has[T](h.Target()) }

// able are the abilities of a Harness; it fails unless they are all but those that
// it is said to lack.
func able(t *testing.T, h Harness, lacks []Ability) map[Ability]bool {
	t.Helper()
	all := make(map[Ability]bool)
	for a, ask := range abilities {
		switch all[a] = ask(h); {
		case all[a] && slices.Contains(lacks, a):
			t.Errorf("this harness has become a %s: do not say any more that it lacks that", a)
		case !all[a] && !slices.Contains(lacks, a):
			t.Errorf("this harness is no %s, and its cases would be missed: make it one, or say that it lacks that", a)
		}
	}
	return all
}

// ability returns what the harness can do; the case says that it needs that.
func ability[T any](w *world) T {
	w.Helper()
	a, ok := w.Harness.(T)
	if !ok {
		w.Fatalf("this harness is no %T, and the case does not say that it needs one", *new(T))
	}
	return a
}
