package drivertest

import (
	"reflect"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

func activateCases() []testCase {
	return []testCase{
		{"an activated standby can be written", activateWrite},
		{"a received snapshot keeps its identity and content", activateKeeps},
		{"an incremental applies after an activation", activateIncremental},
		{"activating again is success", activateAgain},
		{"what was live is set aside", activateAside},
		{"a name that is taken is not overwritten", activateTaken},
		{"what is not there cannot be activated", activateNothing},
		{"an earlier point can be activated", activateEarlier},
		{"a fenced dataset cannot be written", fence},
		{"a fenced dataset can still be sent", fenceSend},
		{"what is not there cannot be fenced", fenceNothing},
	}
}

func returnCases() []testCase {
	return []testCase{{"an activated dataset has its base for the way back", activateReturn}}
}

func (w *world) activate(d dataset.Dataset, s dataset.Snapshot, aside string) fsdrivers.Activated {
	w.Helper()
	a, err := w.Target().Activate(w.Context(), d.Path, s, aside)
	w.must(err, "activate %s", s.Name)
	if a.Live == "" {
		w.Fatalf("activate %s: got %+v, want where it is", s.Name, a)
	}
	return a
}

func (w *world) wantAt(where, file, want string) {
	w.Helper()
	got, err := w.ReadAt(where, file)
	if err != nil || string(got) != want {
		w.Errorf("%s in %s: got %.40q, %v, want %.40q", file, where, got, err, want)
	}
}

func activateWrite(w *world) {
	d, s := w.sent("db", "x")
	a := w.activate(d, s, "aside-1")
	if a.SetAside != "" {
		w.Errorf("set aside: got %q, want nothing", a.SetAside)
	}
	w.wantAt(a.Live, "a", "x")
	w.must(w.WriteAt(a.Live, "a", []byte("changed")), "write")
	w.must(w.WriteAt(a.Live, "new", []byte("new")), "write")
	w.wantAt(a.Live, "a", "changed")
	w.wantAt(a.Live, "new", "new")
}

func activateKeeps(w *world) {
	d, s := w.sent("db", "x")
	before := w.published(d)
	a := w.activate(d, s, "aside-1")
	w.must(w.WriteAt(a.Live, "a", []byte("changed")), "write")
	if after := w.published(d); !reflect.DeepEqual(after, before) {
		w.Errorf("published: got %+v, want %+v", after, before)
	}
	w.wantContent(d, s, "a", "x")
	found, err := w.Target().Find(w.Context(), "/", true)
	w.must(err, "find replicas")
	wantPaths(w, found, d)
}

func activateIncremental(w *world) {
	d, s1 := w.sent("db", "one")
	a := w.activate(d, s1, "aside-1")
	w.must(w.WriteAt(a.Live, "a", []byte("changed")), "write")
	w.write(d, "b", "two")
	s2 := w.snap(d)
	w.transfer(step(d, s1, s2))
	w.wantPublished(d, s1, s2)
	w.wantContent(d, s2, "a", "one")
	w.wantContent(d, s2, "b", "two")
	w.wantAt(a.Live, "a", "changed")
}

func activateAgain(w *world) {
	d, s := w.sent("db", "x")
	first := w.activate(d, s, "aside-1")
	w.must(w.WriteAt(first.Live, "a", []byte("kept")), "write")
	for _, when := range []string{"at once", "after a restart"} {
		if again := w.activate(d, s, "aside-1"); again.Live != first.Live {
			w.Errorf("%s: got %+v, want %+v", when, again, first)
		}
		w.wantAt(first.Live, "a", "kept")
		w.Reopen()
	}
}

func activateAside(w *world) {
	d, s1 := w.sent("db", "one")
	first := w.activate(d, s1, "aside-1")
	w.must(w.WriteAt(first.Live, "a", []byte("diverged")), "write")
	w.write(d, "a", "two")
	s2 := w.snap(d)
	w.transfer(step(d, s1, s2))
	second := w.activate(d, s2, "aside-2")
	if second.Live != first.Live || second.SetAside == "" || second.SetAside == second.Live {
		w.Fatalf("got %+v after %+v", second, first)
	}
	w.wantAt(second.Live, "a", "two")
	w.wantAt(second.SetAside, "a", "diverged")
	w.Reopen()
	if again := w.activate(d, s2, "aside-2"); again != second {
		w.Errorf("again: got %+v, want %+v", again, second)
	}
	w.wantAt(second.SetAside, "a", "diverged")
}

func activateTaken(w *world) {
	d, s1 := w.sent("db", "one")
	w.write(d, "a", "two")
	s2 := w.snap(d)
	w.transfer(step(d, s1, s2))
	w.activate(d, s1, "aside-1")
	a := w.activate(d, s2, "aside-2")
	_, err := w.Target().Activate(w.Context(), d.Path, s1, "aside-2")
	w.want(err, "set aside under a name that is taken", dataset.ErrExists)
	w.wantAt(a.Live, "a", "two")
	w.wantAt(a.SetAside, "a", "one")
}

func activateNothing(w *world) {
	d, s := w.sent("db", "x")
	other := s
	other.ID = "01234567-89ab-cdef-0123-456789abcdef"
	other.Name = namePrefix + "other"
	_, err := w.Target().Activate(w.Context(), d.Path, other, "aside-1")
	w.want(err, "activate a snapshot that is not there", dataset.ErrNotFound)
	_, err = w.Target().Activate(w.Context(), w.Path("none"), s, "aside-1")
	w.want(err, "activate no replica", dataset.ErrNotFound)
}

func activateEarlier(w *world) {
	d, s1 := w.sent("db", "one")
	w.write(d, "a", "two")
	s2 := w.snap(d)
	w.transfer(step(d, s1, s2))
	w.wantAt(w.activate(d, s1, "aside-1").Live, "a", "one")
	w.wantPublished(d, s1, s2)
}

// activateReturn finds on the target's host a dataset that is an ordinary
// source's, and whose base the former source has too.
func activateReturn(w *world) {
	back := ability[Returner](w).SourceAtTarget()
	d, base := w.sent("db", "one")
	a := w.activate(d, base, "aside-1")
	found, err := back.Find(w.Context(), dataset.Path(a.Live), false)
	w.must(err, "find what is live")
	if len(found) != 1 || found[0].ID == d.ID || found[0].ID == base.ID {
		w.Fatalf("find what is live: got %v, want one with an identity of its own", found)
	}
	w.must(w.WriteAt(a.Live, "b", []byte("two")), "write")
	made, err := back.Snapshot(w.Context(), namePrefix+"back", created(9), []dataset.Path{found[0].Path})
	w.must(err, "make snapshot")
	list, err := back.Snapshots(w.Context(), found[0].Path)
	w.must(err, "list")
	if len(list) != 2 || list[0].ID != base.ID || list[1].ID != made[0].ID {
		w.Errorf("listed: got %v, want the base %s and then %s", list, base.ID, made[0].ID)
	}
	w.must(sendFrom(w, back, step(found[0], base, made[0]), dataset.Checkpoint{}), "send on top of the base")
}

func fence(w *world) {
	d := w.dataset("db", "x")
	w.must(w.Source().Fence(w.Context(), d.Path), "fence")
	w.must(w.Source().Fence(w.Context(), d.Path), "fence again")
	if err := w.Write(d.Path, "a", []byte("y")); err == nil {
		w.Error("write to a fenced dataset: got no error")
	}
	w.Reopen()
	if err := w.Write(d.Path, "b", []byte("y")); err == nil {
		w.Error("write to a fenced dataset after a restart: got no error")
	}
}

func fenceSend(w *world) {
	d, s1 := w.sent("db", "one")
	w.write(d, "a", "two")
	s2 := w.snap(d)
	w.must(w.Source().Fence(w.Context(), d.Path), "fence")
	w.transfer(step(d, s1, s2))
	w.wantContent(d, s2, "a", "two")
	w.must(w.Source().Hold(w.Context(), d.Path, s2, tag), "hold")
	w.must(w.Source().SwapMark(w.Context(), d.Path, dataset.Mark{}, markOf(1, "sin1")), "write its mark")
	w.must(w.Source().Destroy(w.Context(), d.Path, s1), "destroy")
}

func fenceNothing(w *world) {
	w.want(w.Source().Fence(w.Context(), w.Path("none")), "fence", dataset.ErrNotFound)
}
