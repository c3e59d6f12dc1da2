//go:build zfs

package zfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs"
	"antipode/fsdrivers/zfs/stream"
)

// TestRawRoundTrip: primary, standby without the key, promoted with one key,
// written to, and back to the old primary in one increment.
func TestRawRoundTrip(t *testing.T) {
	kind := encrypted(t)
	h := newHarness(t, &lab{t: t, name: "round trip", files: kind})
	d := h.Make("db")
	h.must(h.Write(d.Path, "a", []byte("one")))
	s1 := h.snap(d, "1")
	first := stepOf(d, dataset.Snapshot{}, s1)
	h.must(h.receive(first, bytes.NewReader(h.all(first, dataset.Checkpoint{}))))
	h.must(h.Write(d.Path, "a", []byte("two")))
	s2 := h.snap(d, "2")
	second := stepOf(d, s1, s2)
	h.must(h.receive(second, bytes.NewReader(h.all(second, dataset.Checkpoint{}))))

	replica, err := h.received(d.Path, s2.Name)
	h.must(err)
	if status := h.zfs("get", "-H", "-o", "value", "keystatus", replica); status != "unavailable" {
		t.Errorf("the standby's key is %s, want unavailable", status)
	}
	if _, err := h.target.Activate(t.Context(), d.Path, s2, "aside-1"); err == nil || !strings.Contains(err.Error(), "zfs load-key") {
		t.Errorf("activate without a key: got %v, want what to do", err)
	}
	h.zfs("load-key", "-L", "file://"+kind.key, replica)
	live, err := h.target.Activate(t.Context(), d.Path, s2, "aside-1")
	h.must(err)
	h.must(h.WriteAt(live.Live, "b", []byte("written on the standby")))

	back := h.SourceAtTarget()
	found, err := back.Find(t.Context(), dataset.Path(live.Live), false)
	h.must(err)
	made, err := back.Snapshot(t.Context(), "antipode_back", time.Unix(1_700_000_000, 0), []dataset.Path{found[0].Path})
	h.must(err)
	r, err := back.Send(t.Context(), stepOf(found[0], s2, made[0]), dataset.Checkpoint{})
	h.must(err)
	defer r.Close()
	whole, err := io.ReadAll(r)
	h.must(err)
	var to, from uint64
	fmt.Sscanf(string(made[0].ID)+" "+string(s2.ID), "%x %x", &to, &from)
	if _, err := stream.Copy(io.Discard, stream.NewReader(bytes.NewReader(whole)), stream.Plan{ToGUID: to, FromGUID: from, Raw: true}); err != nil {
		t.Fatalf("the way back does not pass the gate: %v", err)
	}
	receive := exec.Command("zfs", "receive", "-u", string(d.Path)+"@antipode_back")
	receive.Stdin = bytes.NewReader(whole)
	if out, err := receive.CombinedOutput(); err != nil {
		t.Fatalf("receive on the old primary: %v: %s", err, out)
	}
	for file, want := range map[string]string{"a": "two", "b": "written on the standby"} {
		if got, err := kind.readSnapshot(t, string(d.Path)+"@antipode_back", file); err != nil || string(got) != want {
			t.Errorf("%s on the old primary: got %q, %v, want %q", file, got, err, want)
		}
	}
}

// TestAnotherWrappedKeyIsNotTakenIn: after zfs change-key the pinned key no longer
// fits, until the operator of the standby says so.
func TestAnotherWrappedKeyIsNotTakenIn(t *testing.T) {
	kind := encrypted(t)
	h := newHarness(t, &lab{t: t, name: "new key", files: kind})
	d := h.Make("db")
	s1 := h.snap(d, "1")
	first := stepOf(d, dataset.Snapshot{}, s1)
	h.must(h.receive(first, bytes.NewReader(h.all(first, dataset.Checkpoint{}))))
	h.zfs("change-key", "-o", "keyformat=raw", "-o", "keylocation=file://"+keyFile(t), string(d.Path))
	s2 := h.snap(d, "2")
	second := stepOf(d, s1, s2)
	whole := h.all(second, dataset.Checkpoint{})
	err := h.receive(second, bytes.NewReader(whole))
	if !errors.Is(err, dataset.ErrRefused) || !strings.Contains(err.Error(), "zfs set org.antipode:key=any") {
		t.Fatalf("got %v, want refused with what to do", err)
	}
	replica, err := h.received(d.Path, s1.Name)
	h.must(err)
	h.zfs("set", "org.antipode:key=any", replica)
	h.must(h.receive(second, bytes.NewReader(whole)))
	if key := h.zfs("get", "-H", "-o", "value", "org.antipode:key", replica); len(key) != 64 {
		t.Errorf("the key is %q after the receive, want the new one pinned", key)
	}
}

// TestTheRestOfAStreamUsesUpThatTheKeyMayBeAny: what was approved for one stream is not left
// for the next.
func TestTheRestOfAStreamUsesUpThatTheKeyMayBeAny(t *testing.T) {
	kind := encrypted(t)
	h := newHarness(t, &lab{t: t, name: "rest of a key", files: kind})
	d := h.Make("db")
	s1 := h.snap(d, "1")
	h.sent(stepOf(d, dataset.Snapshot{}, s1))
	replica, err := h.received(d.Path, s1.Name)
	h.must(err)
	h.must(h.Write(d.Path, "a", noise(2<<20)))
	s2 := h.snap(d, "2")
	second := stepOf(d, s1, s2)
	h.halfArrived(second)
	h.zfs("set", "org.antipode:key=any", replica)
	c, err := h.target.Pending(t.Context(), d.Path)
	h.must(err)
	h.must(h.receive(second, bytes.NewReader(h.all(second, c))))
	if key := h.zfs("get", "-H", "-o", "value", "org.antipode:key", replica); len(key) != 64 {
		t.Errorf("the key is %q after the rest was received, want it pinned", key)
	}
	h.zfs("change-key", "-o", "keyformat=raw", "-o", "keylocation=file://"+keyFile(t), string(d.Path))
	third := stepOf(d, s2, h.snap(d, "3"))
	tells(t, h.receive(third, bytes.NewReader(h.all(third, dataset.Checkpoint{}))), dataset.ErrRefused, "zfs set org.antipode:key=any")
}

// TestATreeNeedsOneKey: datasets that inherit one key on the source are received
// one by one, each an encryption root; one key opens all of them on the standby.
func TestATreeNeedsOneKey(t *testing.T) {
	kind := encrypted(t)
	h := newHarness(t, &lab{t: t, name: "tree", files: kind})
	h.Make("db")
	paths := []string{"db", "db/a", "db/a/deep"}
	for _, path := range paths[1:] {
		h.zfs("create", string(h.Path(path)))
	}
	h.zfs("create", "-o", "encryption=on", "-o", "keyformat=raw", "-o", "keylocation=file://"+keyFile(t), string(h.Path("db/other")))
	var last []dataset.Step
	for _, path := range append(paths, "db/other") {
		h.must(h.Write(h.Path(path), "file", []byte("of "+path)))
		found, err := h.source.Find(t.Context(), h.Path(path), false)
		h.must(err)
		s := stepOf(found[0], dataset.Snapshot{}, h.snap(found[0], "1"))
		h.sent(s)
		last = append(last, s)
	}
	root, err := h.received(h.Path("db"), "antipode_1")
	h.must(err)
	h.zfs("load-key", "-L", "file://"+kind.key, root)
	for i, path := range paths {
		live, err := h.target.Activate(t.Context(), last[i].Dataset.Path, last[i].To, "aside-1")
		h.must(err)
		if got, err := kind.read(t, live.Live, "file"); err != nil || string(got) != "of "+path {
			t.Errorf("%s: got %q, %v", path, got, err)
		}
	}
	// Another key is another key.
	_, err = h.target.Activate(t.Context(), last[3].Dataset.Path, last[3].To, "aside-1")
	tells(t, err, dataset.ErrRefused, "zfs load-key")
	other, err := h.received(h.Path("db/other"), "antipode_1")
	h.must(err)
	if got := h.zfs("get", "-H", "-o", "value", "encryptionroot", other); got != other {
		t.Errorf("the encryption root of %s: got %s, want itself", other, got)
	}
	// The lineages take further steps as before.
	h.must(h.Write(h.Path("db/a"), "file", []byte("newer")))
	next := stepOf(last[1].Dataset, last[1].To, h.snap(last[1].Dataset, "2"))
	h.sent(next)
	replica, err := h.received(h.Path("db/a"), "antipode_2")
	h.must(err)
	if got, err := kind.readSnapshot(t, replica+"@antipode_2", "file"); err != nil || string(got) != "newer" {
		t.Errorf("after another step: got %q, %v", got, err)
	}
}

// TestRawAndPlainAreNeverMixed, in one lineage.
func TestRawAndPlainAreNeverMixed(t *testing.T) {
	for _, c := range []struct{ first, second string }{{zfs.FlagsRaw, zfs.FlagsPlain}, {zfs.FlagsPlain, zfs.FlagsRaw}} {
		t.Run(c.first+" then "+c.second, func(t *testing.T) {
			h := newHarness(t, &lab{t: t, name: c.first + " first", files: encrypted(t)})
			d := h.Make("db")
			h.must(h.Write(d.Path, "a", []byte("x")))
			s1 := h.snap(d, "1")
			first := stepOf(d, dataset.Snapshot{}, s1)
			first.Flags = c.first
			h.sent(first)
			second := stepOf(d, s1, h.snap(d, "2"))
			second.Flags = c.second
			tells(t, h.receive(second, bytes.NewReader(h.all(second, dataset.Checkpoint{}))), dataset.ErrRefused, "never mixed")
			second.Flags = c.first
			h.sent(second)
		})
	}
}

// TestAKeyThatIsNotLoaded: a raw step needs none; a plain one says what to do.
func TestAKeyThatIsNotLoaded(t *testing.T) {
	kind := encrypted(t)
	h := newHarness(t, &lab{t: t, name: "locked", files: kind})
	d := h.Make("db")
	h.must(h.Write(d.Path, "a", []byte("x")))
	h.zfs("unmount", string(d.Path))
	h.zfs("unload-key", string(d.Path))
	s := stepOf(d, dataset.Snapshot{}, h.snap(d, "1"))
	plain := s
	plain.Flags = zfs.FlagsPlain
	r, err := h.source.Send(t.Context(), plain, dataset.Checkpoint{})
	if err == nil {
		_, err = io.Copy(io.Discard, r)
		r.Close()
	}
	tells(t, err, dataset.ErrRefused, string(d.Path), "zfs load-key")
	h.sent(s)
	replica, err := h.received(d.Path, s.To.Name)
	h.must(err)
	if got, err := kind.readSnapshot(t, replica+"@"+s.To.Name, "a"); err != nil || string(got) != "x" {
		t.Errorf("got %q, %v", got, err)
	}
}

// TestAPlainStepBelowALockedDataset: an Into that is encrypted needs its key.
func TestAPlainStepBelowALockedDataset(t *testing.T) {
	h := newHarness(t, &lab{t: t, name: "below", files: filesystems{}})
	key := keyFile(t)
	h.to += "/locked"
	h.zfs("create", "-o", "canmount=off", "-o", "encryption=on", "-o", "keyformat=raw", "-o", "keylocation=file://"+key, h.to)
	h.Reopen()
	d := h.Make("db")
	h.must(h.Write(d.Path, "a", []byte("x")))
	s := stepOf(d, dataset.Snapshot{}, h.snap(d, "1"))
	h.zfs("unload-key", h.to)
	tells(t, h.receive(s, bytes.NewReader(h.all(s, dataset.Checkpoint{}))), dataset.ErrRefused, h.to, "zfs load-key")
	h.zfs("load-key", h.to)
	h.sent(s)
	h.same(s, "a", []byte("x"))
}
