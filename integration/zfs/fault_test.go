//go:build zfs

package zfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"antipode/fsdrivers/dataset"
)

// ownPool makes a pool on a file, which the test may break.
func ownPool(t *testing.T, name string, mib int64) (pool, folder string) {
	t.Helper()
	pool, folder = fmt.Sprintf("antipode-%s-%d", name, os.Getpid()), t.TempDir()
	file := filepath.Join(folder, "disk")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, mib<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, "zpool", "create", "-o", "cachefile=none", "-m", "none", pool, file); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { run(t, "zpool", "destroy", "-f", pool) })
	return pool, folder
}

// reimport exports a pool and imports it again.
func reimport(t *testing.T, pool, folder string, args ...string) {
	t.Helper()
	run(t, "zpool", "export", pool) // it may have been
	args = append([]string{"import", "-o", "cachefile=none", "-d", folder}, args...)
	if _, err := run(t, "zpool", args...); err != nil {
		t.Fatal(err)
	}
}

// onOwnPool is a harness whose target is on a pool of its own, with a dataset of
// which one snapshot has arrived, and the step that comes next.
func onOwnPool(t *testing.T, name string) (h *harness, pool, folder string, next dataset.Step) {
	t.Helper()
	src, _ := pools(t)
	pool, folder = ownPool(t, name, 256)
	h = newHarnessOn(t, &lab{t: t, name: name, files: filesystems{}}, src, pool)
	d := h.Make("db")
	h.must(h.Write(d.Path, "a", []byte("one")))
	s1 := h.snap(d, "1")
	h.sent(stepOf(d, dataset.Snapshot{}, s1))
	h.must(h.Write(d.Path, "b", noise(4<<20)))
	return h, pool, folder, stepOf(d, s1, h.snap(d, "2"))
}

// sent sends and receives a step.
func (h *harness) sent(s dataset.Step) {
	h.t.Helper()
	h.must(h.receive(s, bytes.NewReader(h.all(s, dataset.Checkpoint{}))))
}

// arrives goes on with a step from wherever it is, and compares what arrived.
func (h *harness) arrives(s dataset.Step) {
	h.t.Helper()
	h.must(h.target.Sweep(h.t.Context()))
	c, err := h.target.Pending(h.t.Context(), s.Dataset.Path)
	h.must(err)
	h.must(h.receive(s, bytes.NewReader(h.all(s, c))))
	h.same(s, "a", []byte("one"))
	h.same(s, "b", noise(4<<20))
}

func (h *harness) same(s dataset.Step, file string, want []byte) {
	h.t.Helper()
	got, err := h.Read(s.Dataset.Path, s.To.Name, file)
	if err != nil || !bytes.Equal(got, want) {
		h.t.Errorf("%s of %s: got %d bytes, %v, want the %d that were written", file, s.To.Name, len(got), err, len(want))
	}
}

// tells checks that an error is of a kind, and says of what and what to do.
func tells(t *testing.T, err, kind error, words ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("got %v, want %v", err, kind)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("got %q, want %q in it", err, word)
		}
	}
	t.Logf("the operator reads: %v", err)
}

func TestAFullPoolIsNamedAndGoneOnFrom(t *testing.T) {
	h, pool, _, next := onOwnPool(t, "full")
	// Another dataset reserves all but two megabytes.
	free := 0
	if _, err := fmt.Sscan(h.zfs("list", "-Hp", "-o", "available", pool), &free); err != nil {
		t.Fatal(err)
	}
	h.zfs("create", "-o", "canmount=off", "-o", "reservation="+fmt.Sprint(free-2<<20), pool+"/other")
	err := h.receive(next, bytes.NewReader(h.all(next, dataset.Checkpoint{})))
	tells(t, err, dataset.ErrNoSpace, h.to, "make room")
	h.zfs("destroy", pool+"/other")
	h.arrives(next)
}

func TestAQuotaIsNamedAndGoneOnFrom(t *testing.T) {
	h, _, _, next := onOwnPool(t, "quota")
	h.Fill(1 << 20)
	err := h.receive(next, bytes.NewReader(h.all(next, dataset.Checkpoint{})))
	tells(t, err, dataset.ErrNoSpace, h.to, "quota")
	h.Drain()
	h.arrives(next)
}

func TestAReadOnlyPoolIsTold(t *testing.T) {
	h, pool, folder, next := onOwnPool(t, "readonly")
	reimport(t, pool, folder, "-o", "readonly=on", pool)
	err := h.receive(next, bytes.NewReader(h.all(next, dataset.Checkpoint{})))
	tells(t, err, err, pool, "import it writable")
	if found := h.target.Probe(t.Context()); len(found) != 1 || !found[0].Fatal || !strings.Contains(found[0].What, "read-only") {
		t.Errorf("probe: got %v, want the pool that is read-only", found)
	}
	if list, err := h.target.Snapshots(t.Context(), next.Dataset.Path); err != nil || len(list) != 1 {
		t.Errorf("it can still be listed: got %v, %v", list, err)
	}
	reimport(t, pool, folder, pool)
	h.arrives(next)
}

// TestAPoolIsExportedUnderATransfer: a pool that is in use stays; one that went
// between two tries is missed, and the transfer goes on when it is back.
func TestAPoolIsExportedUnderATransfer(t *testing.T) {
	h, pool, folder, next := onOwnPool(t, "exported")
	whole := h.all(next, dataset.Checkpoint{})
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- h.receive(next, r) }()
	if _, err := w.Write(whole[:len(whole)/2]); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, "zpool", "export", pool); err == nil {
		t.Errorf("the pool of a running receive was exported: %s", out)
	}
	w.CloseWithError(io.ErrUnexpectedEOF)
	if err := <-done; !errors.Is(err, dataset.ErrCut) {
		t.Fatalf("got %v, want cut", err)
	}
	if _, err := run(t, "zpool", "export", pool); err != nil {
		t.Fatal(err)
	}
	tells(t, h.receive(next, bytes.NewReader(whole)), dataset.ErrNotFound, pool, "pool")
	_, err := h.target.Pending(t.Context(), next.Dataset.Path)
	tells(t, err, dataset.ErrNotFound, pool)
	if found := h.target.Probe(t.Context()); len(found) == 0 || !found[0].Fatal || found[0].Cure == "" {
		t.Errorf("probe: got %v, want a pool that is gone", found)
	}
	reimport(t, pool, folder, pool)
	if c, err := h.target.Pending(t.Context(), next.Dataset.Path); err != nil || c.Done == 0 {
		t.Errorf("after the import: got %+v, %v, want the checkpoint", c, err)
	}
	h.arrives(next)
}

// TestAPoolIsImportedUnderAnotherName: Into is not where it was; named anew, it
// goes on.
func TestAPoolIsImportedUnderAnotherName(t *testing.T) {
	h, pool, folder, next := onOwnPool(t, "renamed")
	other := pool + "-other"
	reimport(t, pool, folder, pool, other)
	t.Cleanup(func() { run(t, "zpool", "destroy", "-f", other) })
	whole := h.all(next, dataset.Checkpoint{})
	tells(t, h.receive(next, bytes.NewReader(whole)), dataset.ErrNotFound, pool)
	found := h.target.Probe(t.Context())
	if len(found) == 0 || !strings.Contains(found[len(found)-1].Cure, "`into`") {
		t.Errorf("probe: got %v, want that `into` has to change", found)
	}
	h.to = other + strings.TrimPrefix(h.to, pool)
	h.Reopen()
	h.arrives(next)
	if list, err := h.target.Snapshots(t.Context(), next.Dataset.Path); err != nil || len(list) != 2 {
		t.Errorf("got %v, %v, want both points", list, err)
	}
}

// TestASourceThatWasRenamedIsTold: what is planned for one name is not done to
// another.
func TestASourceThatWasRenamedIsTold(t *testing.T) {
	h := newHarness(t, &lab{t: t, name: "elsewhere", files: filesystems{}})
	d := h.Make("db")
	s := stepOf(d, dataset.Snapshot{}, h.snap(d, "1"))
	h.zfs("rename", string(d.Path), string(d.Path)+" away")
	_, err := h.source.Send(t.Context(), s, dataset.Checkpoint{})
	tells(t, err, dataset.ErrNotFound, string(d.Path), "renamed")
	h.Make("db")
	_, err = h.source.Send(t.Context(), s, dataset.Checkpoint{})
	tells(t, err, dataset.ErrNotFound, string(d.Path), string(d.ID))
}

// TestASnapshotDestroyedByHand: one that is being sent cannot be; one that is gone
// before the send goes on is told, and so is its token on the target.
func TestASnapshotDestroyedByHand(t *testing.T) {
	h := newHarness(t, &lab{t: t, name: "by hand", files: filesystems{}})
	d := h.Make("db")
	h.must(h.Write(d.Path, "a", noise(4<<20)))
	s := stepOf(d, dataset.Snapshot{}, h.snap(d, "1"))
	r, err := h.source.Send(t.Context(), s, dataset.Checkpoint{})
	h.must(err)
	defer r.Close()
	head := make([]byte, 1000)
	_, err = io.ReadFull(r, head)
	h.must(err)
	if out, err := run(t, "zfs", "destroy", string(d.Path)+"@antipode_1"); err == nil {
		t.Errorf("a snapshot was destroyed while it was sent: %s", out)
	}
	h.must(h.receive(s, io.MultiReader(bytes.NewReader(head), r)))
	h.same(s, "a", noise(4<<20))
}

func TestAForeignSnapshotOnTheStandbyIsToldAndLeft(t *testing.T) {
	h, _, _, next := onOwnPool(t, "foreign")
	replica, err := h.received(next.Dataset.Path, next.From.Name)
	h.must(err)
	h.zfs("snapshot", replica+"@daily")
	whole := h.all(next, dataset.Checkpoint{})
	tells(t, h.receive(next, bytes.NewReader(whole)), dataset.ErrDiverged, replica+"@daily", "auto-snapshotter")
	h.zfs("list", replica+"@daily") // it is there
	h.zfs("destroy", replica+"@daily")
	h.arrives(next)
}

func TestAWriteOnTheStandbyIsToldAndLeft(t *testing.T) {
	h, _, _, next := onOwnPool(t, "written")
	replica, err := h.received(next.Dataset.Path, next.From.Name)
	h.must(err)
	at := t.TempDir()
	h.zfs("set", "readonly=off", "mountpoint="+at, replica)
	t.Cleanup(func() { run(t, "zfs", "unmount", replica) })
	h.must(h.lab.files.write(t, replica, "mine", []byte("kept")))
	whole := h.all(next, dataset.Checkpoint{})
	tells(t, h.receive(next, bytes.NewReader(whole)), dataset.ErrDiverged, replica, "nothing is rolled back")
	if got, err := h.lab.files.read(t, replica, "mine"); err != nil || string(got) != "kept" {
		t.Errorf("what was written: got %q, %v", got, err)
	}
	if list, err := h.target.Snapshots(t.Context(), next.Dataset.Path); err != nil || len(list) != 1 {
		t.Errorf("points: got %v, %v, want the one that was there", list, err)
	}
}
