package drivertest

import (
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

func inPlaceCases() []testCase {
	return []testCase{
		{"a standby goes live itself and can be written", inPlaceWrite},
		{"going live itself again is success", inPlaceAgain},
		{"nothing is received into what is live itself", inPlaceReceive},
		{"only the newest point goes live itself", inPlaceEarlier},
		{"what is not there cannot go live itself", inPlaceNothing},
		{"what is live as a copy is not hidden", inPlaceBesideCopy},
		{"what is live itself rests if nothing was written", inPlaceRest},
		{"what was written keeps it live", inPlaceWritten},
	}
}

func inPlaceAsideCases() []testCase {
	return []testCase{{"what is live itself is neither moved nor disowned", inPlaceStays}}
}

func inPlaceReturnCases() []testCase {
	return []testCase{{"what is made on what is live itself is no point", inPlaceReturn}}
}

func (w *world) inPlacer() fsdrivers.InPlacer {
	w.Helper()
	p, _ := w.Target().(fsdrivers.InPlacer) // the cases need one
	return p
}

func (w *world) inPlace(d dataset.Dataset, s dataset.Snapshot) fsdrivers.Activated {
	w.Helper()
	w.must(w.inPlacer().MayActivateInPlace(w.Context(), d.Path, s), "ask whether %s may go live", s.Name)
	a, err := w.inPlacer().ActivateInPlace(w.Context(), d.Path, s)
	w.must(err, "activate %s in place", s.Name)
	if a.Live == "" || a.SetAside != "" {
		w.Fatalf("activate %s in place: got %+v, want where it is, and nothing set aside", s.Name, a)
	}
	return a
}

// wantNoInPlace wants both to refuse: the question, and the deed.
func (w *world) wantNoInPlace(d dataset.Path, s dataset.Snapshot, doing string, wanted ...error) {
	w.Helper()
	w.want(w.inPlacer().MayActivateInPlace(w.Context(), d, s), "ask to "+doing, wanted...)
	_, err := w.inPlacer().ActivateInPlace(w.Context(), d, s)
	w.want(err, doing, wanted...)
}

func inPlaceWrite(w *world) {
	d, s := w.sent("db", "x")
	before := w.published(d)
	a := w.inPlace(d, s)
	w.wantAt(a.Live, "a", "x")
	w.must(w.WriteAt(a.Live, "a", []byte("changed")), "write")
	w.wantAt(a.Live, "a", "changed")
	w.wantPublished(d, before...)
	w.wantContent(d, s, "a", "x")
	found, err := w.Target().Find(w.Context(), "/", true)
	w.must(err, "find replicas")
	wantPaths(w, found, d)
}

func inPlaceAgain(w *world) {
	d, s := w.sent("db", "x")
	first := w.inPlace(d, s)
	w.must(w.WriteAt(first.Live, "a", []byte("kept")), "write")
	for _, when := range []string{"at once", "after a restart"} {
		if again := w.inPlace(d, s); again != first {
			w.Errorf("%s: got %+v, want %+v", when, again, first)
		}
		w.wantAt(first.Live, "a", "kept")
		w.Reopen()
		w.must(w.Target().Sweep(w.Context()), "sweep")
	}
}

func inPlaceReceive(w *world) {
	d, s1 := w.sent("db", "one")
	w.write(d, "b", "two")
	s2 := w.snap(d)
	increment, full := w.stream(step(d, s1, s2)), w.stream(step(d, dataset.Snapshot{}, s2))
	a := w.inPlace(d, s1)
	for what, s := range map[string]dataset.Step{"an increment": step(d, s1, s2), "a full copy": step(d, dataset.Snapshot{}, s2)} {
		stream := increment
		if s.IsFull() {
			stream = full
		}
		_, err := w.receive(s, stream)
		w.want(err, "receive "+what, dataset.ErrDiverged)
	}
	w.wantPublished(d, s1)
	w.wantAt(a.Live, "a", "one")
	w.wantClean(d)
}

func inPlaceEarlier(w *world) {
	d, s1 := w.sent("db", "one")
	w.write(d, "a", "two")
	s2 := w.snap(d)
	w.transfer(step(d, s1, s2))
	w.wantNoInPlace(d.Path, s1, "activate an earlier point in place", dataset.ErrDiverged)
	w.wantPublished(d, s1, s2)
	w.wantAt(w.inPlace(d, s2).Live, "a", "two")
}

func inPlaceNothing(w *world) {
	d, s := w.sent("db", "x")
	other := s
	other.ID, other.Name = "0123456789abcdef", namePrefix+"other"
	w.wantNoInPlace(d.Path, other, "activate a snapshot in place that is not there", dataset.ErrNotFound)
	w.wantNoInPlace(w.Path("none"), s, "activate no replica in place", dataset.ErrNotFound)
	w.must(w.inPlacer().Rest(w.Context(), w.Path("none")), "make a standby of no replica")
}

func inPlaceBesideCopy(w *world) {
	d, s := w.sent("db", "x")
	a := w.activate(d, s, "aside-1")
	w.must(w.WriteAt(a.Live, "a", []byte("of the copy")), "write")
	w.wantNoInPlace(d.Path, s, "activate in place beside a copy", dataset.ErrExists)
	w.wantAt(a.Live, "a", "of the copy")
	other, o := w.sent("other", "y")
	w.inPlace(other, o)
	_, err := w.Target().Activate(w.Context(), other.Path, o, "aside-1")
	w.want(err, "activate a copy beside what is live itself", dataset.ErrExists)
}

func inPlaceRest(w *world) {
	d, s1 := w.sent("db", "one")
	w.write(d, "b", "two")
	s2 := w.snap(d)
	for _, when := range []string{"at once", "after a restart"} {
		w.inPlace(d, s1)
		w.must(w.inPlacer().Rest(w.Context(), d.Path), "make it a standby %s", when)
		w.must(w.inPlacer().Rest(w.Context(), d.Path), "make it one again")
		w.wantPublished(d, s1)
		w.Reopen()
	}
	w.transfer(step(d, s1, s2))
	w.wantPublished(d, s1, s2)
	w.wantContent(d, s2, "a", "one")
	w.wantContent(d, s2, "b", "two")
}

func inPlaceWritten(w *world) {
	d, s := w.sent("db", "x")
	a := w.inPlace(d, s)
	w.must(w.WriteAt(a.Live, "a", []byte("written")), "write")
	w.want(w.inPlacer().Rest(w.Context(), d.Path), "make it a standby", dataset.ErrDiverged)
	w.wantAt(a.Live, "a", "written")
	w.must(w.WriteAt(a.Live, "b", []byte("more")), "write to what stayed live")
	w.wantAt(a.Live, "b", "more")
	w.wantPublished(d, s)
}

func inPlaceStays(w *world) {
	d, s := w.sent("db", "x")
	a := w.inPlace(d, s)
	_, err := w.disown(d)
	w.want(err, "disown", dataset.ErrRefused)
	_, err = w.move(d, w.Path("elsewhere"))
	w.want(err, "move", dataset.ErrRefused)
	w.wantReplicas(d)
	w.wantAt(a.Live, "a", "x")
}

// inPlaceReturn finds on the target's host an ordinary source's dataset, with the mark
// of the replica and the base that the former source has too.
func inPlaceReturn(w *world) {
	back := ability[Returner](w).SourceAtTarget()
	d, base := w.sent("db", "one")
	w.must(w.Target().SwapMark(w.Context(), d.Path, dataset.Mark{}, markOf(1, "sin1")), "write its mark")
	a := w.inPlace(d, base)
	found, err := back.Find(w.Context(), dataset.Path(a.Live), false)
	w.must(err, "find what is live")
	if len(found) != 1 || found[0].ID == d.ID {
		w.Fatalf("find what is live: got %v, want one with an identity of its own", found)
	}
	if m, err := back.Mark(w.Context(), found[0].Path); err != nil || m.Node != "sin1" {
		w.Errorf("its mark: got %+v, %v, want that of the replica", m, err)
	}
	w.must(w.WriteAt(a.Live, "b", []byte("two")), "write")
	made, err := back.Snapshot(w.Context(), namePrefix+"back", created(9), []dataset.Path{found[0].Path})
	w.must(err, "make snapshot")
	w.wantPublished(d, base)
	list, err := back.Snapshots(w.Context(), found[0].Path)
	w.must(err, "list")
	if len(list) != 2 || list[0].ID != base.ID || list[1].ID != made[0].ID || list[0].Received.IsZero() || !list[1].Received.IsZero() {
		w.Fatalf("listed: got %+v, want the base %s, which was received, and then %s", list, base.ID, made[0].ID)
	}
	w.must(sendFrom(w, back, step(found[0], base, made[0]), dataset.Checkpoint{}), "send on top of the base")
}
