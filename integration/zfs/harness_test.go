//go:build zfs

package zfs

import (
	"context"
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
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs"
)

// lab is what the cases of one suite share: two pools, and what kind of dataset
// they work on.
type lab struct {
	t     *testing.T
	name  string
	files files
	cases int
	// clock lets the drivers keep what they have read; nil: they read each time.
	clock func() time.Time
}

// pools are those that the test machine, or make test-zfs, has made.
func pools(t *testing.T) (src, dst string) {
	t.Helper()
	src, dst = os.Getenv("ANTIPODE_ZFS_SRC"), os.Getenv("ANTIPODE_ZFS_DST")
	if src == "" || dst == "" {
		t.Fatal("ANTIPODE_ZFS_SRC and ANTIPODE_ZFS_DST name no pools; run this with make test-zfs")
	}
	return src, dst
}

// harness is a drivertest.Harness on two pools.
type harness struct {
	t        *testing.T
	lab      *lab
	from, to string // what holds the case's datasets, and Into
	vanished int
	found    map[string]string // datasets, by what was looked for
	source   *zfs.Source
	target   *zfs.Target
}

func newHarness(t *testing.T, l *lab) *harness {
	src, dst := pools(t)
	return newHarnessOn(t, l, src, dst)
}

func newHarnessOn(t *testing.T, l *lab, src, dst string) *harness {
	l.cases++
	name := fmt.Sprintf("%s case %d", l.name, l.cases)
	h := &harness{t: t, lab: l, from: src + "/" + name, to: dst + "/" + name, found: make(map[string]string)}
	h.zfs("create", "-o", "canmount=off", h.from)
	// What is made stays: the pools go with the machine, and on a host make test-zfs
	// destroys them: a destroy takes a quarter of a second there.
	t.Cleanup(h.unmount)
	h.Reopen()
	return h
}

// unmount lets go of what the case has mounted: every zfs reads all mounts.
func (h *harness) unmount() {
	text, err := os.ReadFile("/proc/self/mounts")
	h.must(err)
	for line := range strings.Lines(strings.ReplaceAll(string(text), `\040`, "\x00")) {
		f := strings.Fields(line)
		from, at := strings.ReplaceAll(f[0], "\x00", " "), strings.ReplaceAll(f[1], "\x00", " ")
		if strings.HasPrefix(from, h.from+"/") || strings.HasPrefix(from, h.to+"/") {
			unix.Unmount(at, unix.MNT_DETACH) // one may have covered another
		}
	}
}

// run runs a command and returns what it printed, and whether it succeeded.
func run(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return string(out), fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

func (h *harness) must(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *harness) zfs(args ...string) string {
	h.t.Helper()
	out, err := run(h.t, "zfs", args...)
	h.must(err)
	return strings.TrimSpace(out)
}

func (h *harness) into() string { return h.to }

func (h *harness) Source() fsdrivers.Source { return h.source }
func (h *harness) Target() fsdrivers.Target { return operated{h.target, h} }
func (h *harness) Now() time.Time           { return now() }

func now() time.Time { return time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC) }

// SourceAtTarget is the source of the host that the target is on.
func (h *harness) SourceAtTarget() fsdrivers.Source {
	return zfs.NewSource(zfs.Options{Log: zerolog.Nop()})
}

func (h *harness) Reopen() {
	h.t.Helper()
	h.source = zfs.NewSource(zfs.Options{Log: zerolog.Nop(), Now: h.lab.clock})
	o := targetOptions(h.into())
	o.Clock = h.lab.clock
	target, err := zfs.NewTarget(o)
	h.must(err)
	h.target = target
}

func (h *harness) SourceWith(include func(string) bool) fsdrivers.Source {
	return zfs.NewSource(zfs.Options{Log: zerolog.Nop(), Include: include})
}

func (h *harness) MakeForeign(d dataset.Path, name string) {
	h.zfs("snapshot", string(d)+"@"+name)
}

// operated is a target whose operator loads the key before an activation.
type operated struct {
	*zfs.Target
	h *harness
}

func (o operated) Activate(ctx context.Context, d dataset.Path, s dataset.Snapshot, aside string) (fsdrivers.Activated, error) {
	if name, err := o.h.received(d, s.Name); err == nil {
		o.h.must(o.h.lab.files.unlock(o.h.t, name+"@"+s.Name))
	}
	return o.Target.Activate(ctx, d, s, aside)
}

// ActivateInPlace is the same for the replica itself, whose key is that of its points.
func (o operated) ActivateInPlace(ctx context.Context, d dataset.Path, s dataset.Snapshot) (fsdrivers.Activated, error) {
	if name, err := o.h.received(d, s.Name); err == nil {
		o.h.must(o.h.lab.files.unlock(o.h.t, name+"@"+s.Name))
	}
	return o.Target.ActivateInPlace(ctx, d, s)
}

func targetOptions(into string) zfs.TargetOptions {
	return zfs.TargetOptions{Into: into, Locks: filepath.Join(os.TempDir(), "antipode-locks"), Now: now, Log: zerolog.Nop()}
}

func (h *harness) Path(name string) dataset.Path {
	return dataset.Path(strings.TrimSuffix(h.from+"/"+name, "/"))
}

func (h *harness) Make(name string) dataset.Dataset {
	h.t.Helper()
	path := h.Path(name)
	h.must(h.lab.files.make(h.t, string(path)))
	found, err := h.source.Find(h.t.Context(), path, false)
	h.must(err)
	if len(found) != 1 {
		h.t.Fatalf("find %s, which was just made: got %v", path, found)
	}
	return found[0]
}

// MakeDir makes what on ZFS is nearest to a directory that is no dataset.
func (h *harness) MakeDir(name string) dataset.Path {
	h.t.Helper()
	h.zfs("create", "-o", "canmount=off", "-o", "org.antipode:placeholder=on", string(h.Path(name)))
	return h.Path(name)
}

// Nests implements drivertest.Nester: nothing lies below a volume.
func (h *harness) Nests() bool {
	_, flat := h.lab.files.(volumes)
	return !flat
}

// HardNames are the hardest that ZFS takes, with room for @ and a name behind.
func (h *harness) HardNames() []string {
	room := 230 - len(h.Path("dir/")) - len(h.into()) - len("antipode_drivertest_01")
	return []string{"with space", " spaces at its ends ", "-dash", "--help", "a:b.c_d-e", "1", "...", strings.Repeat("n", room)}
}

func (h *harness) Write(d dataset.Path, file string, data []byte) error {
	return h.WriteAt(string(d), file, data)
}

func (h *harness) Delete(d dataset.Path, file string) error {
	return h.lab.files.remove(h.t, string(d), file)
}

func (h *harness) WriteAt(where, file string, data []byte) error {
	return h.lab.files.write(h.t, where, file, data)
}

func (h *harness) ReadAt(where, file string) ([]byte, error) {
	return h.lab.files.read(h.t, where, file)
}

// beyond is the third place in a chain. It is on the source's pool, beside the datasets.
func (h *harness) beyond() string { return h.from + " beyond" }

func (h *harness) Beyond() fsdrivers.Target {
	h.t.Helper()
	target, err := zfs.NewTarget(targetOptions(h.beyond()))
	h.must(err)
	return target
}

func (h *harness) ReadBeyond(d dataset.Path, snapshot, file string) ([]byte, error) {
	return h.readIn(h.beyond(), d, snapshot, file)
}

// received finds the dataset that holds a published snapshot, as an operator would.
func (h *harness) received(d dataset.Path, snapshot string) (string, error) {
	h.t.Helper()
	return h.receivedIn(h.into(), d, snapshot)
}

func (h *harness) receivedIn(into string, d dataset.Path, snapshot string) (string, error) {
	h.t.Helper()
	lines := h.zfs("get", "-Hp", "-r", "-s", "local", "-t", "filesystem,volume", "-o", "name,value", "org.antipode:path", into)
	for line := range strings.Lines(lines) {
		name, path, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if path != string(d) {
			continue
		}
		if _, err := run(h.t, "zfs", "list", name+"@"+snapshot); err == nil {
			return name, nil
		}
	}
	return "", fmt.Errorf("%s of %s: %w", snapshot, d, dataset.ErrNotFound)
}

// Read looks first where it last found the snapshot: each process takes long here.
func (h *harness) Read(d dataset.Path, snapshot, file string) ([]byte, error) {
	return h.readIn(h.into(), d, snapshot, file)
}

func (h *harness) readIn(into string, d dataset.Path, snapshot, file string) ([]byte, error) {
	key := into + " " + string(d) + "@" + snapshot
	if name, known := h.found[key]; known {
		data, err := h.lab.files.readSnapshot(h.t, name+"@"+snapshot, file)
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			return data, err
		}
	}
	name, err := h.receivedIn(into, d, snapshot)
	if err != nil {
		return nil, err
	}
	h.found[key] = name
	return h.lab.files.readSnapshot(h.t, name+"@"+snapshot, file)
}

// Fill sets a quota: writing gigabytes takes minutes here.
func (h *harness) Fill(leave int64) {
	h.t.Helper()
	h.zfs("set", "quota="+fmt.Sprint(h.used()+leave), h.to)
}

func (h *harness) Drain() {
	h.t.Helper()
	h.zfs("set", "quota=none", h.to)
}

func (h *harness) used() (n int64) {
	h.t.Helper()
	_, err := fmt.Sscan(h.zfs("list", "-Hp", "-o", "used", h.to), &n)
	h.must(err)
	return n
}

func (h *harness) RemoveSent(d dataset.Path, snapshot string) {
	h.t.Helper()
	h.remove(string(d) + "@" + snapshot)
}

func (h *harness) RemoveReceived(d dataset.Path, snapshot string) {
	h.t.Helper()
	name, err := h.received(d, snapshot)
	h.must(err)
	h.remove(name + "@" + snapshot)
}

// remove releases what holds the snapshot, as somebody does who wants it gone.
func (h *harness) remove(full string) {
	h.t.Helper()
	for line := range strings.Lines(h.zfs("holds", "-H", full)) {
		if f := strings.Split(line, "\t"); len(f) > 1 {
			h.zfs("release", f[1], full)
		}
	}
	h.zfs("destroy", full)
}

// Vanish renames the dataset: ZFS destroys no snapshot that is being sent.
func (h *harness) Vanish(d dataset.Path) {
	h.t.Helper()
	h.vanished++
	h.zfs("rename", string(d), fmt.Sprintf("%s vanished %d", h.from, h.vanished))
}

func (h *harness) ForeignCopy(d dataset.Path, snapshot string) {
	h.t.Helper()
	name, err := h.received(d, snapshot)
	h.must(err)
	_, err = run(h.t, "bash", "-c", `set -o pipefail; zfs send -w "$1" | zfs receive -u "$2"`, "copy", name+"@"+snapshot, h.to+" copy")
	h.must(err)
}

// Leftovers lists what receives have not finished.
func (h *harness) Leftovers() (all []string) {
	h.t.Helper()
	out := h.zfs("get", "-Hp", "-r", "-t", "filesystem,volume", "-o", "name,value", "receive_resume_token", h.into())
	for line := range strings.Lines(out) {
		if name, token, _ := strings.Cut(strings.TrimSpace(line), "\t"); token != "-" {
			all = append(all, name)
		}
	}
	return all
}

// Outside lists what is right below the target's pool but into: whatever is made
// outside of that is there, or in what another case left, which takes minutes to list.
func (h *harness) Outside() (all []string) {
	h.t.Helper()
	_, dst := pools(h.t)
	for line := range strings.Lines(h.zfs("list", "-Hp", "-d", "1", "-t", "all", "-o", "name,guid,mountpoint,mounted,readonly", dst)) {
		if !strings.HasPrefix(line, h.into()+"/") && !strings.HasPrefix(line, h.into()+"\t") {
			all = append(all, line)
		}
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
	_, err = stdin.Write(part)
	h.awaitLeftovers()
	if kill := child.Process.Kill(); err == nil {
		err = kill
	}
	child.Wait() // it was killed
	h.must(err)
}

// awaitLeftovers waits until the pool shows that a receive has begun.
func (h *harness) awaitLeftovers() {
	h.t.Helper()
	tick := time.NewTicker(200 * time.Millisecond) // else looking takes the processor from what it waits for
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		out := h.zfs("get", "-Hp", "-r", "-t", "filesystem,volume", "-o", "value", "receive_resume_token,inconsistent", h.into())
		for line := range strings.Lines(out + "\n") {
			if value := strings.TrimSpace(line); value == "1" || len(value) > 1 { // or a token
				return
			}
		}
	}
	h.t.Error("no receive has begun in a minute")
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
	target, err := zfs.NewTarget(targetOptions(os.Getenv("ANTIPODE_TEST_INTO")))
	if err != nil {
		t.Fatal(err)
	}
	_, err = target.Receive(t.Context(), in, io.MultiReader(os.Stdin, never{}))
	t.Fatalf("receive: got %v, want to be killed", err)
}

// never is a reader that hangs.
type never struct{}

func (never) Read([]byte) (int, error) { select {} }
