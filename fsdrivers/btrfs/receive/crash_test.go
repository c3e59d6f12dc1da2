package receive_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"antipode/fsdrivers/btrfs/btrfstest"
	"antipode/fsdrivers/btrfs/btrfstest/pair"
	"antipode/fsdrivers/btrfs/stream"
	"antipode/fsdrivers/btrfs/subvol"
	"antipode/fsdrivers/btrfs/target"
	"antipode/fsdrivers/dataset"
	"antipode/integration/loopfs"
)

// TestMain lets a test run a daemon of its own that can be killed.
func TestMain(m *testing.M) {
	if into := os.Getenv("ANTIPODE_TEST_RECEIVE_INTO"); into != "" {
		fmt.Println(receiveForever(into, os.Getenv("ANTIPODE_TEST_BINARY")))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// receiveForever starts a receive of a stream that does not end.
func receiveForever(into, binary string) error {
	target, err := target.New(target.Options{Into: into, Binary: binary, Now: time.Now})
	if err != nil {
		return err
	}
	var in dataset.Incoming
	in.Step = orphanStep()
	start, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	_, err = target.Receive(context.Background(), in, io.MultiReader(bytes.NewReader(start), endless{}))
	return err
}

type endless struct{}

func (endless) Read([]byte) (int, error) { select {} }

func orphanStep() dataset.Step {
	return dataset.Step{
		Dataset: dataset.Dataset{Path: "/orphan", ID: "11111111-1111-4111-8111-111111111111"},
		To:      dataset.Snapshot{Name: "antipode_orphan", ID: "22222222-2222-4222-8222-222222222222"},
	}
}

// A killed daemon leaves `btrfs receive` behind; one that does not end by itself
// is ended by the sweep, which finds it by its lock.
func TestOrphanedReceiveIsEnded(t *testing.T) {
	p := pair.New(t)
	pidFile := filepath.Join(t.TempDir(), "pid")
	btrfstest.Must(t, unix.Mkfifo(pidFile, 0o600))
	stuck := filepath.Join(t.TempDir(), "btrfs")
	btrfstest.Must(t, os.WriteFile(stuck, []byte("#!/bin/sh\necho $$ > "+pidFile+"\nexec sleep 1000\n"), 0o755))
	daemon := exec.Command(os.Args[0])
	daemon.Env = append(os.Environ(), "ANTIPODE_TEST_RECEIVE_INTO="+filepath.Join(p.To, "into"), "ANTIPODE_TEST_BINARY="+stuck)
	more := stream.NewEncoder(1)
	more.Command(stream.Chmod, stream.Text(stream.AttrPath, ""), stream.Uint64(stream.AttrMode, 0o755))
	command, err := more.Bytes()
	btrfstest.Must(t, err)
	daemon.Stdin = bytes.NewReader(append(beginning(t, orphanStep().To.ID), command...))
	btrfstest.Must(t, daemon.Start())
	defer func() { _ = daemon.Process.Kill() }()
	orphan := readPID(t, pidFile)

	btrfstest.Must(t, p.Target.Sweep(context.Background())) // it leaves alone what a living daemon owns
	if err := p.Target.Abort(context.Background(), "/orphan"); !errors.Is(err, dataset.ErrBusy) {
		t.Errorf("abort of what a living daemon receives: %v, want ErrBusy", err)
	}
	if !runs(orphan) {
		t.Fatal("the sweep ended the child of a living daemon")
	}
	awaitRecord(t, filepath.Join(p.To, "into"), orphan)
	btrfstest.Must(t, daemon.Process.Kill())
	_ = daemon.Wait()
	if !runs(orphan) {
		t.Fatal("the child went with its daemon: nothing is tested")
	}
	btrfstest.Must(t, p.Target.Sweep(context.Background()))
	if runs(orphan) {
		t.Errorf("process %d still runs", orphan)
	}
	p.NothingInProgress()
}

// awaitRecord waits until a daemon has written down which child it has started.
func awaitRecord(t *testing.T, into string, child int) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		locks, err := filepath.Glob(filepath.Join(into, dataset.Dir, "incoming", "*", "lock"))
		btrfstest.Must(t, err)
		for _, lock := range locks {
			if text, err := os.ReadFile(lock); err == nil && strings.Contains(string(text), fmt.Sprintf("child %d ", child)) {
				return
			}
		}
	}
	t.Fatalf("no lock below %s names process %d", into, child)
}

// beginning is the beginning of a full stream of to.
func beginning(t *testing.T, to dataset.ID) []byte {
	t.Helper()
	e := stream.NewEncoder(1)
	e.Header()
	e.First(stream.First{Name: "x", UUID: stream.UUID(uuid.MustParse(string(to))), Ctransid: 7})
	data, err := e.Bytes()
	btrfstest.Must(t, err)
	return data
}

// A stream may write through its own symbolic links, which lead to the root that
// btrfs receive has: no file of ours is there.
func TestSymbolicLinksOfAStreamLeadToNoFileOfOurs(t *testing.T) {
	p := pair.New(t)
	btrfstest.Fill(t, string(p.DB))
	step := p.Step(p.DB, dataset.Snapshot{}, p.Snapshot(p.DB, 1))
	e := stream.NewEncoder(1)
	path := func(s string) stream.Attr { return stream.Text(stream.AttrPath, s) }
	for _, name := range []string{"record", "lock", "../record"} {
		link := "link to " + filepath.Base(name)
		e.Command(stream.Symlink, path(link), stream.Uint64(stream.AttrIno, 300), stream.Text(stream.AttrPathLink, "/"+name))
		e.Command(stream.Write, path(link), stream.Uint64(stream.AttrFileOffset, 0), stream.Text(stream.AttrData, "forged"))
		e.Command(stream.Rename, path(link), stream.Text(stream.AttrPathTo, strings.ReplaceAll(name, "/", " ")))
	}
	e.End()
	attack, err := e.Bytes()
	btrfstest.Must(t, err)
	if _, err := p.Receive(step, append(beginning(t, step.To.ID), attack...)); err == nil || !strings.Contains(err.Error(), "No such file") {
		t.Errorf("receive: %v, want that there is no such file", err)
	}
	p.NothingInProgress()
}

// readPID waits until a child has written its number into a fifo.
func readPID(t *testing.T, fifo string) int {
	t.Helper()
	timeout := time.AfterFunc(time.Minute, func() { // so that nobody waits for a child that failed
		if f, err := os.OpenFile(fifo, os.O_RDWR, 0); err == nil {
			_, _ = f.WriteString("none\n")
			f.Close()
		}
	})
	defer timeout.Stop()
	text, err := os.ReadFile(fifo)
	btrfstest.Must(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	btrfstest.Must(t, err)
	return pid
}

// runs reports whether a process is there and not a zombie.
func runs(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

// A daemon that dies after the last byte leaves a received subvolume, a point
// and a snapshot under its dot name. None of them is a recovery point.
func TestKilledBetweenLastByteAndPublishing(t *testing.T) {
	ctx := context.Background()
	p := pair.New(t)
	btrfstest.Fill(t, string(p.DB))
	s1 := p.Snapshot(p.DB, 1)
	p.MustCross(p.Step(p.DB, dataset.Snapshot{}, s1))
	btrfstest.Change(t, string(p.DB))
	s2 := p.Snapshot(p.DB, 2)
	step := p.Step(p.DB, s1, s2)
	data := p.Stream(step)

	for at := range 4 {
		t.Run([]string{"received", "point written", "dot name made", "published"}[at], func(t *testing.T) {
			btrfstest.Must(t, p.Target.BreakOff(at, dataset.Incoming{Step: step, Retain: step.To.Created}, bytes.NewReader(data)))
			list, err := p.Target.Snapshots(ctx, p.DB)
			if want := 1 + at/3; err != nil || len(list) != want {
				t.Errorf("after the crash the target lists %v, %v; want %d", list, err, want)
			}
			after := p.NewTarget("")
			btrfstest.Must(t, after.Sweep(ctx))
			p.NothingInProgress()
			points, err := filepath.Glob(filepath.Join(p.To, "into/.antipode", string(step.Dataset.ID), "points", "*"))
			if want := 1 + at/3; err != nil || len(points) != want {
				t.Errorf("points after the sweep: %v, %v; want %d", points, err, want)
			}
			p.Target = after
			if _, err := p.Receive(step, data); err != nil {
				t.Fatalf("receive again: %v", err)
			}
			btrfstest.SameTree(t, btrfstest.AtSource(p.DB, s2), p.Published(p.DB, s2))
			btrfstest.Must(t, p.Target.Destroy(ctx, p.DB, s2))
		})
	}
}

// What is published survives a power cut right after Receive returned: the
// image is copied as it is on the disk, and mounted in place of the original.
func TestPublishedSurvivesAPowerCut(t *testing.T) {
	p := pair.New(t)
	disk := loopfs.Make(t, pair.Size)
	p.To = disk.Dir
	p.Target = p.NewTarget("")
	btrfstest.Fill(t, string(p.DB))
	s1 := p.Snapshot(p.DB, 1)
	p.MustCross(p.Step(p.DB, dataset.Snapshot{}, s1))
	btrfstest.Change(t, string(p.DB))
	s2 := p.Snapshot(p.DB, 2)
	p.MustCross(p.Step(p.DB, s1, s2))

	image := filepath.Join(t.TempDir(), "cut.img")
	btrfstest.Tool(t, "cp", "--sparse=always", disk.Image, image)
	disk.Unmount()
	after := loopfs.Open(t, image)
	p.To = after.Dir
	p.Target = p.NewTarget("")
	list, err := p.Target.Snapshots(context.Background(), p.DB)
	if err != nil || len(list) != 2 || list[1].ID != s2.ID || !list[1].Created.Equal(s2.Created) {
		t.Fatalf("after the cut the target lists %v, %v; want both", list, err)
	}
	btrfstest.SameTree(t, btrfstest.AtSource(p.DB, s1), p.Published(p.DB, s1))
	btrfstest.SameTree(t, btrfstest.AtSource(p.DB, s2), p.Published(p.DB, s2))
}

// A daemon that is killed between a rename and its sync leaves a name that the
// next one answers with; a power cut must not take it back then.
func TestWhatASweepFoundSurvivesAPowerCut(t *testing.T) {
	p := pair.New(t)
	disk := loopfs.Make(t, pair.Size)
	p.To = disk.Dir
	p.Target = p.NewTarget("")
	btrfstest.Fill(t, string(p.DB))
	s1 := p.Snapshot(p.DB, 1)
	p.MustCross(p.Step(p.DB, dataset.Snapshot{}, s1))
	dir, err := os.Open(filepath.Dir(p.Published(p.DB, s1)))
	btrfstest.Must(t, err)
	btrfstest.Must(t, errors.Join(subvol.RenameIn(dir, s1.Name, "antipode_later"), subvol.Commit(dir), subvol.RenameIn(dir, "antipode_later", s1.Name), dir.Close()))
	p.Target = p.NewTarget("")
	btrfstest.Must(t, p.Target.Sweep(context.Background()))

	image := filepath.Join(t.TempDir(), "cut.img")
	btrfstest.Tool(t, "cp", "--sparse=always", disk.Image, image)
	disk.Unmount()
	p.To = loopfs.Open(t, image).Dir
	btrfstest.SameTree(t, btrfstest.AtSource(p.DB, s1), p.Published(p.DB, s1))
}

func TestFullTargetIsNamedAndGoesOnOnceThereIsRoom(t *testing.T) {
	p := pair.New(t)
	random := make([]byte, 40<<20)
	rand.Read(random)
	btrfstest.Write(t, filepath.Join(string(p.DB), "big"), random)
	room, err := p.Target.Space(context.Background(), p.DB)
	btrfstest.Must(t, err)
	filler := filepath.Join(p.To, "filler")
	btrfstest.Write(t, filler, bytes.Repeat(random[:1<<20], int(room.Free>>20)-20))
	btrfstest.Tool(t, "sync", "-f", p.To)
	s1 := p.Snapshot(p.DB, 1)
	step := p.Step(p.DB, dataset.Snapshot{}, s1)

	var space *dataset.SpaceError
	if _, err := p.Cross(step); !errors.As(err, &space) || space.Where != p.To {
		t.Fatalf("receive into a full file system: %v, want a SpaceError for %s", err, p.To)
	}
	p.NothingInProgress()
	btrfstest.Must(t, os.Remove(filler))
	btrfstest.Tool(t, "btrfs", "filesystem", "sync", p.To)
	btrfstest.Tool(t, "btrfs", "subvolume", "sync", p.To)
	p.MustCross(step)
	btrfstest.SameTree(t, btrfstest.AtSource(p.DB, s1), p.Published(p.DB, s1))
}

func TestReceiveEndsWithItsContext(t *testing.T) {
	p := pair.New(t)
	btrfstest.Fill(t, string(p.DB))
	s1 := p.Snapshot(p.DB, 1)
	step := p.Step(p.DB, dataset.Snapshot{}, s1)
	data := p.Stream(step)
	ctx, cancel := context.WithCancelCause(context.Background())
	r, w := io.Pipe()
	result := make(chan error, 1)
	go func() {
		_, err := p.Target.Receive(ctx, dataset.Incoming{Step: step}, r)
		result <- err
	}()
	_, err := w.Write(data[:len(data)/2])
	btrfstest.Must(t, err)
	if _, err := p.Receive(step, nil); !errors.Is(err, dataset.ErrBusy) {
		t.Errorf("a second receive into the replica: %v, want ErrBusy", err)
	}
	stop := errors.New("stop")
	cancel(stop)
	w.CloseWithError(stop)
	if err := <-result; !errors.Is(err, stop) {
		t.Errorf("a cancelled receive: %v, want %v", err, stop)
	}
	p.NothingInProgress()
	if _, err := p.Receive(step, data); err != nil {
		t.Errorf("receive again: %v", err)
	}
}

// btrfs receive may print an error and exit with 0, with data missing.
func TestErrorLineIsFatalWhateverTheExitStatus(t *testing.T) {
	p := pair.New(t)
	btrfstest.Fill(t, string(p.DB))
	step := p.Step(p.DB, dataset.Snapshot{}, p.Snapshot(p.DB, 1))
	p.Remake(func(o *target.Options) { o.Binary = filepath.Join(t.TempDir(), "btrfs") })
	btrfstest.Must(t, os.WriteFile(p.Options.Binary, []byte("#!/bin/sh\nbtrfs \"$@\"; echo ERROR: clone: unreachable >&2; yes WARNING: more follows | head -c 100000 >&2; exit 0\n"), 0o755))
	if _, err := p.Cross(step); err == nil || !strings.Contains(err.Error(), "ERROR: clone") {
		t.Errorf("got %v, want the line", err)
	}
	if list, err := p.Target.Snapshots(context.Background(), p.DB); err != nil || len(list) != 0 {
		t.Errorf("target lists %v, %v; want nothing", list, err)
	}
	p.Remake(func(o *target.Options) { o.Binary = "/nowhere/btrfs" })
	if _, err := p.Cross(step); !errors.Is(err, dataset.ErrToolMissing) {
		t.Errorf("without btrfs: %v, want ErrToolMissing", err)
	}
}

func TestMountNamespaceIsPrivate(t *testing.T) {
	p := pair.New(t)
	btrfstest.Fill(t, string(p.DB))
	seen := filepath.Join(t.TempDir(), "mounts")
	p.Remake(func(o *target.Options) { o.Binary = filepath.Join(t.TempDir(), "btrfs") })
	btrfstest.Must(t, os.WriteFile(p.Options.Binary, []byte("#!/bin/sh\ncat /proc/self/mountinfo > "+seen+"\nexec btrfs \"$@\"\n"), 0o755))
	p.MustCross(p.Step(p.DB, dataset.Snapshot{}, p.Snapshot(p.DB, 1)))
	count := func(path string) (n int, options string) {
		data, err := os.ReadFile(path)
		btrfstest.Must(t, err)
		for line := range strings.Lines(string(data)) {
			if f := strings.Fields(line); f[4] == filepath.Join(p.To, "into") {
				n, options = n+1, f[5]
			}
		}
		return n, options
	}
	if n, options := count(seen); n != 1 || !strings.Contains(options, "nosuid,nodev,noexec") {
		t.Errorf("the child saw %d mounts of into with %q, want 1 with nosuid,nodev,noexec", n, options)
	}
	if n, _ := count("/proc/self/mountinfo"); n != 0 {
		t.Errorf("we see %d mounts of into, want 0", n)
	}
}
