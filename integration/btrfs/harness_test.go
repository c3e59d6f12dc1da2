// Package btrfs runs the drivers' contract on real Btrfs file systems.
package btrfs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"antipode/fsdrivers"
	"antipode/fsdrivers/btrfs"
	"antipode/fsdrivers/btrfs/segment"
	"antipode/fsdrivers/dataset"
	"antipode/integration/loopfs"
	"antipode/integration/manifest"
)

const size = 1 << 30

// lab is the pair of file systems that the cases of one group share, each in
// directories of its own: making file systems takes most of the time.
type lab struct {
	t        *testing.T // of the whole suite
	group    string
	cases    int
	from, to *loopfs.FS
}

// enter returns the directories for a case.
func (l *lab) enter(t *testing.T) (from, to string) {
	group, _, _ := strings.Cut(strings.TrimPrefix(t.Name(), l.t.Name()+"/"), "/")
	if l.from == nil || group != l.group {
		l.leave()
		l.group, l.from, l.to = group, loopfs.Make(l.t, size), loopfs.Make(l.t, size)
	}
	l.cases++
	name := fmt.Sprintf("case %d", l.cases)
	return filepath.Join(l.from.Dir, name), filepath.Join(l.to.Dir, name)
}

// leave gives the file systems up.
func (l *lab) leave() {
	if l.from != nil {
		l.from.Unmount()
		l.to.Unmount()
		l.from = nil
	}
}

// harness is a drivertest.Harness on two loop devices.
type harness struct {
	t        *testing.T
	lab      *lab
	from, to string // the case's directories
	vanished int
	source   *btrfs.Source
	target   *btrfs.Target
}

func newHarness(t *testing.T, l *lab) *harness {
	h := &harness{t: t, lab: l}
	h.from, h.to = l.enter(t)
	h.mkdir(filepath.Join(h.from, "data"))
	h.mkdir(h.to)
	h.tool("btrfs", "subvolume", "create", h.early())
	h.must(os.WriteFile(filepath.Join(h.to, "outside"), []byte("not to be touched"), 0o600))
	h.Reopen()
	return h
}

func (h *harness) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) tool(name string, args ...string) string {
	h.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		h.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (h *harness) mkdir(path string) {
	h.t.Helper()
	h.must(os.MkdirAll(path, 0o755))
}

func (h *harness) into() string { return filepath.Join(h.to, "into") }

// early is a subvolume with a lower id than anything that is received.
func (h *harness) early() string { return filepath.Join(h.to, "early") }

func (h *harness) Source() fsdrivers.Source { return h.source }
func (h *harness) Target() fsdrivers.Target { return h.target }
func (h *harness) Now() time.Time           { return now() }

// SourceAtTarget is the source of the host that the target is on.
func (h *harness) SourceAtTarget() fsdrivers.Source {
	return btrfs.NewSource(btrfs.Options{Log: zerolog.Nop()})
}

func (h *harness) SourceWith(include func(string) bool) fsdrivers.Source {
	return btrfs.NewSource(btrfs.Options{Log: zerolog.Nop(), Include: include})
}

// MakeForeign puts the snapshot where btrbk does with `snapshot_dir .antipode`.
func (h *harness) MakeForeign(d dataset.Path, name string) {
	h.t.Helper()
	dir := filepath.Join(string(d), dataset.Dir)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		h.tool("btrfs", "subvolume", "create", "--", dir)
		h.must(os.Chmod(dir, 0o700))
	}
	h.tool("btrfs", "subvolume", "snapshot", "-r", string(d), filepath.Join(dir, name))
}

// limits make segments of what other drivers' cases call big.
func limits() segment.Limits {
	return segment.Limits{Bytes: 512 << 10, Most: time.Hour, Quiet: time.Hour, Small: 128 << 10}
}

// Settle lets the kernel's coarse clock tick, at its slowest a hundred times a
// second: two changes within a tick have one time.
func (h *harness) Settle() { time.Sleep(30 * time.Millisecond) }

func now() time.Time { return time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC) }

func (h *harness) Reopen() {
	h.t.Helper()
	log := zerolog.New(zerolog.NewTestWriter(h.t))
	h.source = btrfs.NewSource(btrfs.Options{Log: log})
	target, err := btrfs.NewTarget(btrfs.TargetOptions{Into: h.into(), Now: now, Log: log, Segments: limits()})
	h.must(err)
	h.target = target
}

func (h *harness) Path(name string) dataset.Path {
	return dataset.Path(filepath.Join(h.from, "data", name))
}

func (h *harness) Make(name string) dataset.Dataset {
	h.t.Helper()
	path := h.Path(name)
	h.tool("btrfs", "subvolume", "create", "--", string(path))
	found, err := h.source.Find(h.t.Context(), path, false)
	h.must(err)
	if len(found) != 1 {
		h.t.Fatalf("find %s, which was just made: got %v", path, found)
	}
	return found[0]
}

func (h *harness) MakeDir(name string) dataset.Path {
	h.t.Helper()
	h.mkdir(string(h.Path(name)))
	return h.Path(name)
}

func (h *harness) Write(d dataset.Path, file string, data []byte) error {
	return h.WriteAt(string(d), file, data)
}

func (h *harness) Delete(d dataset.Path, file string) error {
	return os.Remove(filepath.Join(string(d), file))
}

func (h *harness) Read(d dataset.Path, snapshot, file string) ([]byte, error) {
	return h.ReadAt(h.received(d, snapshot), file)
}

// beyond is the third place in a chain. It is on the source's file system, where the
// snapshots are that what arrives there was received from.
func (h *harness) beyond() string { return filepath.Join(h.from, "beyond") }

func (h *harness) Beyond() fsdrivers.Target {
	h.t.Helper()
	target, err := btrfs.NewTarget(btrfs.TargetOptions{Into: h.beyond(), Now: now, Log: zerolog.Nop(), Segments: limits()})
	h.must(err)
	return target
}

func (h *harness) ReadBeyond(d dataset.Path, snapshot, file string) ([]byte, error) {
	return h.ReadAt(filepath.Join(h.beyond(), string(d), snapshot), file)
}

func (h *harness) received(d dataset.Path, snapshot string) string {
	return filepath.Join(h.into(), string(d), snapshot)
}

func (h *harness) WriteAt(where, file string, data []byte) error {
	return os.WriteFile(filepath.Join(where, file), data, 0o644)
}

func (h *harness) ReadAt(where, file string) ([]byte, error) {
	return os.ReadFile(filepath.Join(where, file))
}

func (h *harness) filler() string { return filepath.Join(h.to, "filler") }

// Fill allocates in steps that get smaller, until not a block is left, and gives
// the end of it back.
func (h *harness) Fill(leave int64) {
	h.t.Helper()
	h.t.Cleanup(h.lab.leave) // no other case should meet what is left of it
	f, err := os.Create(h.filler())
	h.must(err)
	defer f.Close()
	var at int64
	for step := int64(64 << 20); step >= 4<<10; {
		switch err := unix.Fallocate(int(f.Fd()), 0, at, step); {
		case err == nil:
			at += step
		case errors.Is(err, unix.ENOSPC):
			step /= 2
		default:
			h.must(err)
		}
	}
	h.must(f.Truncate(at - leave))
	h.tool("btrfs", "filesystem", "sync", h.to)
}

func (h *harness) Drain() {
	h.t.Helper()
	h.must(os.Remove(h.filler()))
	h.tool("btrfs", "filesystem", "sync", h.to)
}

func (h *harness) RemoveSent(d dataset.Path, snapshot string) {
	h.t.Helper()
	h.tool("btrfs", "subvolume", "delete", filepath.Join(string(d), dataset.Dir, snapshot))
}

func (h *harness) RemoveReceived(d dataset.Path, snapshot string) {
	h.t.Helper()
	h.tool("btrfs", "subvolume", "delete", h.received(d, snapshot))
}

// Vanish moves the dataset away: the kernel does not let anybody delete a
// snapshot that is being sent.
func (h *harness) Vanish(d dataset.Path) {
	h.t.Helper()
	h.vanished++
	h.must(os.Rename(string(d), filepath.Join(h.from, fmt.Sprintf("vanished-%d", h.vanished))))
}

// ForeignCopy makes two: what snapper makes, and a subvolume with a lower id
// and other content that claims to be the received one (FIELD-NOTES B.3: plain
// `btrfs receive` would build on that).
func (h *harness) ForeignCopy(d dataset.Path, snapshot string) {
	h.t.Helper()
	real := h.received(d, snapshot)
	h.tool("btrfs", "subvolume", "snapshot", "-r", real, filepath.Join(h.to, "snapper"))
	h.must(os.WriteFile(filepath.Join(h.early(), "a"), []byte("forged"), 0o644))
	h.must(setReceived(h.early(), h.show(real, "Received UUID:"), h.show(real, "Send transid:")))
	h.tool("btrfs", "property", "set", h.early(), "ro", "true")
}

// show reads one line of `btrfs subvolume show`.
func (h *harness) show(path, field string) string {
	h.t.Helper()
	for line := range strings.Lines(h.tool("btrfs", "subvolume", "show", path)) {
		if value, found := strings.CutPrefix(strings.TrimSpace(line), field); found {
			return strings.TrimSpace(value)
		}
	}
	h.t.Fatalf("btrfs subvolume show %s: no line %q", path, field)
	return ""
}

// Leftovers lists the work in progress.
func (h *harness) Leftovers() (all []string) {
	h.t.Helper()
	entries, err := os.ReadDir(filepath.Join(h.into(), dataset.Dir, "incoming"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		h.t.Fatal(err)
	}
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// Outside lists everything on the target's file system but into.
func (h *harness) Outside() (all []string) {
	h.t.Helper()
	into, err := filepath.Rel(h.lab.to.Dir, h.into())
	h.must(err)
	entries, err := manifest.Of(h.lab.to.Dir, func(path string) bool { return path == into })
	h.must(err)
	for _, e := range entries {
		line, err := json.Marshal(e)
		h.must(err)
		all = append(all, string(line))
	}
	return all
}

// Litter receives the part in a daemon of its own, and kills that.
func (h *harness) Litter(in dataset.Incoming, part []byte) {
	h.t.Helper()
	arg, err := json.Marshal(in)
	h.must(err)
	child := exec.Command(os.Args[0], "-test.run=^TestReceiveAndDie$")
	child.Env = append(os.Environ(), dieEnv+"="+string(arg), "ANTIPODE_TEST_INTO="+h.into())
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe()
	h.must(err)
	h.must(child.Start())
	// The last 64 KiB may still be in the pipe: what came before is taken in.
	_, err = stdin.Write(part)
	if kill := child.Process.Kill(); err == nil {
		err = kill
	}
	child.Wait() // it was killed
	h.must(err)
}

const dieEnv = "ANTIPODE_TEST_RECEIVE"

// TestReceiveAndDie is what Litter starts; it is no test.
func TestReceiveAndDie(t *testing.T) {
	arg := os.Getenv(dieEnv)
	if arg == "" {
		return
	}
	var in dataset.Incoming
	if err := json.Unmarshal([]byte(arg), &in); err != nil {
		t.Fatal(err)
	}
	target, err := btrfs.NewTarget(btrfs.TargetOptions{Into: os.Getenv("ANTIPODE_TEST_INTO"), Now: now, Log: zerolog.Nop(), Segments: limits()})
	if err != nil {
		t.Fatal(err)
	}
	_, err = target.Receive(t.Context(), in, io.MultiReader(os.Stdin, never{}))
	t.Fatalf("receive: got %v, want to be killed", err)
}

// never is a reader that hangs.
type never struct{}

func (never) Read([]byte) (int, error) { select {} }
