//go:build zfs

package zfs

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs"
)

// TestInPlaceAndBack: a standby goes live itself and is written to; the former
// primary, which wrote too, is adopted as its standby, takes in the way back as one
// increment and goes live again. What diverged is there at the end.
func TestInPlaceAndBack(t *testing.T) {
	for name, kind := range kinds(t) {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, &lab{t: t, name: "back " + name, files: kind})
			d := h.Make("db")
			h.must(h.Write(d.Path, "a", noise(300_000)))
			s1 := h.snap(d, "1")
			h.sent(stepOf(d, dataset.Snapshot{}, s1))
			h.must(h.Write(d.Path, "lost", []byte("written before the primary died")))

			live := h.inPlace(h.target, d.Path, s1)
			h.must(h.WriteAt(live, "b", []byte("written on the standby")))
			after := stepOf(d, s1, h.snap(d, "2"))
			tells(t, h.receive(after, bytes.NewReader(h.all(after, dataset.Checkpoint{}))), dataset.ErrDiverged, "in place")
			tells(t, h.target.Rest(t.Context(), d.Path), dataset.ErrDiverged, live)

			h.back(live, d, s1)
		})
	}
}

// inPlace activates with whatever key it takes.
func (h *harness) inPlace(target *zfs.Target, d dataset.Path, s dataset.Snapshot) string {
	h.t.Helper()
	a, err := target.ActivateInPlace(h.t.Context(), d, s)
	if err != nil && strings.Contains(err.Error(), "zfs load-key") {
		f, _ := h.lab.files.(filesystems)
		_, where, _ := strings.Cut(err.Error(), "`zfs load-key ")
		where, _, _ = strings.Cut(where, "`")
		h.zfs("load-key", "-L", "file://"+f.key, where)
		a, err = target.ActivateInPlace(h.t.Context(), d, s)
	}
	h.must(err)
	again, err := target.ActivateInPlace(h.t.Context(), d, s)
	if err == nil && again != a {
		h.t.Errorf("again: got %+v, want %+v", again, a)
	} else if err != nil && !errors.Is(err, dataset.ErrDiverged) {
		h.t.Error(err)
	}
	return a.Live
}

// back sends what is live back to where it was before.
func (h *harness) back(live string, former dataset.Dataset, base dataset.Snapshot) {
	h.t.Helper()
	t, ctx := h.t, h.t.Context()
	source := h.SourceAtTarget()
	found, err := source.Find(ctx, dataset.Path(live), false)
	h.must(err)
	if len(found) != 1 {
		t.Fatalf("%s is no source: %v", live, found)
	}
	made, err := source.Snapshot(ctx, "antipode_back", time.Unix(1_700_000_000, 0), []dataset.Path{found[0].Path})
	h.must(err)
	o := targetOptions(h.from + " into")
	home, err := zfs.NewTarget(o)
	h.must(err)
	for range 2 { // again is success
		h.must(home.Adopt(ctx, found[0], former.Path, base, "diverged-1"))
	}
	s := stepOf(found[0], base, made[0])
	r, err := source.Send(ctx, s, dataset.Checkpoint{})
	h.must(err)
	whole, err := io.ReadAll(r)
	h.must(errors.Join(err, r.Close()))
	if len(whole) > 200_000 {
		t.Errorf("the way back took %d bytes, which is no increment", len(whole))
	}
	_, err = home.Receive(ctx, dataset.Incoming{Step: s, Retain: s.To.Created}, bytes.NewReader(whole))
	h.must(err)
	again := h.inPlace(home, found[0].Path, made[0])
	if _, is := h.lab.files.(filesystems); is {
		h.zfs("set", "atime=off", again) // else reading is writing, and no standby again
	}
	for file, want := range map[string]string{"a": string(noise(300_000)), "b": "written on the standby"} {
		if got, err := h.ReadAt(again, file); err != nil || string(got) != want {
			t.Errorf("%s where it was before: got %d bytes, %v, want %d", file, len(got), err, len(want))
		}
	}
	if got, err := h.lab.files.readSnapshot(t, string(former.Path)+".diverged-1@diverged-1", "lost"); err != nil || string(got) != "written before the primary died" {
		t.Errorf("what diverged: got %q, %v", got, err)
	}
	h.must(home.Rest(ctx, found[0].Path))
	if list, err := home.Snapshots(ctx, found[0].Path); err != nil || len(list) != 2 {
		t.Errorf("points after it: got %v, %v, want both", list, err)
	}
}
