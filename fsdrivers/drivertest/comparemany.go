package drivertest

import (
	"errors"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

func compareManyCases() []testCase {
	return []testCase{{"many are compared at once, and each is answered for", compareMany}}
}

// compareMany has the answers of a driver that compares one by one.
func compareMany(w *world) {
	c, _ := w.Source().(fsdrivers.ManyComparer) // the case needs one
	var ds []dataset.Path
	var snaps []dataset.Snapshot
	add := func(d dataset.Dataset, s dataset.Snapshot) {
		ds, snaps = append(ds, d.Path), append(snaps, s)
	}
	same := w.dataset("same", "x")
	add(same, w.snap(same))
	written := w.dataset("written", "x")
	add(written, w.snap(written))
	older := w.dataset("older", "x")
	add(older, w.snap(older))
	newer := w.dataset("newer", "x")
	add(newer, w.snap(newer))
	gone := w.dataset("gone", "x")
	add(gone, w.snap(gone))
	add(dataset.Dataset{Path: w.Path("none")}, snaps[0])

	w.write(written, "a", "y")
	w.write(older, "a", "y")
	w.snap(older)
	w.snap(newer)
	w.must(w.Source().Destroy(w.Context(), gone.Path, snaps[4]), "destroy")
	for _, when := range []string{"at once", "again", "after a restart"} {
		got, errs := c.AreUnchanged(w.Context(), ds, snaps)
		if len(got) != len(ds) || len(errs) != len(ds) {
			w.Fatalf("%d and %d answers, want %d", len(got), len(errs), len(ds))
		}
		for i, want := range []bool{true, false, false, true, false, false} {
			if got[i] != want || errors.Is(errs[i], dataset.ErrNotFound) != (i == 5) || errs[i] != nil && i != 5 {
				w.Errorf("%s: %s is unchanged: %t, %v, want %t", when, ds[i], got[i], errs[i], want)
			}
		}
		if when == "again" {
			w.Reopen()
			c, _ = w.Source().(fsdrivers.ManyComparer)
		}
	}
}
