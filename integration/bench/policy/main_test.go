package main

import "testing"

// What is measured is what a daemon does: one step is planned, most points go, and
// what the rules keep stays.
func TestADatasetIsPlannedAndPruned(t *testing.T) {
	w := newWorker()
	first, again := w.dataset(1), w.dataset(2)
	if first.steps != 1 || first.kept < 60 || first.kept > 90 || first.doomed != snapshots-first.kept || again != first {
		t.Errorf("got %+v and then %+v, want one step, some 70 kept, and the rest destroyed, each time", first, again)
	}
}
