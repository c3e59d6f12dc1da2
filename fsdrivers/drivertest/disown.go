package drivertest

import (
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

func disownCases() []testCase {
	return []testCase{
		{"a disowned replica keeps its points", disownKeeps},
		{"what is no replica is not disowned", disownNothing},
	}
}

func disownAndMoveCases() []testCase {
	return []testCase{{"what was disowned makes room for another replica", disownMakesRoom}}
}

func (w *world) disown(d dataset.Dataset) (dataset.Dataset, error) {
	w.Helper()
	o, _ := w.Target().(fsdrivers.Disowner) // the cases need one
	id, err := o.Disown(w.Context(), d)
	return dataset.Dataset{Path: d.Path, ID: id}, err
}

func disownKeeps(w *world) {
	d, s := w.sent("db", "x")
	w.must(w.Target().Hold(w.Context(), d.Path, s, tag), "hold")
	before := w.published(d)
	other, err := w.disown(d)
	w.must(err, "disown")
	if _, err := dataset.ParseID(string(other.ID)); err != nil || other.ID == d.ID {
		w.Errorf("identity %q, %v, want another than %s", other.ID, err, d.ID)
	}
	for _, when := range []string{"at once", "after a restart"} {
		w.wantReplicas(other)
		w.wantContent(d, s, "a", "x")
		if after := w.published(d); len(after) != 1 || len(after[0].Holds) != 1 || !after[0].Received.Equal(before[0].Received) || !after[0].Retain.Equal(before[0].Retain) {
			w.Errorf("%s: got %+v, want the holds and times of %+v", when, after, before)
		}
		w.Reopen()
		w.must(w.Target().Sweep(w.Context()), "sweep")
	}
	_, err = w.disown(d)
	w.want(err, "disown what was", dataset.ErrNotFound)
}

func disownMakesRoom(w *world) {
	d, first := w.sent("db", "x")
	for i, text := range []string{"y", "z"} { // twice: the second replica of a dataset is not taken for the first
		old, err := w.disown(d)
		w.must(err, "disown")
		aside, err := w.move(old, w.Path([]string{"db.was-1", "db.was-2"}[i]))
		w.must(err, "move it aside")
		w.wantPublished(aside, first)
		w.write(d, "a", text)
		next := w.snap(d)
		w.transfer(step(d, dataset.Snapshot{}, next))
		w.wantContent(d, next, "a", text)
		w.wantPublished(aside, first)
		first = next
	}
}

func disownNothing(w *world) {
	d, s := w.sent("db", "x")
	for name, not := range map[string]dataset.Dataset{
		"another dataset": {Path: d.Path, ID: s.ID}, "another path": {Path: w.Path("none"), ID: d.ID},
	} {
		_, err := w.disown(not)
		w.want(err, "disown "+name, dataset.ErrNotFound)
	}
	w.wantReplicas(d)
	w.wantPublished(d, s)
}
