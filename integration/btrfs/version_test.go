package btrfs

import (
	"path/filepath"
	"testing"
	"time"

	"antipode/fsdrivers/dataset"
)

// A flag is no entry of a directory: the newest snapshot is looked at for its own
// sake, since the next step builds on it.
func TestANewestSnapshotThatIsMadeWritableIsNoticed(t *testing.T) {
	l := &lab{t: t}
	t.Run("flags/newest", func(t *testing.T) { madeWritable(t, newHarness(t, l)) })
}

func madeWritable(t *testing.T, h *harness) {
	d := h.Make("db")
	h.must(h.Write(d.Path, "a", []byte("one")))
	made, err := h.source.Snapshot(t.Context(), "antipode_x", time.Now(), []dataset.Path{d.Path})
	h.must(err)
	step := dataset.Step{Job: "db", Dataset: d, To: made[0]}
	stream, err := h.source.Send(t.Context(), step, dataset.Checkpoint{})
	h.must(err)
	_, err = h.target.Receive(t.Context(), dataset.Incoming{Step: step}, stream)
	h.must(err)
	h.must(stream.Close())
	versions := func() (near, far string) {
		h.Settle()
		a, err := h.source.Versions(t.Context(), []dataset.Path{d.Path})
		h.must(err)
		b, err := h.target.Versions(t.Context(), []dataset.Path{d.Path})
		h.must(err)
		return a[0], b[0]
	}
	if near, far := versions(); near != "" || far != "" {
		t.Errorf("versions %q and %q before anything was listed, want none", near, far)
	}
	_, err = h.source.Snapshots(t.Context(), d.Path)
	h.must(err)
	_, err = h.target.Snapshots(t.Context(), d.Path)
	h.must(err)
	near, far := versions()
	if near == "" || far == "" {
		t.Fatalf("versions %q and %q, want both", near, far)
	}
	h.tool("btrfs", "property", "set", "-f", filepath.Join(string(d.Path), ".antipode", "antipode_x"), "ro", "false")
	h.tool("btrfs", "property", "set", "-f", filepath.Join(h.into(), string(d.Path), "antipode_x"), "ro", "false")
	if n, f := versions(); n == near || f == far {
		t.Errorf("versions %q and %q stayed when the snapshots became writable", n, f)
	}
}
