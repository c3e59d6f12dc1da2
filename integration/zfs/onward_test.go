//go:build zfs

package zfs

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs"
)

// onto takes a step from the target in between to the one beyond it.
func (h *harness) onto(s dataset.Step) error {
	h.t.Helper()
	r, err := h.target.Onward().Send(h.t.Context(), s, dataset.Checkpoint{})
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = h.Beyond().Receive(h.t.Context(), dataset.Incoming{Step: s, Retain: s.To.Created}, r)
	return err
}

// TestAChainWithoutTheKey: what is encrypted crosses two hosts, neither of which ever has
// the key, in a full copy and increments; it is sent decrypted by neither, whatever is
// asked, and at the end the key opens what was written. In between the points of a second
// full copy are what is offered, and none of them is sent on a point of the first.
func TestAChainWithoutTheKey(t *testing.T) {
	key := encrypted(t)
	h := newHarness(t, &lab{t: t, name: "onward", files: key})
	d := h.Make("db")
	h.must(h.Write(d.Path, "a", noise(300_000)))
	s1 := h.snap(d, "1")
	h.must(h.Write(d.Path, "a", noise(200_000)))
	s2 := h.snap(d, "2")
	first, second := stepOf(d, dataset.Snapshot{}, s1), stepOf(d, s1, s2)
	for _, s := range []dataset.Step{first, second} {
		h.must(h.receive(s, bytes.NewReader(h.all(s, dataset.Checkpoint{}))))
	}
	plain := first
	plain.Flags = zfs.FlagsPlain
	if err := h.onto(plain); !errors.Is(err, dataset.ErrRefused) {
		t.Errorf("sent on decrypted: %v, want %v", err, dataset.ErrRefused)
	}
	for _, s := range []dataset.Step{first, second} {
		h.must(h.onto(s))
	}
	for _, into := range []string{h.into(), h.beyond()} {
		name, err := h.receivedIn(into, d.Path, s2.Name)
		h.must(err)
		if got := h.zfs("get", "-H", "-o", "value", "keystatus", name); got != "unavailable" {
			t.Errorf("the key of %s is %s, want that nobody has it", name, got)
		}
	}
	if got, err := h.ReadBeyond(d.Path, s2.Name, "a"); err != nil || !bytes.Equal(got, noise(200_000)) {
		t.Errorf("at the end it holds %d bytes, %v", len(got), err)
	}

	h.must(h.Write(d.Path, "a", noise(100_000)))
	s3 := h.snap(d, "3")
	anew := stepOf(d, dataset.Snapshot{}, s3)
	h.must(h.receive(anew, bytes.NewReader(h.all(anew, dataset.Checkpoint{}))))
	o, _ := h.target.Onward().(fsdrivers.Offerer)
	offered, err := o.Offered(t.Context(), d.Path)
	if err != nil || len(offered) != 1 || offered[0].ID != s3.ID {
		t.Errorf("offered is %v, %v; want the point of the second full copy", offered, err)
	}
	if err := h.onto(stepOf(d, s2, s3)); !errors.Is(err, dataset.ErrBaseMissing) {
		t.Errorf("sent from one lineage to another: %v, want %v", err, dataset.ErrBaseMissing)
	}
	h.must(h.onto(anew))
	if got, err := h.ReadBeyond(d.Path, s3.Name, "a"); err != nil || !bytes.Equal(got, noise(100_000)) {
		t.Errorf("of the second full copy %d bytes are at the end, %v", len(got), err)
	}
}

// TestPlainPointsAreSentOnFromBelowAnEncryptedInto: what came plain is encrypted by the
// host in between, and leaves it raw, with that host's key, unless it is to go on plain.
func TestPlainPointsAreSentOnFromBelowAnEncryptedInto(t *testing.T) {
	h := newHarness(t, &lab{t: t, name: "onward crypt", files: filesystems{}})
	own := h.to + " own"
	h.must(encrypted(t).make(t, own))
	target, err := zfs.NewTarget(targetOptions(own + "/in"))
	h.must(err)
	h.target = target
	d := h.Make("db")
	h.must(h.Write(d.Path, "a", noise(200_000)))
	s1 := h.snap(d, "1")
	st := stepOf(d, dataset.Snapshot{}, s1)
	h.must(h.receive(st, bytes.NewReader(h.all(st, dataset.Checkpoint{}))))
	h.must(h.onto(st))
	name, err := h.receivedIn(h.beyond(), d.Path, s1.Name)
	h.must(err)
	if got := h.zfs("get", "-H", "-o", "value", "encryption,keystatus", name); !strings.HasPrefix(got, "aes-256-gcm") || !strings.HasSuffix(got, "unavailable") {
		t.Errorf("beyond it is %q, want encrypted, and no key", got)
	}
}
