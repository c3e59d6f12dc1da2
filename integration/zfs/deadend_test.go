//go:build zfs

package zfs

import (
	"bytes"
	"errors"
	"io"
	"os/exec"
	"testing"
	"time"

	"antipode/fsdrivers/dataset"
)

// The four ends that users of resume tokens report as dead (FIELD-NOTES A.3).
// Nobody has to abort anything by hand in any of them.

// halfArrived leaves half of a step on the target.
func (h *harness) halfArrived(s dataset.Step) {
	h.t.Helper()
	whole := h.all(s, dataset.Checkpoint{})
	if err := h.receive(s, bytes.NewReader(whole[:len(whole)/2])); !errors.Is(err, dataset.ErrCut) {
		h.t.Fatalf("half a stream: got %v, want cut", err)
	}
	if c, err := h.target.Pending(h.t.Context(), s.Dataset.Path); err != nil || c.Done == 0 {
		h.t.Fatalf("after half a stream: got checkpoint %+v, %v", c, err)
	}
}

// cured checks that a step has arrived and that nothing unfinished is left.
func (h *harness) cured(s dataset.Step, file string, want []byte) {
	h.t.Helper()
	h.same(s, file, want)
	if left := h.Leftovers(); len(left) != 0 {
		h.t.Errorf("left behind: %q", left)
	}
}

func TestATokenOfAVanishedSnapshotIsNoDeadEnd(t *testing.T) {
	for name, kind := range map[string]files{"filesystem": filesystems{}, "encrypted": encrypted(t)} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, &lab{t: t, name: "vanished " + name, files: kind})
			d := h.Make("db")
			h.must(h.Write(d.Path, "a", noise(2<<20)))
			first := stepOf(d, dataset.Snapshot{}, h.snap(d, "1"))
			h.halfArrived(first)
			h.RemoveSent(d.Path, first.To.Name)
			c, err := h.target.Pending(t.Context(), d.Path)
			h.must(err)
			_, err = h.source.Send(t.Context(), first, c)
			tells(t, err, dataset.ErrNotFound, first.To.Name)
			// The next full copy takes its place, and the next increment that of one.
			full := stepOf(d, dataset.Snapshot{}, h.snap(d, "2"))
			h.sent(full)
			h.cured(full, "a", noise(2<<20))
			h.must(h.Write(d.Path, "a", noise(3<<20)))
			second := stepOf(d, full.To, h.snap(d, "3"))
			h.halfArrived(second)
			h.RemoveSent(d.Path, second.To.Name)
			third := stepOf(d, full.To, h.snap(d, "4"))
			h.sent(third)
			h.cured(third, "a", noise(3<<20))
		})
	}
}

func TestATokenOfAnotherStepIsNoDeadEnd(t *testing.T) {
	h := newHarness(t, &lab{t: t, name: "another", files: filesystems{}})
	d := h.Make("db")
	s1 := h.snap(d, "1")
	h.sent(stepOf(d, dataset.Snapshot{}, s1))
	h.must(h.Write(d.Path, "a", noise(2<<20)))
	s2 := h.snap(d, "2")
	h.sent(stepOf(d, s1, s2))
	h.must(h.Write(d.Path, "b", noise(3<<20)))
	s3 := h.snap(d, "3")
	s4 := h.snap(d, "4")
	h.halfArrived(stepOf(d, s2, s3))
	// The same goal from another base, which is not the newest any more, and then
	// another goal.
	if err := h.receive(stepOf(d, s1, s3), bytes.NewReader(h.all(stepOf(d, s1, s3), dataset.Checkpoint{}))); !errors.Is(err, dataset.ErrDiverged) {
		t.Errorf("from a base that is not the newest: got %v, want diverged", err)
	}
	other := stepOf(d, s2, s4)
	h.sent(other)
	h.cured(other, "b", noise(3<<20))
}

// TestAReceiveThatWasJustKilledIsNoDeadEnd: the daemon dies, zfs receive is still
// saving what it has, and the very next receive goes through.
func TestAReceiveThatWasJustKilledIsNoDeadEnd(t *testing.T) {
	h := newHarness(t, &lab{t: t, name: "killed", files: filesystems{}})
	d := h.Make("db")
	h.must(h.Write(d.Path, "a", noise(4<<20)))
	s := stepOf(d, dataset.Snapshot{}, h.snap(d, "1"))
	whole := h.all(s, dataset.Checkpoint{})
	for range 3 {
		h.Litter(dataset.Incoming{Step: s, Retain: s.To.Created}, whole[:len(whole)/2])
	}
	h.Reopen()
	var err error
	for range 10 { // as a courier does: busy is tried again
		var c dataset.Checkpoint
		if c, err = h.target.Pending(t.Context(), d.Path); err == nil {
			err = h.receive(s, bytes.NewReader(h.all(s, c)))
		}
		if !errors.Is(err, dataset.ErrBusy) {
			break
		}
		t.Logf("busy: %v", err)
	}
	h.must(err)
	h.cured(s, "a", noise(4<<20))
}

// TestStateThatCannotBeDroppedAtFirstIsNoDeadEnd: somebody's zfs receive is at
// work in the lineage while it is to be dropped.
func TestStateThatCannotBeDroppedAtFirstIsNoDeadEnd(t *testing.T) {
	h := newHarness(t, &lab{t: t, name: "busy", files: filesystems{}})
	d := h.Make("db")
	h.must(h.Write(d.Path, "a", noise(4<<20)))
	s := stepOf(d, dataset.Snapshot{}, h.snap(d, "1"))
	whole := h.all(s, dataset.Checkpoint{})
	theirs := exec.Command("zfs", "receive", "-s", "-u", "-o", "org.antipode:path="+string(d.Path), "-o", "org.antipode:source="+string(d.ID),
		"-o", "mountpoint=none", h.into()+"/.antipode/"+string(s.ID())+"@antipode_1")
	feed, err := theirs.StdinPipe()
	h.must(err)
	h.must(theirs.Start())
	_, err = feed.Write(whole[:len(whole)/2])
	h.must(err)
	h.awaitLeftovers()
	end := time.AfterFunc(2*time.Second, func() { feed.Close() })
	defer end.Stop()
	h.must(h.target.Abort(t.Context(), d.Path))
	if err := theirs.Wait(); err == nil {
		t.Error("the other receive succeeded")
	}
	h.must(h.receive(s, io.MultiReader(bytes.NewReader(whole))))
	h.cured(s, "a", noise(4<<20))
}
