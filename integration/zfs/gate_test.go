//go:build zfs

package zfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs"
	"antipode/fsdrivers/zfs/stream"
	"antipode/fsdrivers/zfs/token"
)

// counted is a zfs that notes each of its calls.
type counted struct{ binary, log string }

func count(t *testing.T) counted {
	t.Helper()
	c := counted{binary: filepath.Join(t.TempDir(), "zfs")}
	c.log = c.binary + ".log"
	for _, tool := range []string{"zfs", "zpool"} {
		script := "#!/bin/sh\necho \"$*\" >>'" + c.log + "'\nexec " + tool + " \"$@\"\n"
		if err := os.WriteFile(filepath.Join(filepath.Dir(c.binary), tool), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

// calls are the command lines so far.
func (c counted) calls() []string {
	text, _ := os.ReadFile(c.log)
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// meanwhile runs a script once, right after the first zfs of a verb.
func (c counted) meanwhile(t *testing.T, verb, script string) {
	t.Helper()
	text := "#!/bin/sh\necho \"$*\" >>'" + c.log + "'\nzfs \"$@\"\ncode=$?\n" +
		"if [ \"$1\" = " + verb + " ] && mkdir '" + c.binary + ".once' 2>/dev/null; then\n" + script + "\nfi\nexit $code\n"
	if err := os.WriteFile(c.binary, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

// looks counts those that read all datasets at once, and others the rest.
func (c counted) looks() (looks, others int) {
	for _, call := range c.calls() {
		if strings.HasPrefix(call, "get ") && strings.Contains(call, " -r ") {
			looks++
		} else if call != "" {
			others++
		}
	}
	return looks, others
}

// receives counts those that gave the kernel a stream.
func (c counted) receives() (n int) {
	for _, call := range c.calls() {
		if strings.HasPrefix(call, "receive ") && !strings.HasPrefix(call, "receive -A") {
			n++
		}
	}
	return n
}

// raw is what a command of zfs writes.
func raw(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("zfs", args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("zfs %s: %v: %s", strings.Join(args, " "), err, said.Bytes())
	}
	return out
}

// gateLab is a dataset with two snapshots, the first of them sent, and a target
// that notes what it starts.
func gateLab(t *testing.T, name string) (h *harness, c counted, s1, s2 dataset.Snapshot, d dataset.Dataset) {
	t.Helper()
	h = newHarness(t, &lab{t: t, name: name, files: filesystems{}})
	d = h.Make("db")
	h.must(h.Write(d.Path, "a", noise(300_000)))
	s1 = h.snap(d, "1")
	h.must(h.Write(d.Path, "b", noise(200_000)))
	s2 = h.snap(d, "2")
	c = count(t)
	o := targetOptions(h.into())
	o.Host = zfs.NewHost(c.binary, 0)
	target, err := zfs.NewTarget(o)
	h.must(err)
	h.target = target
	h.sent(stepOf(d, dataset.Snapshot{}, s1))
	return h, c, s1, s2, d
}

// TestRealStreamsThatWereNotPlannedNeverReachTheKernel: what zfs send can be made
// to write, and what no sender of ours does.
func TestRealStreamsThatWereNotPlannedNeverReachTheKernel(t *testing.T) {
	h, c, s1, s2, d := gateLab(t, "gate")
	name := func(s dataset.Snapshot) string { return string(d.Path) + "@" + s.Name }
	h.zfs("hold", "theirs", name(s2))
	h.zfs("clone", "-o", "canmount=off", name(s1), h.from+"/clone")
	h.zfs("snapshot", h.from+"/clone@c")
	h.zfs("clone", "-o", "canmount=off", name(s2), h.from+"/newer")
	h.zfs("snapshot", h.from+"/newer@c")
	h.zfs("redact", name(s2), "book", h.from+"/newer@c")
	inc := stepOf(d, s1, s2)
	full := stepOf(d, dataset.Snapshot{}, s2)
	ofClone := inc
	ofClone.To.ID = h.id(h.from + "/clone@c")
	synthetic := func(features stream.Features, flags stream.Flags) []byte {
		var e stream.Encoder
		o := stream.Opening{
			Kind: stream.Filesystem, ToGUID: guid(t, s2), FromGUID: guid(t, s1), ToName: "x@y", Created: time.Unix(0, 0),
			Features: stream.SASpill | stream.LZ4 | features, Flags: flags,
		}
		e.Begin(o)
		e.End(o.ToGUID)
		return e.Bytes()
	}
	before := c.receives()
	for what, try := range map[string]struct {
		step dataset.Step
		in   []byte
	}{
		"with properties":                {inc, raw(t, "send", "-p", "-i", name(s1), name(s2))},
		"with holds":                     {inc, raw(t, "send", "-h", "-i", name(s1), name(s2))},
		"recursive":                      {full, raw(t, "send", "-R", name(s2))},
		"of several steps":               {inc, raw(t, "send", "-I", name(s1), name(s2))},
		"redacted":                       {full, raw(t, "send", "--redact", "book", name(s2))},
		"of a clone":                     {ofClone, raw(t, "send", "-i", name(s1), h.from+"/clone@c")},
		"with the clone flag":            {inc, synthetic(0, stream.FlagClone)},
		"deduplicated":                   {inc, synthetic(stream.Dedup|stream.DedupProps, 0)},
		"with a feature nobody knows":    {inc, synthetic(1<<40, 0)},
		"of another snapshot":            {inc, raw(t, "send", name(s1))},
		"full where a step was planned":  {inc, raw(t, "send", name(s2))},
		"a step where it was to be full": {full, raw(t, "send", "-i", name(s1), name(s2))},
	} {
		if err := h.receive(try.step, bytes.NewReader(try.in)); !errors.Is(err, dataset.ErrRefused) {
			t.Errorf("%s: got %v, want refused", what, err)
		} else {
			t.Logf("%s: %v", what, err)
		}
	}
	if n := c.receives() - before; n != 0 {
		t.Errorf("%d of them were given to zfs receive", n)
	}
	h.sent(inc)
	h.same(inc, "b", noise(200_000))
}

// TestDamagedStreamsLeaveNothingBehind: what is damaged or cut is told, and the
// record that is wrong reaches no kernel: what a cut saves is whole.
func TestDamagedStreamsLeaveNothingBehind(t *testing.T) {
	h, _, s1, s2, d := gateLab(t, "damage")
	inc := stepOf(d, s1, s2)
	whole := h.all(inc, dataset.Checkpoint{})
	for range 12 {
		at, bit := rand.N(len(whole)), rand.N(8)
		bad := bytes.Clone(whole)
		bad[at] ^= 1 << bit
		err := h.receive(inc, bytes.NewReader(bad))
		if !errors.Is(err, dataset.ErrRefused) && !errors.Is(err, dataset.ErrCut) {
			t.Errorf("bit %d of byte %d flipped: got %v, want refused or cut", bit, at, err)
		}
		at = rand.N(len(whole))
		if err := h.receive(inc, bytes.NewReader(whole[:at])); !errors.Is(err, dataset.ErrCut) {
			t.Errorf("cut after %d bytes: got %v, want cut", at, err)
		}
	}
	c, err := h.target.Pending(t.Context(), d.Path)
	h.must(err)
	h.must(h.receive(inc, bytes.NewReader(h.all(inc, c))))
	h.same(inc, "b", noise(200_000))
}

// TestAHostileTokenNamesAnotherDataset: a token of the pool's own making, changed,
// gets out nothing that was not planned.
func TestAHostileTokenNamesAnotherDataset(t *testing.T) {
	h := newHarness(t, &lab{t: t, name: "hostile", files: filesystems{}})
	d, secret := h.Make("db"), h.Make("secret")
	h.must(h.Write(d.Path, "a", noise(2<<20)))
	h.must(h.Write(secret.Path, "a", []byte("topsecret")))
	s, other := stepOf(d, dataset.Snapshot{}, h.snap(d, "1")), h.snap(secret, "s")
	h.halfArrived(s)
	c, err := h.target.Pending(t.Context(), d.Path)
	h.must(err)
	changed := func(change func(*token.Token)) dataset.Checkpoint {
		t, err := token.Parse(string(c.Opaque))
		h.must(err)
		change(&t)
		forged := c
		forged.Opaque = []byte(t.String())
		return forged
	}
	name := string(secret.Path) + "@" + other.Name
	_, err = h.source.Send(t.Context(), s, changed(func(k *token.Token) { k.ToName, k.ToGUID = name, guid(t, other) }))
	tells(t, err, dataset.ErrStaleCheckpoint, string(other.ID))
	_, err = h.source.Send(t.Context(), s, changed(func(k *token.Token) { k.RawOK = true }))
	tells(t, err, dataset.ErrStaleCheckpoint, "flags")
	rest := h.all(s, changed(func(k *token.Token) { k.ToName = name }))
	if bytes.Contains(rest, []byte("topsecret")) {
		t.Error("the other dataset was sent")
	}
	// A position that nothing has: the step breaks off and says why.
	r, err := h.source.Send(t.Context(), s, changed(func(k *token.Token) { k.Object, k.Offset = 1<<40, 1<<60 }))
	if err == nil {
		_, err = io.Copy(io.Discard, r)
		r.Close()
	}
	tells(t, err, dataset.ErrStaleCheckpoint)
	h.must(h.receive(s, bytes.NewReader(rest)))
	h.same(s, "a", noise(2<<20))
}

func guid(t *testing.T, s dataset.Snapshot) (n uint64) {
	t.Helper()
	if _, err := fmt.Sscanf(string(s.ID), "%x", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// id is the identity of any object.
func (h *harness) id(name string) dataset.ID {
	h.t.Helper()
	var n uint64
	_, err := fmt.Sscan(h.zfs("get", "-Hp", "-o", "value", "guid", name), &n)
	h.must(err)
	return dataset.ID(fmt.Sprintf("%016x", n))
}

// TestTheGateCountsAsZstreamDoes compares with OpenZFS's own reader of streams.
func TestTheGateCountsAsZstreamDoes(t *testing.T) {
	for name, kind := range kinds(t) {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, &lab{t: t, name: "zstream " + name, files: kind})
			d := h.Make("db")
			h.must(h.Write(d.Path, "a", noise(1<<20)))
			s1 := h.snap(d, "1")
			h.must(h.Write(d.Path, "a", noise(1<<19)))
			s2 := h.snap(d, "2")
			h.asZstream(stepOf(d, dataset.Snapshot{}, s1), name == "encrypted")
			h.asZstream(stepOf(d, s1, s2), name == "encrypted")
		})
	}
}

// asZstream passes a step through the gate and reads it with zstream dump, which
// checks the same checksums.
func (h *harness) asZstream(s dataset.Step, isRaw bool) {
	h.t.Helper()
	whole := h.all(s, dataset.Checkpoint{})
	plan := stream.Plan{Raw: isRaw, ToGUID: guid(h.t, s.To)}
	if !s.IsFull() {
		plan.FromGUID = guid(h.t, s.From)
	}
	st, err := stream.Copy(io.Discard, stream.NewReader(bytes.NewReader(whole)), plan)
	h.must(err)
	dump := exec.Command("zstream", "dump")
	dump.Stdin = bytes.NewReader(whole)
	out, err := dump.CombinedOutput()
	if err != nil {
		h.t.Fatalf("zstream dump: %v: %s", err, out)
	}
	for _, want := range []string{
		fmt.Sprintf("Total records = %d", st.Records), fmt.Sprint(st.Bytes), fmt.Sprintf("toguid = %x", plan.ToGUID), fmt.Sprintf("fromguid = %x", plan.FromGUID),
	} {
		if !strings.Contains(string(out), want) {
			h.t.Errorf("got %+v, zstream does not say %q: %s", st, want, out)
		}
	}
}

// TestTheGateIsAsFastAsTheStream prints both figures.
func TestTheGateIsAsFastAsTheStream(t *testing.T) {
	h := newHarness(t, &lab{t: t, name: "speed", files: filesystems{}})
	d := h.Make("db")
	h.must(h.Write(d.Path, "a", noise(32<<20)))
	s := stepOf(d, dataset.Snapshot{}, h.snap(d, "1"))
	began := time.Now()
	whole := h.all(s, dataset.Checkpoint{})
	send := time.Since(began)
	began = time.Now()
	_, err := stream.Copy(io.Discard, stream.NewReader(bytes.NewReader(whole)), stream.Plan{ToGUID: guid(t, s.To)})
	h.must(err)
	gate := time.Since(began)
	rate := func(d time.Duration) float64 { return float64(len(whole)) / 1e6 / d.Seconds() }
	t.Logf("bench: zfs-send %.0f MB/s", rate(send))
	t.Logf("bench: zfs-gate %.0f MB/s", rate(gate))
}
