//go:build failpoints || machine

package crash

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"antipode/fsdrivers/btrfs"
	"antipode/fsdrivers/btrfs/segment"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/failpoint"
	"antipode/integration/manifest"
)

// What tells the test binary to be the one that is stopped.
const (
	fromVariable = "ANTIPODE_CRASH_FROM"
	intoVariable = "ANTIPODE_CRASH_INTO"
)

func TestMain(m *testing.M) {
	if from := os.Getenv(fromVariable); from != "" {
		if err := catchUp(dataset.Path(from), os.Getenv(intoVariable)); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// catchUp is what both daemons do when they start: sweep, ask what is pending, and
// send what the target does not have.
func catchUp(d dataset.Path, into string) error {
	ctx := context.Background()
	source := btrfs.NewSource(btrfs.Options{Log: zerolog.Nop()})
	target, err := btrfs.NewTarget(btrfs.TargetOptions{
		Into: into, Log: zerolog.New(os.Stderr), Now: time.Now,
		Segments: segment.Limits{Bytes: 1, Most: time.Hour, Quiet: time.Hour, Small: 1},
	})
	if err != nil {
		return err
	}
	if err := target.Sweep(ctx); err != nil {
		return err
	}
	found, err := source.Find(ctx, d, false)
	if err != nil {
		return err
	}
	list, err := source.Snapshots(ctx, d)
	if err != nil {
		return err
	}
	var from dataset.Snapshot
	for _, to := range list {
		step := dataset.Step{Job: "crash", Dataset: found[0], From: from, To: to}
		if err := cross(ctx, source, target, step); err != nil {
			return err
		}
		from = to
	}
	return nil
}

func cross(ctx context.Context, source *btrfs.Source, target *btrfs.Target, step dataset.Step) error {
	c, err := target.Pending(ctx, step.Dataset.Path)
	if err != nil {
		return err
	}
	if c.Step != step.ID() {
		c = dataset.Checkpoint{}
	}
	r, err := source.Send(ctx, step, c)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = target.Receive(ctx, dataset.Incoming{Step: step, Checkpoint: c, Retain: step.To.Created}, pieces{r})
	return err
}

// pieces makes several segments of a small stream.
type pieces struct{ r io.Reader }

func (p pieces) Read(b []byte) (int, error) { return p.r.Read(b[:min(len(b), 384<<10)]) }

// scene is a source with two snapshots of one dataset, and a file system to receive
// on.
type scene struct {
	*testing.T
	db dataset.Path
	to string // where the target's file system is mounted
}

func newScene(t *testing.T, from, to string) *scene {
	s := &scene{T: t, db: dataset.Path(filepath.Join(from, "db")), to: to}
	s.tool("btrfs", "subvolume", "create", string(s.db))
	s.furnish()
	s.snapshot("antipode_crash_1")
	s.change()
	s.snapshot("antipode_crash_2")
	return s
}

func (s *scene) at(parts ...string) string {
	return filepath.Join(append([]string{string(s.db)}, parts...)...)
}

// furnish makes a bit of everything.
func (s *scene) furnish() {
	s.write("big", 1400<<10)
	s.must(os.MkdirAll(s.at("d/e"), 0o750))
	s.write("d/e/small", 100)
	s.must(os.Link(s.at("big"), s.at("d/hard")))
	s.must(os.Symlink("../nowhere", s.at("link")))
	s.clone("big", "clone")
	s.must(unix.Setxattr(s.at("big"), "user.colour", []byte("red"), 0))
	s.must(os.Chtimes(string(s.db), time.Unix(1000, 1), time.Unix(2000, 123456789)))
}

func (s *scene) change() {
	s.write("more", 500<<10)
	s.must(os.Rename(s.at("d"), s.at("renamed")))
	s.must(os.Remove(s.at("renamed/e/small")))
	s.clone("clone", "clone again")
	s.must(os.Chtimes(string(s.db), time.Unix(3000, 3), time.Unix(4000, 987654321)))
}

func (s *scene) write(name string, n int) {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)}).Read(b)
	s.must(os.WriteFile(s.at(name), b, 0o640))
}

// clone shares the extents of a file; the test machine has no cp that does.
func (s *scene) clone(from, to string) {
	s.Helper()
	src, err := os.Open(s.at(from))
	s.must(err)
	defer src.Close()
	dst, err := os.Create(s.at(to))
	s.must(err)
	defer dst.Close()
	s.must(unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())))
}

func (s *scene) snapshot(name string) {
	s.Helper()
	source := btrfs.NewSource(btrfs.Options{Log: zerolog.Nop()})
	_, err := source.Snapshot(s.Context(), name, time.Now(), []dataset.Path{s.db})
	s.must(err)
}

func (s *scene) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *scene) tool(name string, args ...string) string {
	s.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		s.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// run starts the one that is stopped; it ends with the test.
func (s *scene) run(into, point, action string) (child *exec.Cmd, stdout *bufio.Reader) {
	s.Helper()
	child = exec.Command(os.Args[0])
	child.Env = append(os.Environ(), fromVariable+"="+string(s.db), intoVariable+"="+into,
		failpoint.Variable+"="+point, failpoint.ActionVariable+"="+action)
	child.Stderr = &bytes.Buffer{}
	pipe, err := child.StdoutPipe()
	s.must(err)
	s.must(child.Start())
	return child, bufio.NewReader(pipe)
}

// killedAt runs until the point and demands that it was hit.
func (s *scene) killedAt(into, point string) {
	s.Helper()
	child, _ := s.run(into, point, "kill")
	err := child.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		s.Fatalf("failpoint %s was not hit: %v: %s", point, err, child.Stderr)
	}
}

// complete runs to the end with nobody's help, and compares.
func (s *scene) complete(into, after string) {
	s.Helper()
	child, _ := s.run(into, "", "")
	if err := child.Wait(); err != nil {
		s.Fatalf("the run after %s: %v: %s", after, err, child.Stderr)
	}
	if n := s.right(into, after); n != 2 {
		s.Errorf("after %s and another run %d points are published, want 2", after, n)
	}
	s.nothingLeft(into, after)
}

// right compares what has its final name with the source, and counts it.
func (s *scene) right(into, when string) (n int) {
	s.Helper()
	list, err := filepath.Glob(filepath.Join(into, string(s.db), "antipode_*"))
	s.must(err)
	for _, point := range list {
		want, err := manifest.Of(s.at(dataset.Dir, filepath.Base(point)), ours)
		s.must(err)
		got, err := manifest.Of(point, ours)
		s.must(err)
		if len(want) < 5 {
			s.Fatalf("%s holds next to nothing: nothing is compared", point)
		}
		for _, line := range manifest.Diff(want, got) {
			s.Errorf("after %s: %s differs from its source: %s", when, filepath.Base(point), line)
		}
	}
	return len(list)
}

func ours(path string) bool { return path == dataset.Dir }

func (s *scene) nothingLeft(into, after string) {
	s.Helper()
	for _, pattern := range []string{".antipode/incoming/*", string(s.db) + "/.incoming-*"} {
		left, err := filepath.Glob(filepath.Join(into, pattern))
		if err != nil || len(left) > 0 {
			s.Errorf("after %s and another run there is still %v, %v", after, left, err)
		}
	}
}

// blow is a failpoint, and which one has to be hit in a run before it.
type blow struct{ before, point string }

// blows are all failpoints of the tree. Those that only a run after a crash reaches
// have another before them.
func blows() (all []blow) {
	before := map[string]string{
		"resume-recorded": "sealed:2", "sweep-kept": "sealed:3", "sweep-unnamed": "publish-stamped",
	}
	for line := range strings.Lines(failpoint.Points()) {
		name, _, _ := strings.Cut(line, "\t")
		all = append(all, blow{before[name], name})
	}
	return all
}
