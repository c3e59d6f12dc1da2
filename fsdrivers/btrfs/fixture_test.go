package btrfs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"antipode/fsdrivers/dataset"
	"antipode/integration/loopfs"
	"antipode/integration/manifest"
)

// pair is a source and a target on two file systems.
type pair struct {
	t      *testing.T
	from   string // mount point of the source's file system
	to     string // mount point of the target's
	db     dataset.Path
	source *Source
	target *Target
	now    time.Time
}

const testSize = 256 << 20

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{t: t, from: loopfs.New(t, testSize), to: loopfs.New(t, testSize), now: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)}
	p.db = p.subvolume("db")
	p.source = NewSource(Options{Log: zerolog.Nop()})
	p.target = p.newTarget("")
	return p
}

func (p *pair) newTarget(live string) *Target {
	p.t.Helper()
	target, err := NewTarget(TargetOptions{
		Into: filepath.Join(p.to, "into"), Live: live, Log: zerolog.Nop(), Now: func() time.Time { return p.now },
	})
	if err != nil {
		p.t.Fatal(err)
	}
	return target
}

// subvolume makes one on the source.
func (p *pair) subvolume(rel string) dataset.Path {
	p.t.Helper()
	path := filepath.Join(p.from, rel)
	tool(p.t, "btrfs", "subvolume", "create", path)
	return dataset.Path(path)
}

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// dataset is d as its source declares it.
func (p *pair) dataset(d dataset.Path) dataset.Dataset {
	p.t.Helper()
	found, err := p.source.Find(context.Background(), d, false)
	if err != nil || len(found) != 1 {
		p.t.Fatalf("Find(%s) = %v, %v; want one dataset", d, found, err)
	}
	return found[0]
}

func (p *pair) snapshot(d dataset.Path, n int) dataset.Snapshot {
	p.t.Helper()
	created := p.now.Add(time.Duration(n) * time.Second)
	list, err := p.source.Snapshot(context.Background(), fmt.Sprintf("antipode_job_%d", n), created, []dataset.Path{d})
	if err != nil {
		p.t.Fatal(err)
	}
	return list[0]
}

func (p *pair) step(d dataset.Path, from, to dataset.Snapshot) dataset.Step {
	p.t.Helper()
	return dataset.Step{Job: "job", Dataset: p.dataset(d), From: from, To: to}
}

// cross sends a step and receives it.
func (p *pair) cross(step dataset.Step) (dataset.Snapshot, error) {
	p.t.Helper()
	return cross(p.t, p.source, p.target, step)
}

func cross(t *testing.T, source *Source, target *Target, step dataset.Step) (dataset.Snapshot, error) {
	t.Helper()
	r, err := source.Send(context.Background(), step, dataset.Checkpoint{})
	if err != nil {
		t.Fatalf("Send: %v", err)
	}
	got, err := target.Receive(context.Background(), dataset.Incoming{Step: step, Retain: step.To.Created}, r)
	if cerr := r.Close(); cerr != nil {
		t.Errorf("close of send: %v", cerr)
	}
	return got, err
}

func (p *pair) mustCross(step dataset.Step) dataset.Snapshot {
	p.t.Helper()
	got, err := p.cross(step)
	if err != nil {
		p.t.Fatalf("cross %s: %v", step.To.Name, err)
	}
	return got
}

// stream is all that a step sends.
func (p *pair) stream(step dataset.Step) []byte {
	p.t.Helper()
	r, err := p.source.Send(context.Background(), step, dataset.Checkpoint{})
	if err != nil {
		p.t.Fatal(err)
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err != nil {
		p.t.Fatal(err)
	}
	return data
}

func (p *pair) receive(step dataset.Step, stream []byte) (dataset.Snapshot, error) {
	return p.target.Receive(context.Background(), dataset.Incoming{Step: step, Retain: step.To.Created}, bytes.NewReader(stream))
}

// atSource is where a snapshot is on the source.
func atSource(d dataset.Path, s dataset.Snapshot) string {
	return filepath.Join(string(d), dataset.Dir, s.Name)
}

// published is where a snapshot is on the target.
func (p *pair) published(d dataset.Path, s dataset.Snapshot) string {
	return filepath.Join(p.to, "into", string(d), s.Name)
}

func sameTree(t *testing.T, want, got string) {
	t.Helper()
	ours := func(path string) bool { return path == dataset.Dir || strings.HasSuffix(path, "/"+dataset.Dir) }
	a, err := manifest.Of(want, ours)
	if err != nil {
		t.Fatal(err)
	}
	b, err := manifest.Of(got, ours)
	if err != nil {
		t.Fatal(err)
	}
	if len(a) < 2 {
		t.Fatalf("%s is empty: nothing was compared", want)
	}
	for _, line := range manifest.Diff(a, b) {
		t.Errorf("%s differs from %s: %s", got, want, line)
	}
}

// fill makes one of every kind of file.
func fill(t *testing.T, root string) {
	t.Helper()
	write(t, filepath.Join(root, "data"), bytes.Repeat([]byte("0123456789abcdef"), 64<<10))
	write(t, filepath.Join(root, "-rf"), []byte("a leading dash"))
	must(t, os.MkdirAll(filepath.Join(root, "d i r/é/e\u0301"), 0o2751))
	write(t, filepath.Join(root, "d i r/é/new\nline"), []byte("x"))
	must(t, os.Link(filepath.Join(root, "data"), filepath.Join(root, "d i r/hard")))
	must(t, os.Symlink("../../nowhere", filepath.Join(root, "link")))
	must(t, unix.Mkfifo(filepath.Join(root, "fifo"), 0o640))
	tool(t, "cp", "--reflink=always", filepath.Join(root, "data"), filepath.Join(root, "clone"))
	must(t, os.Chmod(filepath.Join(root, "clone"), 0o4711))
	must(t, os.Lchown(filepath.Join(root, "link"), 12, 34))
	must(t, unix.Setxattr(filepath.Join(root, "data"), "user.colour", []byte{0, 1, 2}, 0))
	sparse, err := os.Create(filepath.Join(root, "sparse"))
	must(t, err)
	_, err = sparse.WriteAt([]byte("end"), 8<<20)
	must(t, err)
	must(t, sparse.Close())
	must(t, os.Chtimes(root, time.Unix(1000, 1), time.Unix(2000, 123456789)))
}

// change does a bit of everything to what fill made.
func change(t *testing.T, root string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(root, "data"), os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt([]byte("changed"), 5000)
	must(t, err)
	must(t, f.Close())
	must(t, os.Rename(filepath.Join(root, "d i r"), filepath.Join(root, "renamed")))
	must(t, os.Remove(filepath.Join(root, "fifo")))
	must(t, unix.Removexattr(filepath.Join(root, "data"), "user.colour"))
	tool(t, "cp", "--reflink=always", filepath.Join(root, "clone"), filepath.Join(root, "clone of clone"))
	must(t, os.Truncate(filepath.Join(root, "sparse"), 1<<20))
	must(t, os.Chtimes(root, time.Unix(3000, 3), time.Unix(4000, 987654321)))
}

func write(t *testing.T, path string, data []byte) {
	t.Helper()
	must(t, os.WriteFile(path, data, 0o644))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
