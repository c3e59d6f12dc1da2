package drivertest

import (
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

func bookmarkCases() []testCase {
	return []testCase{
		{"a bookmark is a base when its snapshot is gone", bookmarkBase},
		{"a bookmark is nothing while its snapshot is there", bookmarkHidden},
		{"a bookmark stands in for the holds that it is told", bookmarkHolds},
		{"what is gone or changed cannot be bookmarked", bookmarkGone},
	}
}

func (w *world) bookmark(d dataset.Dataset, s dataset.Snapshot, instead ...dataset.Tag) error {
	w.Helper()
	b, _ := w.Source().(fsdrivers.Bookmarker) // the cases need one
	return b.Bookmark(w.Context(), d.Path, s, instead...)
}

// sourceList is what the source lists.
func (w *world) sourceList(d dataset.Dataset) []dataset.Snapshot {
	w.Helper()
	list, err := w.Source().Snapshots(w.Context(), d.Path)
	w.must(err, "list the snapshots of %s", d.Path)
	return list
}

func bookmarkBase(w *world) {
	d, first := w.sent("db", "x")
	w.must(w.bookmark(d, first), "bookmark")
	w.must(w.Source().Destroy(w.Context(), d.Path, first), "destroy")
	w.write(d, "a", "y")
	second := w.snap(d)
	w.Reopen()
	list := w.sourceList(d)
	wantIDs(w, "listed", list, []dataset.Snapshot{first, second})
	if !list[0].Bookmark || list[1].Bookmark {
		w.Fatalf("listed: %+v, want a bookmark and a snapshot", list)
	}
	w.must(w.Source().Hold(w.Context(), d.Path, list[0], tag), "hold a bookmark")
	w.transfer(step(d, list[0], second))
	w.wantContent(d, second, "a", "y")
	_, err := w.Source().Send(w.Context(), step(d, dataset.Snapshot{}, list[0]), dataset.Checkpoint{})
	w.want(err, "send a bookmark", dataset.ErrNotFound)
	w.must(w.Source().Destroy(w.Context(), d.Path, list[0]), "destroy the bookmark")
	w.must(w.Source().Destroy(w.Context(), d.Path, list[0]), "destroy it again")
	wantIDs(w, "left", w.sourceList(d), []dataset.Snapshot{second})
}

func bookmarkHidden(w *world) {
	d, first := w.sent("db", "x")
	w.must(w.bookmark(d, first), "bookmark")
	w.must(w.bookmark(d, first), "bookmark again")
	list := w.sourceList(d)
	wantIDs(w, "listed", list, []dataset.Snapshot{first})
	if list[0].Bookmark {
		w.Errorf("listed: %+v, want the snapshot", list)
	}
}

func bookmarkHolds(w *world) {
	d, first := w.sent("db", "x")
	w.write(d, "a", "y")
	second := w.snap(d)
	for _, s := range []dataset.Snapshot{first, second} {
		w.must(w.Source().Hold(w.Context(), d.Path, s, tag), "hold")
	}
	w.must(w.Source().Hold(w.Context(), d.Path, first, "other"), "hold")
	w.must(w.bookmark(d, first, tag, "none"), "bookmark")
	list := w.sourceList(d)
	if len(list) != 2 || len(list[0].Holds) != 1 || list[0].Holds[0] != "other" || len(list[1].Holds) != 1 {
		w.Errorf("listed: %+v, want the one tag off the one snapshot", list)
	}
	w.want(w.Source().Destroy(w.Context(), d.Path, first), "destroy what another tag holds", dataset.ErrHeld)
	w.must(w.Source().Release(w.Context(), d.Path, "other"), "release")
	w.must(w.Source().Destroy(w.Context(), d.Path, first), "destroy")
	wantIDs(w, "left", w.sourceList(d), []dataset.Snapshot{first, second})
}

func bookmarkGone(w *world) {
	d, first := w.sent("db", "x")
	wrong, gone := first, first
	wrong.ID = d.ID
	gone.Name += "-gone"
	w.want(w.bookmark(d, wrong), "bookmark under a wrong name", dataset.ErrChanged)
	w.want(w.bookmark(d, gone), "bookmark what is gone", dataset.ErrNotFound)
	list := w.sourceList(d)
	wantIDs(w, "left", list, []dataset.Snapshot{first})
}
