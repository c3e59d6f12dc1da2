//go:build zfs

package zfs

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs"
)

// What zfs allow has to give a daemon without root, as the package comment of
// fsdrivers/zfs lists it.
const (
	mayOnSource = "snapshot,hold,release,bookmark,destroy,mount,userprop,send,readonly"
	mayOnTarget = "create,mount,receive,userprop,hold,release,destroy,rollback,rename,clone,bookmark,readonly,canmount,mountpoint," +
		"setuid,devices,exec,sharenfs,sharesmb,snapdir,volmode,snapdev"
)

const (
	userEnv = "ANTIPODE_TEST_USER"
	someone = 1000 // a user; it needs no name
)

// delegated tells the child what it works on.
type delegated struct {
	From, Into, Locks string
	Volume            bool
}

// TestWithoutRoot runs both drivers as a user whom zfs allow permits what is
// listed, and nothing else.
func TestWithoutRoot(t *testing.T) {
	info, err := os.Stat("/dev/zfs")
	if err != nil || info.Mode().Perm()&0o006 != 0o006 {
		t.Fatalf("/dev/zfs is not for everybody (%v, %v), as the packages' udev rule makes it", info, err)
	}
	for name, kind := range map[string]files{"filesystem": filesystems{}, "volume": volumes{}} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, &lab{t: t, name: "user " + name, files: kind})
			d := h.Make("db")
			h.must(h.Write(d.Path, "a", noise(1<<20)))
			h.zfs("allow", "-u", "1000", mayOnSource, h.from)
			h.zfs("allow", "-u", "1000", mayOnTarget, h.to)
			_, isVolume := kind.(volumes)
			said, err := asUser(t, delegated{From: string(d.Path), Into: h.to + "/theirs", Volume: isVolume})
			t.Log(said)
			h.must(err)
		})
	}
}

// asUser runs TestAsUser of this binary as somebody.
func asUser(t *testing.T, what delegated) (string, error) {
	t.Helper()
	// Its folders may be closed to others.
	dir, err := os.MkdirTemp("/tmp", "antipode-user")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	what.Locks = filepath.Join(dir, "locks")
	self, err := os.ReadFile(os.Args[0])
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o755), os.WriteFile(filepath.Join(dir, "test"), self, 0o755), os.Mkdir(what.Locks, 0o700), os.Chown(what.Locks, someone, someone))
	}
	text, jerr := json.Marshal(what)
	if err := errors.Join(err, jerr); err != nil {
		t.Fatal(err)
	}
	child := exec.Command(filepath.Join(dir, "test"), "-test.run=^TestAsUser$", "-test.v")
	child.Dir = dir
	child.Env = append(os.Environ(), userEnv+"="+string(text), "TMPDIR=/tmp")
	child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: someone, Gid: someone}}
	out, err := child.CombinedOutput()
	return string(out), err
}

// TestAsUser is what TestWithoutRoot starts; it is no test.
func TestAsUser(t *testing.T) {
	arg := os.Getenv(userEnv)
	if arg == "" {
		return
	}
	var what delegated
	if err := json.Unmarshal([]byte(arg), &what); err != nil {
		t.Fatal(err)
	}
	o := targetOptions(what.Into)
	o.Locks = what.Locks
	target, err := zfs.NewTarget(o)
	if err != nil {
		t.Fatal(err)
	}
	u := user{t: t, path: dataset.Path(what.From), source: zfs.NewSource(zfs.Options{Log: zerolog.Nop()}), target: target}
	u.crossing()
	u.fence(what.Volume)
	if !what.Volume {
		u.activation()
	}
}

// user is somebody's pair of drivers.
type user struct {
	t      *testing.T
	path   dataset.Path
	source *zfs.Source
	target *zfs.Target
	last   dataset.Snapshot
	step   dataset.Step
}

func (u *user) must(err error, doing string) {
	u.t.Helper()
	if err != nil {
		u.t.Fatalf("%s: %v", doing, err)
	}
}

func (u *user) snap(d dataset.Dataset, name string) dataset.Snapshot {
	u.t.Helper()
	made, err := u.source.Snapshot(u.t.Context(), "antipode_"+name, time.Unix(1_700_000_000, 0), []dataset.Path{d.Path})
	u.must(err, "snapshot")
	return made[0]
}

// crossing does all that a crossing needs: two steps, one of them cut.
func (u *user) crossing() {
	ctx, tag := u.t.Context(), dataset.Tag("base.x")
	found, err := u.source.Find(ctx, u.path, false)
	u.must(err, "find")
	d := found[0]
	s1 := u.snap(d, "1")
	u.must(u.source.Hold(ctx, d.Path, s1, tag), "hold")
	u.send(stepOf(d, dataset.Snapshot{}, s1), true)
	u.must(u.target.Hold(ctx, d.Path, s1, tag), "hold on the target")
	s2 := u.snap(d, "2")
	u.send(stepOf(d, s1, s2), false)
	u.must(u.source.SwapMark(ctx, d.Path, dataset.Mark{}, markOf(1)), "mark")
	u.must(u.target.SwapMark(ctx, d.Path, dataset.Mark{}, markOf(1)), "mark on the target")
	u.must(u.source.Release(ctx, d.Path, tag), "release")
	u.must(u.target.Release(ctx, d.Path, tag), "release on the target")
	u.must(u.source.Bookmark(ctx, d.Path, s1), "bookmark")
	u.must(u.source.Destroy(ctx, d.Path, s1), "destroy")
	u.must(u.target.Destroy(ctx, d.Path, s2), "destroy the newest on the target")
	u.must(u.target.Sweep(ctx), "sweep")
	u.send(stepOf(d, s1, s2), false)
}

// fence of what is mounted needs root: Linux lets nobody else mount, or mount anew
// without writing. The error says so, and what is not mounted is fenced.
func (u *user) fence(isVolume bool) {
	u.t.Helper()
	err := u.source.Fence(u.t.Context(), u.path)
	if isVolume {
		u.must(err, "fence")
	} else if !errors.Is(err, dataset.ErrRefused) || !strings.Contains(err.Error(), "as root") {
		u.t.Errorf("fence: got %v, want that it takes root", err)
	}
}

// markOf is a mark of that generation.
func markOf(generation uint64) dataset.Mark {
	return dataset.Mark{Activation: dataset.Activation{Generation: generation, ID: "0123456789abcdef0123456789abcdef", Node: "sin1"}}
}

func (u *user) send(s dataset.Step, cut bool) {
	u.t.Helper()
	ctx := u.t.Context()
	in := dataset.Incoming{Step: s, Retain: s.To.Created}
	var c dataset.Checkpoint
	if cut {
		r, err := u.source.Send(ctx, s, c)
		u.must(err, "send")
		whole, err := io.ReadAll(r)
		u.must(err, "read")
		r.Close()
		if _, err := u.target.Receive(ctx, in, bytes.NewReader(whole[:len(whole)/2])); !errors.Is(err, dataset.ErrCut) {
			u.t.Fatalf("receive half: got %v", err)
		}
		c, err = u.target.Pending(ctx, s.Dataset.Path)
		u.must(err, "pending")
		if c.Done == 0 {
			u.t.Error("nothing to go on from after a cut")
		}
	}
	r, err := u.source.Send(ctx, s, c)
	u.must(err, "send")
	defer r.Close()
	_, err = u.target.Receive(ctx, in, r)
	u.must(err, "receive")
	u.last, u.step = s.To, s
}

// activation needs root: Linux lets nobody else mount. The error says so, and root
// finishes what was begun.
func (u *user) activation() {
	_, err := u.target.Activate(u.t.Context(), u.path, u.last, "aside-1")
	if err == nil || !strings.Contains(err.Error(), "as root") {
		u.t.Errorf("activate: got %v, want that it takes root", err)
	}
}
