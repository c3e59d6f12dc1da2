package drivertest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"testing"
	"time"

	"antipode/fsdrivers/dataset"
)

const (
	// patience decides no verdict but this: what takes longer hangs.
	patience = time.Minute
	// big is more than any pipe or buffer between a stream's two ends holds.
	big = 4 << 20

	namePrefix = "antipode_drivertest_"
	tag        = dataset.Tag("base.drivertest")
)

// world is one case's pair of file systems. Its methods fail the case.
type world struct {
	*testing.T
	Harness
	snaps int // made so far
}

func newWorld(t *testing.T, h Harness) *world { return &world{T: t, Harness: h} }

// must fails the case at once.
func (w *world) must(err error, doing string, args ...any) {
	w.Helper()
	if err != nil {
		w.Fatalf("%s: %v", fmt.Sprintf(doing, args...), err)
	}
}

// want fails if err is none of the wanted.
func (w *world) want(err error, doing string, wanted ...error) {
	w.Helper()
	for _, want := range wanted {
		if errors.Is(err, want) {
			return
		}
	}
	w.Errorf("%s: got error %v, want %v", doing, err, wanted)
}

// ends fails if do does not return.
func (w *world) ends(what string, do func()) {
	w.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case <-done:
	case <-timeout.C:
		w.Fatalf("%s: has not returned", what)
	}
}

// noise is that many bytes that do not compress, the same for the same seed.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b) // never fails
	return b
}

// write writes text to a file of a live dataset.
func (w *world) write(d dataset.Dataset, file, text string) {
	w.Helper()
	w.must(w.Write(d.Path, file, []byte(text)), "write %s", file)
}

// dataset makes one that holds a file a with that text.
func (w *world) dataset(name, text string) dataset.Dataset {
	w.Helper()
	d := w.Make(name)
	w.write(d, "a", text)
	return d
}

// created is when the n-th snapshot of a case was made.
func created(n int) time.Time {
	return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).Add(time.Duration(n) * time.Hour)
}

// snap makes the case's next snapshot of d.
func (w *world) snap(d dataset.Dataset) dataset.Snapshot {
	w.Helper()
	w.snaps++
	return w.snapAs(d, fmt.Sprintf("%s%02d", namePrefix, w.snaps))
}

func (w *world) snapAs(d dataset.Dataset, name string) dataset.Snapshot {
	w.Helper()
	made, err := w.Source().Snapshot(w.Context(), name, created(w.snaps), []dataset.Path{d.Path})
	w.must(err, "make snapshot %s of %s", name, d.Path)
	if len(made) != 1 {
		w.Fatalf("make snapshot %s: got %d snapshots, want 1", name, len(made))
	}
	return made[0]
}

// step is the send of to, on top of from unless that is zero.
func step(d dataset.Dataset, from, to dataset.Snapshot) dataset.Step {
	return dataset.Step{Job: "drivertest", Dataset: d, From: from, To: to}
}

// incoming is the step as the target gets it. Its Retain differs from Created.
func incoming(s dataset.Step) dataset.Incoming {
	return dataset.Incoming{Step: s, Retain: s.To.Created.Add(time.Minute)}
}

// stream is all of a step's send stream.
func (w *world) stream(s dataset.Step) []byte {
	w.Helper()
	r, err := w.Source().Send(w.Context(), s, dataset.Checkpoint{})
	w.must(err, "send %s", s.To.Name)
	b, err := io.ReadAll(r)
	w.must(err, "read the send stream of %s", s.To.Name)
	w.must(r.Close(), "close the send stream of %s", s.To.Name)
	return b
}

// receive hands a stream to the target, in pieces as a link does: what a driver does
// between two of them it does not do for one that is there at once.
func (w *world) receive(s dataset.Step, stream []byte) (dataset.Snapshot, error) {
	return w.Target().Receive(w.Context(), incoming(s), pieces{bytes.NewReader(stream)})
}

// pieces reads at most 64 KiB at once.
type pieces struct{ r io.Reader }

func (p pieces) Read(b []byte) (int, error) { return p.r.Read(b[:min(len(b), 64<<10)]) }

// transfer sends and receives a step as a daemon does, and returns what was
// published.
func (w *world) transfer(s dataset.Step) dataset.Snapshot {
	w.Helper()
	r, err := w.Source().Send(w.Context(), s, dataset.Checkpoint{})
	w.must(err, "send %s", s.To.Name)
	defer r.Close()
	got, err := w.Target().Receive(w.Context(), incoming(s), r)
	w.must(err, "receive %s", s.To.Name)
	return got
}

// sent makes a dataset with one snapshot, on both sides.
func (w *world) sent(name, text string) (dataset.Dataset, dataset.Snapshot) {
	w.Helper()
	d := w.dataset(name, text)
	s := w.snap(d)
	w.transfer(step(d, dataset.Snapshot{}, s))
	return d, s
}

// published is the target's list.
func (w *world) published(d dataset.Dataset) []dataset.Snapshot {
	w.Helper()
	list, err := w.Target().Snapshots(w.Context(), d.Path)
	w.must(err, "list what is published of %s", d.Path)
	return list
}

// wantPublished compares the target's list, by identity.
func (w *world) wantPublished(d dataset.Dataset, want ...dataset.Snapshot) {
	w.Helper()
	wantIDs(w, "published on the target", w.published(d), want)
}

func wantIDs(w *world, what string, got, want []dataset.Snapshot) {
	w.Helper()
	text := func(list []dataset.Snapshot) (s string) {
		for _, snap := range list {
			s += fmt.Sprintf(" %s=%s", snap.Name, snap.ID)
		}
		return s
	}
	if text(got) != text(want) {
		w.Errorf("%s: got%s, want%s", what, text(got), text(want))
	}
}

// wantContent compares a file of a published snapshot.
func (w *world) wantContent(d dataset.Dataset, s dataset.Snapshot, file, want string) {
	w.Helper()
	got, err := w.Read(d.Path, s.Name, file)
	if err != nil || string(got) != want {
		w.Errorf("%s of %s on the target: got %.40q (%d bytes), %v, want %.40q (%d bytes)",
			file, s.Name, got, len(got), err, want, len(want))
	}
}

// wantNoFile checks that a published snapshot lacks a file.
func (w *world) wantNoFile(d dataset.Dataset, s dataset.Snapshot, file string) {
	w.Helper()
	_, err := w.Read(d.Path, s.Name, file)
	w.want(err, fmt.Sprintf("read %s of %s", file, s.Name), fs.ErrNotExist, dataset.ErrNotFound)
}

// wantClean checks that a receive that failed left nothing that nobody can go on
// from, where the harness can tell.
func (w *world) wantClean(d dataset.Dataset) {
	w.Helper()
	l, ok := w.Harness.(Litterer)
	c, err := w.Target().Pending(w.Context(), d.Path)
	w.must(err, "pending")
	if !ok || !c.IsZero() {
		return
	}
	if left := l.Leftovers(); len(left) != 0 {
		w.Errorf("a receive that failed left %q, and nothing can go on from it", left)
	}
}
