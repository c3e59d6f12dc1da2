//go:build zfs

package zfs

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs"
	"antipode/fsdrivers/zfs/stream"
)

// noise is that many bytes that do not compress.
func noise(n int) []byte {
	b := make([]byte, n)
	mathrand.NewChaCha8([32]byte{byte(n)}).Read(b) // never fails
	return b
}

func (h *harness) snap(d dataset.Dataset, name string) dataset.Snapshot {
	h.t.Helper()
	made, err := h.source.Snapshot(h.t.Context(), "antipode_"+name, time.Unix(1_700_000_000, 0), []dataset.Path{d.Path})
	h.must(err)
	return made[0]
}

func (h *harness) all(s dataset.Step, from dataset.Checkpoint) []byte {
	h.t.Helper()
	r, err := h.source.Send(h.t.Context(), s, from)
	h.must(err)
	defer r.Close()
	b, err := io.ReadAll(r)
	h.must(err)
	return b
}

func (h *harness) receive(s dataset.Step, r io.Reader) error {
	_, err := h.target.Receive(h.t.Context(), dataset.Incoming{Step: s, Retain: s.To.Created}, r)
	return err
}

func stepOf(d dataset.Dataset, from, to dataset.Snapshot) dataset.Step {
	return dataset.Step{Job: "crossing", Dataset: d, From: from, To: to}
}

// kinds are what replicas are made of.
func kinds(t *testing.T) map[string]files {
	t.Helper()
	return map[string]files{"filesystem": filesystems{}, "volume": volumes{}, "encrypted": encrypted(t)}
}

func keyFile(t *testing.T) string {
	t.Helper()
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(rand.Text() + rand.Text())[:32], 0o600); err != nil {
		t.Fatal(err)
	}
	return key
}

// TestInterruptedTwentyTimes cuts a full copy and an incremental at random places,
// and starts the target anew each time.
func TestInterruptedTwentyTimes(t *testing.T) {
	for name, kind := range kinds(t) {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, &lab{t: t, name: "cut " + name, files: kind})
			d := h.Make("db")
			h.must(h.Write(d.Path, "a", noise(6<<20)))
			s1 := h.snap(d, "1")
			h.interrupted(stepOf(d, dataset.Snapshot{}, s1), 12)
			h.must(h.Write(d.Path, "b", noise(4<<20)))
			s2 := h.snap(d, "2")
			h.interrupted(stepOf(d, s1, s2), 8)
			for file, size := range map[string]int{"a": 6 << 20, "b": 4 << 20} {
				got, err := h.Read(d.Path, s2.Name, file)
				if err != nil || sha256.Sum256(got) != sha256.Sum256(noise(size)) {
					t.Errorf("%s: got %d bytes, %v, want the %d that were written", file, len(got), err, size)
				}
			}
		})
	}
}

// interrupted cuts a step that many times. What a checkpoint says is durable is
// not sent again.
func (h *harness) interrupted(s dataset.Step, cuts int) {
	h.t.Helper()
	whole := int64(len(h.all(s, dataset.Checkpoint{})))
	var c dataset.Checkpoint
	var sent int64
	for i := range cuts {
		rest := h.all(s, c)
		at := mathrand.N(max(int64(len(rest))/3, 1))
		err := h.receive(s, io.LimitReader(bytes.NewReader(rest), at))
		if !errors.Is(err, dataset.ErrCut) {
			h.t.Fatalf("cut %d, after %d of %d bytes: got %v", i, at, len(rest), err)
		}
		sent += at
		h.Reopen()
		h.must(h.target.Sweep(h.t.Context()))
		if c, err = h.target.Pending(h.t.Context(), s.Dataset.Path); err != nil {
			h.t.Fatal(err)
		}
	}
	rest := h.all(s, c)
	h.must(h.receive(s, bytes.NewReader(rest)))
	sent += int64(len(rest))
	// A block that was begun is begun again, and each stream has a beginning.
	if again := sent - whole; again > int64(cuts+1)*(256<<10) {
		h.t.Errorf("%d bytes were sent again in %d interruptions of a stream of %d", again, cuts, whole)
	}
}

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

// TestTheGateCountsAsZstreamDoes compares with OpenZFS's own reader of streams.
func TestTheGateCountsAsZstreamDoes(t *testing.T) {
	for name, kind := range kinds(t) {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, &lab{t: t, name: "zstream " + name, files: kind})
			d := h.Make("db")
			h.must(h.Write(d.Path, "a", noise(1<<20)))
			s := stepOf(d, dataset.Snapshot{}, h.snap(d, "1"))
			whole := h.all(s, dataset.Checkpoint{})
			st, err := stream.Copy(io.Discard, stream.NewReader(bytes.NewReader(whole)), planOf(t, s, name == "encrypted"))
			h.must(err)
			dump := exec.Command("zstream", "dump")
			dump.Stdin = bytes.NewReader(whole)
			out, err := dump.CombinedOutput()
			if err != nil {
				t.Fatalf("zstream dump: %v: %s", err, out)
			}
			if want := fmt.Sprintf("Total records = %d", st.Records); !strings.Contains(string(out), want) {
				t.Errorf("got %d records, zstream says %s", st.Records, out)
			}
			if want := fmt.Sprintf("Total stream length = %d", st.Bytes); !strings.Contains(string(out), fmt.Sprint(st.Bytes)) {
				t.Errorf("want %q in %s", want, out)
			}
		})
	}
}

func planOf(t *testing.T, s dataset.Step, raw bool) stream.Plan {
	t.Helper()
	p := stream.Plan{Raw: raw}
	if _, err := fmt.Sscanf(string(s.To.ID), "%x", &p.ToGUID); err != nil {
		t.Fatal(err)
	}
	return p
}

// TestTwoHundredDatasets counts processes: three for a dataset and round at most,
// and none for one in which nothing happened.
func TestTwoHundredDatasets(t *testing.T) {
	const datasets, each = 200, 10
	src, _ := pools(t)
	root := src + "/many"
	if _, err := run(t, "zfs", "create", "-o", "mountpoint=none", root); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { run(t, "zfs", "destroy", "-r", root) })
	var ds []dataset.Path
	for i := range datasets {
		ds = append(ds, dataset.Path(fmt.Sprintf("%s/%03d", root, i)))
	}
	script := "set -e\n"
	for _, d := range ds {
		script += fmt.Sprintf("zfs create '%s'\n", d)
	}
	if _, err := run(t, "bash", "-c", script); err != nil {
		t.Fatal(err)
	}
	counted := filepath.Join(t.TempDir(), "zfs")
	log := counted + ".log"
	if err := os.WriteFile(counted, []byte("#!/bin/bash\necho >>'"+log+"'\nexec zfs \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	count := func() int {
		text, _ := os.ReadFile(log)
		return bytes.Count(text, []byte("\n"))
	}
	ahead := func() time.Time { return time.Now().Add(5 * time.Second) } // past the second of the last change
	source := zfs.NewSource(zfs.Options{Binary: counted, Log: zerolog.Nop(), Now: ahead})
	for i := range each {
		if _, err := source.Snapshot(t.Context(), fmt.Sprintf("antipode_%02d", i), time.Unix(1_700_000_000, 0), ds); err != nil {
			t.Fatal(err)
		}
	}
	if n := count(); n > 8*each {
		t.Errorf("%d snapshots of %d datasets took %d processes", each, datasets, n)
	}
	round := func() (processes int, took time.Duration) {
		before, began := count(), time.Now()
		found, err := source.Find(t.Context(), dataset.Path(root), true)
		if err != nil || len(found) != datasets+1 {
			t.Fatalf("found %d, %v", len(found), err)
		}
		total := 0
		for _, d := range found {
			// A round of 200 datasets takes longer here than what Find saw is
			// believed, so the guard is read once more where it is due.
			list, err := source.Snapshots(t.Context(), d.Path)
			if err != nil {
				t.Fatal(err)
			}
			total += len(list)
		}
		if total != datasets*each {
			t.Errorf("got %d snapshots, want %d", total, datasets*each)
		}
		return count() - before, time.Since(began)
	}
	cold, took := round()
	t.Logf("bench: zfs-list-cold %d processes in %v", cold, took)
	if cold > 3*(datasets+1)+1 {
		t.Errorf("a round took %d processes, more than 3 a dataset", cold)
	}
	warm, took := round()
	t.Logf("bench: zfs-list-unchanged %d processes in %v", warm, took)
	if warm != 1 {
		t.Errorf("a round in which nothing happened took %d processes, want 1", warm)
	}
}
