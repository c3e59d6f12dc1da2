package drivertest

import (
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

func versionCases() []testCase {
	return []testCase{
		{"a version stays while nothing happens", versionStays},
		{"a version changes with all that is listed", versionChanges},
	}
}

func versionByHandCases() []testCase {
	return []testCase{{"a version sees what is done past the driver", versionSeesOthers}}
}

// versioned are the sides of a case that can tell versions.
func versioned(w *world) map[string]fsdrivers.Versioner {
	w.Helper()
	sides := map[string]fsdrivers.Versioner{}
	if v, ok := w.Source().(fsdrivers.Versioner); ok {
		sides["source"] = v
	}
	if v, ok := w.Target().(fsdrivers.Versioner); ok {
		sides["target"] = v
	}
	return sides
}

// list reads the lists of both sides, as a daemon does that then remembers the
// versions.
func (w *world) list(d dataset.Path) {
	w.Helper()
	_, err := w.Source().Snapshots(w.Context(), d)
	w.must(err, "list the snapshots of %s", d)
	_, err = w.Target().Snapshots(w.Context(), d)
	w.must(err, "list the points of %s", d)
}

// versions reads those of one dataset, and then its lists. Time passes first, where
// a file system needs that to be sure.
func (w *world) versions(d dataset.Path) map[string]string {
	w.Helper()
	defer w.list(d)
	if s, ok := w.Harness.(Settler); ok {
		s.Settle()
	}
	all := map[string]string{}
	for name, side := range versioned(w) {
		got, err := side.Versions(w.Context(), []dataset.Path{d, w.Path("none")})
		w.must(err, "versions on the %s", name)
		if len(got) != 2 {
			w.Fatalf("versions on the %s: got %d of 2", name, len(got))
		}
		all[name] = got[0]
	}
	return all
}

// changed fails unless exactly the sides named have another version than before.
func (w *world) changed(what string, before, after map[string]string, sides ...string) {
	w.Helper()
	want := map[string]bool{}
	for _, side := range sides {
		want[side] = true
	}
	for side := range before {
		// One that cannot be told is never taken for unchanged.
		switch got := before[side] != after[side] || after[side] == ""; {
		case want[side] && !got:
			w.Errorf("%s: the version on the %s is still %q", what, side, after[side])
		case !want[side] && got:
			w.Errorf("%s: the version on the %s went from %q to %q", what, side, before[side], after[side])
		}
	}
}

func versionStays(w *world) {
	d, _ := w.sent("db", "one")
	w.sent("other", "two")
	w.list(d.Path)
	before := w.versions(d.Path)
	for side, v := range before {
		if v == "" {
			w.Errorf("the %s cannot tell a version of what nobody touches", side)
		}
	}
	o := w.Make("third")
	w.transfer(step(o, dataset.Snapshot{}, w.snap(o)))
	w.changed("a step of another dataset", before, w.versions(d.Path))
	w.Reopen()
	w.list(d.Path)
	w.changed("a new driver", before, w.versions(d.Path))
}

func versionChanges(w *world) {
	d, first := w.sent("db", "one")
	w.list(d.Path)
	before := w.versions(d.Path)
	check := func(what string, sides ...string) {
		w.Helper()
		after := w.versions(d.Path)
		w.changed(what, before, after, sides...)
		before = after
	}
	w.write(d, "a", "two")
	second := w.snap(d)
	check("a snapshot", "source")
	w.transfer(step(d, first, second))
	check("a step", "target")
	w.must(w.Source().Hold(w.Context(), d.Path, second, tag), "hold")
	check("a hold on the source", "source")
	w.must(w.Source().Release(w.Context(), d.Path, tag), "release")
	check("its release", "source")
	w.must(w.Target().Hold(w.Context(), d.Path, second, tag), "hold")
	check("a hold on the target", "target")
	mark := dataset.Mark{Activation: dataset.Activation{Generation: 1, ID: dataset.NewActivationID(), Node: "sin1"}}
	w.must(w.Source().SwapMark(w.Context(), d.Path, dataset.Mark{}, mark), "mark")
	check("a mark on the source", "source")
	w.must(w.Target().SwapMark(w.Context(), d.Path, dataset.Mark{}, mark), "mark")
	check("a mark on the target", "target")
	w.must(w.Source().Destroy(w.Context(), d.Path, first), "destroy")
	check("a snapshot that was destroyed", "source")
	w.must(w.Target().Destroy(w.Context(), d.Path, first), "destroy")
	check("a point that was destroyed", "target")
	w.must(w.Source().Fence(w.Context(), d.Path), "fence")
	check("a fence", "source")
}

func versionSeesOthers(w *world) {
	r := ability[Remover](w)
	d, s := w.sent("db", "one")
	w.list(d.Path)
	before := w.versions(d.Path)
	r.RemoveReceived(d.Path, s.Name)
	w.changed("a point removed by hand", before, w.versions(d.Path), "target")
	before = w.versions(d.Path)
	r.RemoveSent(d.Path, s.Name)
	w.changed("a snapshot removed by hand", before, w.versions(d.Path), "source")
}
