package drivertest

import (
	"slices"
	"strings"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

func moveCases() []testCase {
	return []testCase{
		{"a moved replica keeps its points, holds and mark", moveKeeps},
		{"a moved replica is received into at its new path", moveReceives},
		{"a replica is not moved over another", moveOver},
		{"moving again is success", moveAgain},
	}
}

func moveNestedCases() []testCase {
	return []testCase{
		{"what lies below a moved replica stays", moveLeavesOthers},
		{"a replica is moved to where others lie below", moveAmongOthers},
	}
}

func moveOutsideCases() []testCase {
	return []testCase{{"no move reaches outside of the target", moveOutside}}
}

func (w *world) move(d dataset.Dataset, to dataset.Path) (dataset.Dataset, error) {
	w.Helper()
	m, _ := w.Target().(fsdrivers.Mover) // the cases need one
	return dataset.Dataset{Path: to, ID: d.ID}, m.Move(w.Context(), d, to)
}

// wantReplicas compares what Find answers.
func (w *world) wantReplicas(want ...dataset.Dataset) {
	w.Helper()
	got, err := w.Target().Find(w.Context(), "/", true)
	w.must(err, "find replicas")
	slices.SortFunc(want, func(a, b dataset.Dataset) int { return strings.Compare(string(a.Path), string(b.Path)) })
	wantPaths(w, got, want...)
}

func moveKeeps(w *world) {
	d, s := w.sent("db", "x")
	w.must(w.Target().Hold(w.Context(), d.Path, s, tag), "hold")
	w.must(w.Target().SwapMark(w.Context(), d.Path, dataset.Mark{}, markOf(1, "sin1")), "mark")
	before := w.published(d)
	moved, err := w.move(d, w.Path("new/db"))
	w.must(err, "move")
	for _, when := range []string{"at once", "after a restart"} {
		w.wantReplicas(moved)
		w.wantPublished(moved, s)
		w.wantPublished(d)
		w.wantContent(moved, s, "a", "x")
		if after := w.published(moved); len(after) != 1 || len(after[0].Holds) != 1 || !after[0].Received.Equal(before[0].Received) || !after[0].Retain.Equal(before[0].Retain) {
			w.Errorf("%s: got %+v, want the holds and times of %+v", when, after, before)
		}
		if m, err := w.Target().Mark(w.Context(), moved.Path); err != nil || m.Generation != 1 {
			w.Errorf("%s: mark %+v, %v, want generation 1", when, m, err)
		}
		w.Reopen()
		w.must(w.Target().Sweep(w.Context()), "sweep")
	}
}

func moveReceives(w *world) {
	d, first := w.sent("db", "x")
	w.write(d, "a", "y")
	second := w.snap(d)
	stream := w.stream(step(d, first, second))
	moved, err := w.move(d, w.Path("renamed"))
	w.must(err, "move")
	_, err = w.receive(step(moved, first, second), stream)
	w.must(err, "receive at the new path")
	w.wantPublished(moved, first, second)
	w.wantContent(moved, second, "a", "y")
	w.wantReplicas(moved)
}

func moveLeavesOthers(w *world) {
	tree, top := w.sent("tree", "x")
	below, leaf := w.sent("tree/below", "y")
	moved, err := w.move(tree, w.Path("tree.was-1"))
	w.must(err, "move")
	w.wantReplicas(below, moved)
	w.wantPublished(moved, top)
	w.wantPublished(below, leaf)
	w.wantContent(below, leaf, "a", "y")
	back, err := w.move(moved, tree.Path)
	w.must(err, "move back")
	w.wantReplicas(back, below)
	w.wantPublished(back, top)
	w.wantPublished(below, leaf)
}

func moveAmongOthers(w *world) {
	d, s := w.sent("db", "x")
	inner, old := w.sent("db/inner", "z")
	w.MakeDir("place")
	below, leaf := w.sent("place/below", "y")
	moved, err := w.move(d, w.Path("place"))
	w.must(err, "move")
	w.wantReplicas(inner, moved, below)
	w.wantPublished(moved, s)
	w.wantPublished(below, leaf)
	w.wantPublished(inner, old)
	w.wantContent(below, leaf, "a", "y")
	w.wantContent(inner, old, "a", "z")
}

func moveOver(w *world) {
	a, s := w.sent("a", "x")
	b, t := w.sent("b", "y")
	_, err := w.move(a, b.Path)
	w.want(err, "move over another", dataset.ErrExists)
	w.wantPublished(a, s)
	w.wantPublished(b, t)
}

func moveAgain(w *world) {
	d, s := w.sent("db", "x")
	moved, err := w.move(d, w.Path("new"))
	w.must(err, "move")
	_, err = w.move(d, w.Path("new"))
	w.must(err, "move again")
	w.wantPublished(moved, s)
	_, err = w.move(dataset.Dataset{Path: w.Path("none"), ID: "0c12b3c9-d00a-5348-8640-cba72b768bdd"}, w.Path("x"))
	w.want(err, "move what is not there", dataset.ErrNotFound)
}

func moveOutside(w *world) {
	d, s := w.sent("db", "x")
	g := ability[Guard](w)
	before := g.Outside()
	for _, to := range []dataset.Path{"", "..", "/../up", "/a/../../b", "/.antipode/x", "/x/.antipode"} {
		if _, err := w.move(d, to); err == nil {
			w.Errorf("moved to %q", to)
		}
	}
	w.wantPublished(d, s)
	if after := g.Outside(); len(after) != len(before) {
		w.Errorf("outside: got %q, want %q", after, before)
	}
}
