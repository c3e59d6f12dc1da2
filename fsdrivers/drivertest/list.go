package drivertest

import (
	"slices"
	"strings"
	"time"

	"antipode/fsdrivers/dataset"
)

func listCases() []testCase {
	return []testCase{
		{"a deep search may start at a directory", searchDirectory},
		{"what is no dataset is told from what is not there", notDataset},
		{"a source does not find read-only datasets", findReadOnly},
		{"hard names are found and sent", hardNames},
		{"an identity outlives the driver", identityDurable},
		{"a target finds its replicas under the source's names", findReplicas},
		{"a target without replicas finds none", findNoReplicas},
	}
}

// nestedCases have datasets below datasets.
func nestedCases() []testCase {
	return []testCase{
		{"a deep search finds what is below, sorted", deepSearch},
		{"a shallow search finds the dataset alone", shallowSearch},
		{"replicas are apart", replicasApart},
	}
}

// wantPaths compares what Find found, and that every identity is one.
func wantPaths(w *world, got []dataset.Dataset, want ...dataset.Dataset) {
	w.Helper()
	if !slices.Equal(got, want) {
		w.Errorf("got %v, want %v", got, want)
	}
	for _, d := range got {
		if _, err := dataset.ParseID(string(d.ID)); err != nil {
			w.Errorf("%s: %v", d.Path, err)
		}
	}
}

func deepSearch(w *world) {
	tree := w.Make("tree")
	b, a := w.Make("tree/b"), w.Make("tree/a")
	deep := w.Make("tree/a/deep")
	w.Make("treetop") // a prefix, and not below
	w.snap(tree)      // nor is what the driver keeps there
	w.snap(b)
	got, err := w.Source().Find(w.Context(), tree.Path, true)
	w.must(err, "find below %s", tree.Path)
	wantPaths(w, got, tree, a, deep, b)
}

func shallowSearch(w *world) {
	tree := w.Make("tree")
	w.Make("tree/a")
	got, err := w.Source().Find(w.Context(), tree.Path, false)
	w.must(err, "find %s", tree.Path)
	wantPaths(w, got, tree)
}

func searchDirectory(w *world) {
	dir := w.MakeDir("dir")
	x := w.Make("dir/x")
	got, err := w.Source().Find(w.Context(), dir, true)
	w.must(err, "find below %s", dir)
	wantPaths(w, got, x)
}

func notDataset(w *world) {
	dir := w.MakeDir("dir")
	_, err := w.Source().Find(w.Context(), dir, false)
	w.want(err, "find a directory", dataset.ErrNotDataset)
	_, err = w.Source().Snapshots(w.Context(), dir)
	w.want(err, "snapshots of a directory", dataset.ErrNotDataset)
	_, err = w.Source().Find(w.Context(), w.Path("none"), false)
	w.want(err, "find what is not there", dataset.ErrNotFound)
	_, err = w.Source().Find(w.Context(), w.Path("none"), true)
	w.want(err, "find below what is not there", dataset.ErrNotFound)
	_, err = w.Source().Snapshots(w.Context(), w.Path("none"))
	w.want(err, "snapshots of what is not there", dataset.ErrNotFound)
}

func findReadOnly(w *world) {
	dir := w.MakeDir("dir")
	x, y := w.Make("dir/x"), w.Make("dir/y")
	w.must(w.Source().Fence(w.Context(), x.Path), "fence")
	got, err := w.Source().Find(w.Context(), dir, true)
	w.must(err, "find below %s", dir)
	wantPaths(w, got, y)
	if got, err := w.Source().Find(w.Context(), x.Path, false); len(got) != 0 {
		w.Errorf("find the read-only one itself: got %v, %v", got, err)
	}
}

func hardNames(w *world) {
	w.MakeDir("dir")
	names := []string{
		"with space", "-dash", "--help", "ünïcode-日本", "e\u0301", "a'b\"c;$(x)`y`", "*", "100%", "back\\slash",
		strings.Repeat("n", 200),
	}
	if n, ok := w.Harness.(Namer); ok {
		names = n.HardNames()
	}
	for i, name := range names {
		d := w.dataset("dir/"+name, name)
		s := w.snap(d)
		w.transfer(step(d, dataset.Snapshot{}, s))
		w.wantPublished(d, s)
		w.wantContent(d, s, "a", name)
		found, err := w.Source().Find(w.Context(), d.Path, false)
		w.must(err, "find %q", name)
		wantPaths(w, found, d)
		all, err := w.Source().Find(w.Context(), w.Path("dir"), true)
		if err != nil || len(all) != i+1 {
			w.Errorf("find below: got %d, %v, want %d with %q", len(all), err, i+1, name)
		}
	}
}

func identityDurable(w *world) {
	d := w.Make("db")
	w.Reopen()
	got, err := w.Source().Find(w.Context(), d.Path, false)
	w.must(err, "find %s", d.Path)
	wantPaths(w, got, d)
}

func findReplicas(w *world) {
	b, _ := w.sent("b", "x")
	a, _ := w.sent("a", "y")
	for _, when := range []string{"at once", "after a restart"} {
		got, err := w.Target().Find(w.Context(), "/", true)
		w.must(err, "find replicas %s", when)
		wantPaths(w, got, a, b)
		w.Reopen()
	}
}

func findNoReplicas(w *world) {
	got, err := w.Target().Find(w.Context(), "/", true)
	w.must(err, "find replicas")
	wantPaths(w, got)
	list, err := w.Target().Snapshots(w.Context(), w.Path("none"))
	if err != nil || len(list) != 0 {
		w.Errorf("snapshots of no replica: got %v, %v, want none", list, err)
	}
}

func snapshotCases() []testCase {
	return []testCase{
		{"a snapshot has a name, an identity and times", snapshotFacts},
		{"a snapshot that exists is returned as it is", snapshotAgain},
		{"snapshots are listed in the order in which they were made", snapshotOrder},
		{"several datasets are snapshotted in the order given", snapshotSet},
		{"a snapshot outlives the driver", snapshotDurable},
		{"what is no dataset cannot be snapshotted", snapshotNothing},
	}
}

func snapshotFacts(w *world) {
	d := w.dataset("db", "x")
	before, err := w.Source().Snapshots(w.Context(), d.Path)
	if err != nil || len(before) != 0 {
		w.Errorf("before: got %v, %v, want none", before, err)
	}
	s := w.snap(d)
	if _, err := dataset.ParseID(string(s.ID)); err != nil {
		w.Error(err)
	}
	if s.ID == d.ID {
		w.Errorf("the snapshot has the identity of its dataset, %s", s.ID)
	}
	if want := created(1); !s.Created.Equal(want) || !s.Retain.Equal(want) || s.Created.Location() != time.UTC {
		w.Errorf("got created %v, retain %v, want both %v", s.Created, s.Retain, want)
	}
	if !s.Received.IsZero() || len(s.Holds) != 0 {
		w.Errorf("got received %v, holds %v, want neither", s.Received, s.Holds)
	}
}

func snapshotAgain(w *world) {
	d := w.dataset("db", "old")
	first := w.snap(d)
	w.write(d, "a", "new")
	made, err := w.Source().Snapshot(w.Context(), first.Name, created(9), []dataset.Path{d.Path})
	w.must(err, "make it again")
	wantIDs(w, "made again", made, []dataset.Snapshot{first})
	if !made[0].Created.Equal(first.Created) {
		w.Errorf("created: got %v, want %v as it was", made[0].Created, first.Created)
	}
	w.transfer(step(d, dataset.Snapshot{}, first))
	w.wantContent(d, first, "a", "old")
}

func snapshotOrder(w *world) {
	d := w.dataset("db", "x")
	var want []dataset.Snapshot
	for i, name := range []string{"c", "a", "b"} {
		made, err := w.Source().Snapshot(w.Context(), namePrefix+name, created(10-i), []dataset.Path{d.Path})
		w.must(err, "make snapshot %s", name)
		want = append(want, made...)
		w.write(d, "a", name)
	}
	got, err := w.Source().Snapshots(w.Context(), d.Path)
	w.must(err, "list")
	wantIDs(w, "listed", got, want)
	if len(got) == 3 && (got[0].Order >= got[1].Order || got[1].Order >= got[2].Order) {
		w.Errorf("orders do not rise: %d, %d, %d", got[0].Order, got[1].Order, got[2].Order)
	}
}

func snapshotSet(w *world) {
	a, b := w.dataset("a", "x"), w.dataset("b", "y")
	made, err := w.Source().Snapshot(w.Context(), namePrefix+"set", created(0), []dataset.Path{b.Path, a.Path})
	w.must(err, "make two")
	if len(made) != 2 || made[0].Name != made[1].Name || made[0].ID == made[1].ID {
		w.Fatalf("got %v, want two of one name", made)
	}
	w.transfer(step(b, dataset.Snapshot{}, made[0]))
	w.wantContent(b, made[0], "a", "y")
}

func snapshotDurable(w *world) {
	d := w.dataset("db", "x")
	want := w.snap(d)
	w.Reopen()
	got, err := w.Source().Snapshots(w.Context(), d.Path)
	w.must(err, "list")
	wantIDs(w, "listed", got, []dataset.Snapshot{want})
	if len(got) == 1 && !got[0].Created.Equal(want.Created) {
		w.Errorf("created: got %v, want %v", got[0].Created, want.Created)
	}
}

func snapshotNothing(w *world) {
	_, err := w.Source().Snapshot(w.Context(), namePrefix+"x", created(0), []dataset.Path{w.Path("none")})
	w.want(err, "snapshot what is not there", dataset.ErrNotFound)
	_, err = w.Source().Snapshot(w.Context(), namePrefix+"x", created(0), []dataset.Path{w.MakeDir("dir")})
	w.want(err, "snapshot a directory", dataset.ErrNotDataset)
}
