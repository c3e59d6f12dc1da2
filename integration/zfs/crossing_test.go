//go:build zfs

package zfs

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"antipode/fsdrivers/dataset"
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

// TestInterruptedTwentyTimes cuts full copies and increments at random places,
// twenty in all, and starts the target anew each time.
func TestInterruptedTwentyTimes(t *testing.T) {
	cuts := map[string][2]int{"filesystem": {6, 4}, "volume": {3, 2}, "encrypted": {3, 2}}
	for name, kind := range kinds(t) {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, &lab{t: t, name: "cut " + name, files: kind})
			d := h.Make("db")
			h.must(h.Write(d.Path, "a", noise(6<<20)))
			s1 := h.snap(d, "1")
			h.interrupted(stepOf(d, dataset.Snapshot{}, s1), cuts[name][0])
			h.must(h.Write(d.Path, "b", noise(4<<20)))
			s2 := h.snap(d, "2")
			h.interrupted(stepOf(d, s1, s2), cuts[name][1])
			for file, size := range map[string]int{"a": 6 << 20, "b": 4 << 20} {
				got, err := h.Read(d.Path, s2.Name, file)
				if err != nil || sha256.Sum256(got) != sha256.Sum256(noise(size)) {
					t.Errorf("%s: got %d bytes, %v, want the %d that were written", file, len(got), err, size)
				}
			}
		})
	}
}

// window is what a cut may cost: the writes that the kernel gathers before it makes
// them (zfs_recv_write_batch_size), a record, and the beginning of a stream.
const window = 1<<20 + 256<<10

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
		had := c.Done
		if c, err = h.target.Pending(h.t.Context(), s.Dataset.Path); err != nil {
			h.t.Fatal(err)
		}
		if c.Done < had || c.Done < had+at-window {
			h.t.Errorf("cut %d: of %d bytes that were there and %d that came %d are left", i, had, at, c.Done)
		}
	}
	rest := h.all(s, c)
	h.must(h.receive(s, bytes.NewReader(rest)))
	sent += int64(len(rest))
	h.t.Logf("bench: zfs-sent-again %d bytes in %d interruptions of a stream of %d", sent-whole, cuts, whole)
}
