package drivertest

import (
	"reflect"
	"strings"

	"antipode/fsdrivers/dataset"
)

func markCases() []testCase {
	return append(onBothSides(map[string]func(*side){
		"a mark that was never written is zero":              markZero,
		"a mark is swapped only for the one that is there":   markSwap,
		"a mark outlives the driver":                         markDurable,
		"a mark that is not valid is not written":            markInvalid,
		"the marks of two datasets are apart":                marksApart,
		"a mark changes neither snapshots nor what was held": markAlone,
	}), testCase{"what is not there has no mark", markNothing})
}

// markOf is a valid mark of that generation, by that node.
func markOf(generation uint64, node string) dataset.Mark {
	m := dataset.Mark{Activation: activation(generation, node)}
	for g := generation - 1; g > 0 && len(m.History) < dataset.MaxMarkHistory; g-- {
		m.History = append(m.History, activation(g, node))
	}
	return m
}

func activation(generation uint64, node string) dataset.Activation {
	digit := string("0123456789abcdef"[generation%16])
	return dataset.Activation{
		Generation: generation, ID: dataset.ActivationID(strings.Repeat(digit, 32)),
		Node: node, Base: "01234567-89ab-cdef-0123-456789abcdef",
	}
}

func (s *side) wantMark(d dataset.Path, want dataset.Mark) {
	s.Helper()
	got, err := s.driver().Mark(s.Context(), d)
	if err != nil || got.Activation != want.Activation || len(got.History) != len(want.History) ||
		len(want.History) > 0 && !reflect.DeepEqual(got.History, want.History) {
		s.Errorf("mark: got %+v, %v, want %+v", got, err, want)
	}
}

func markZero(s *side) {
	s.wantMark(s.d.Path, dataset.Mark{})
}

func markSwap(s *side) {
	one, two, rival := markOf(1, "fra1"), markOf(2, "fra1"), markOf(2, "sin1")
	swap := func(old, next dataset.Mark) error {
		return s.driver().SwapMark(s.Context(), s.d.Path, old, next)
	}
	s.want(swap(one, two), "swap for one that was never there", dataset.ErrChanged)
	s.wantMark(s.d.Path, dataset.Mark{})
	s.must(swap(dataset.Mark{}, one), "write the first")
	s.wantMark(s.d.Path, one)
	s.want(swap(dataset.Mark{}, rival), "swap for zero", dataset.ErrChanged)
	s.must(swap(one, two), "swap")
	s.want(swap(one, rival), "swap for an old one", dataset.ErrChanged)
	s.want(swap(rival, one), "swap for one of the same generation", dataset.ErrChanged)
	s.wantMark(s.d.Path, two)
}

func markDurable(s *side) {
	long := markOf(100, "fra1")
	s.must(s.driver().SwapMark(s.Context(), s.d.Path, dataset.Mark{}, long), "swap")
	s.Reopen()
	s.wantMark(s.d.Path, long)
	s.must(s.driver().SwapMark(s.Context(), s.d.Path, long, markOf(101, "fra1")), "swap after a restart")
}

func markInvalid(s *side) {
	bad := markOf(3, "fra1")
	bad.ID = "not an activation"
	if err := s.driver().SwapMark(s.Context(), s.d.Path, dataset.Mark{}, bad); err == nil {
		s.Error("got no error")
	}
	s.wantMark(s.d.Path, dataset.Mark{})
}

func marksApart(s *side) {
	other, _ := s.sent("other", "x")
	s.must(s.driver().SwapMark(s.Context(), s.d.Path, dataset.Mark{}, markOf(1, "fra1")), "swap")
	s.wantMark(other.Path, dataset.Mark{})
	s.wantMark(s.d.Path, markOf(1, "fra1"))
}

func markAlone(s *side) {
	s.hold(s.a, tag)
	s.must(s.driver().SwapMark(s.Context(), s.d.Path, dataset.Mark{}, markOf(1, "fra1")), "swap")
	s.wantHolds(s.a, tag)
	wantIDs(s.world, "listed", s.list(), []dataset.Snapshot{s.a, s.b})
}

func markNothing(w *world) {
	none := w.Path("none")
	w.want(w.Source().SwapMark(w.Context(), none, dataset.Mark{}, markOf(1, "fra1")), "swap on the source", dataset.ErrNotFound)
	w.want(w.Target().SwapMark(w.Context(), none, dataset.Mark{}, markOf(1, "fra1")), "swap on the target", dataset.ErrNotFound)
	if m, err := w.Target().Mark(w.Context(), none); err != nil || !m.IsZero() {
		w.Errorf("mark on the target: got %+v, %v, want zero", m, err)
	}
}
