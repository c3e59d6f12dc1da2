package drivertest

import (
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

func compareCases() []testCase {
	return []testCase{
		{"a dataset is unchanged after its snapshot", compareAtOnce},
		{"what was written or removed is a change", compareWritten},
		{"unchanged is told against one snapshot", compareWhich},
		{"what Antipode does itself is no change", compareOwn},
		{"a snapshot that is gone tells nothing", compareGone},
	}
}

// comparer is the source of a case that needs one.
func (w *world) comparer() fsdrivers.Comparer {
	c, _ := w.Source().(fsdrivers.Comparer)
	return c
}

// wantUnchanged asks the driver.
func (w *world) wantUnchanged(when string, d dataset.Dataset, s dataset.Snapshot, want bool) {
	w.Helper()
	got, err := w.comparer().IsUnchanged(w.Context(), d.Path, s)
	if err != nil || got != want {
		w.Errorf("%s: unchanged since %s: got %t, %v, want %t", when, s.Name, got, err, want)
	}
}

func compareAtOnce(w *world) {
	d := w.dataset("db", "x")
	first := w.snap(d)
	w.wantUnchanged("at once", d, first, true)
	second := w.snap(d)
	w.wantUnchanged("after a second one", d, second, true)
	w.Reopen()
	w.wantUnchanged("after a restart", d, second, true)
}

func compareWritten(w *world) {
	d := w.dataset("db", "x")
	s := w.snap(d)
	w.write(d, "a", "y")
	w.wantUnchanged("right after a write", d, s, false)
	s = w.snap(d)
	w.write(d, "b", "new")
	w.wantUnchanged("with a new file", d, s, false)
	s = w.snap(d)
	w.must(w.Delete(d.Path, "b"), "delete")
	w.wantUnchanged("with a file less", d, s, false)
}

func compareWhich(w *world) {
	d := w.dataset("db", "x")
	first := w.snap(d)
	w.write(d, "a", "y")
	second := w.snap(d)
	w.wantUnchanged("since the newest", d, second, true)
	w.wantUnchanged("since the one before", d, first, false)
}

func compareOwn(w *world) {
	d, first := w.sent("db", "x")
	other := w.dataset("other", "y")
	w.must(w.Source().Hold(w.Context(), d.Path, first, tag), "hold")
	w.must(w.Source().Release(w.Context(), d.Path, tag), "release")
	w.write(other, "a", "z")
	w.transfer(step(other, dataset.Snapshot{}, w.snap(other)))
	second := w.snap(d)
	w.transfer(step(d, first, second))
	w.must(w.Source().Destroy(w.Context(), d.Path, first), "destroy the one before")
	w.wantUnchanged("after holds, sends, others' writes and a destruction", d, second, true)
}

func compareGone(w *world) {
	d := w.dataset("db", "x")
	s := w.snap(d)
	w.must(w.Source().Destroy(w.Context(), d.Path, s), "destroy")
	w.wantUnchanged("without the snapshot", d, s, false)
	other := w.snap(d)
	other.ID = s.ID
	w.wantUnchanged("under a name that has another identity", d, other, false)
	_, err := w.comparer().IsUnchanged(w.Context(), w.Path("none"), s)
	w.want(err, "compare what is not there", dataset.ErrNotFound)
}
