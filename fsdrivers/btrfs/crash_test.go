package btrfs

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

	"antipode/fsdrivers/btrfs/stream"
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
	target, err := NewTarget(TargetOptions{Into: into, Binary: binary, Now: time.Now})
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
	p := newPair(t)
	pidFile := filepath.Join(t.TempDir(), "pid")
	must(t, unix.Mkfifo(pidFile, 0o600))
	stuck := filepath.Join(t.TempDir(), "btrfs")
	must(t, os.WriteFile(stuck, []byte("#!/bin/sh\necho $$ > "+pidFile+"\nexec sleep 1000\n"), 0o755))
	daemon := exec.Command(os.Args[0])
	daemon.Env = append(os.Environ(), "ANTIPODE_TEST_RECEIVE_INTO="+filepath.Join(p.to, "into"), "ANTIPODE_TEST_BINARY="+stuck)
	more := stream.NewEncoder(1)
	more.Command(stream.Chmod, stream.Text(stream.AttrPath, ""), stream.Uint64(stream.AttrMode, 0o755))
	command, err := more.Bytes()
	must(t, err)
	daemon.Stdin = bytes.NewReader(append(beginning(t, orphanStep().To.ID), command...))
	must(t, daemon.Start())
	defer func() { _ = daemon.Process.Kill() }()
	orphan := readPID(t, pidFile)

	must(t, p.target.Sweep(context.Background())) // it leaves alone what a living daemon owns
	if err := p.target.Abort(context.Background(), "/orphan"); !errors.Is(err, dataset.ErrBusy) {
		t.Errorf("abort of what a living daemon receives: %v, want ErrBusy", err)
	}
	if !runs(orphan) {
		t.Fatal("the sweep ended the child of a living daemon")
	}
	awaitRecord(t, filepath.Join(p.to, "into"), orphan)
	must(t, daemon.Process.Kill())
	_ = daemon.Wait()
	if !runs(orphan) {
		t.Fatal("the child went with its daemon: nothing is tested")
	}
	must(t, p.target.Sweep(context.Background()))
	if runs(orphan) {
		t.Errorf("process %d still runs", orphan)
	}
	p.nothingInProgress()
}

// awaitRecord waits until a daemon has written down which child it has started.
func awaitRecord(t *testing.T, into string, child int) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		locks, err := filepath.Glob(filepath.Join(into, dataset.Dir, "incoming", "*", "lock"))
		must(t, err)
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
	must(t, err)
	return data
}

// A stream may write through its own symbolic links, which lead to the root that
// btrfs receive has: no file of ours is there.
func TestSymbolicLinksOfAStreamLeadToNoFileOfOurs(t *testing.T) {
	p := newPair(t)
	fill(t, string(p.db))
	step := p.step(p.db, dataset.Snapshot{}, p.snapshot(p.db, 1))
	e := stream.NewEncoder(1)
	path := func(s string) stream.Attr { return stream.Text(stream.AttrPath, s) }
	for _, name := range []string{recordFile, lockFile, "../" + recordFile} {
		link := "link to " + filepath.Base(name)
		e.Command(stream.Symlink, path(link), stream.Uint64(stream.AttrIno, 300), stream.Text(stream.AttrPathLink, "/"+name))
		e.Command(stream.Write, path(link), stream.Uint64(stream.AttrFileOffset, 0), stream.Text(stream.AttrData, "forged"))
		e.Command(stream.Rename, path(link), stream.Text(stream.AttrPathTo, strings.ReplaceAll(name, "/", " ")))
	}
	e.End()
	attack, err := e.Bytes()
	must(t, err)
	if _, err := p.receive(step, append(beginning(t, step.To.ID), attack...)); err == nil || !strings.Contains(err.Error(), "No such file") {
		t.Errorf("receive: %v, want that there is no such file", err)
	}
	p.nothingInProgress()
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
	must(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	must(t, err)
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
	p := newPair(t)
	fill(t, string(p.db))
	s1 := p.snapshot(p.db, 1)
	p.mustCross(p.step(p.db, dataset.Snapshot{}, s1))
	change(t, string(p.db))
	s2 := p.snapshot(p.db, 2)
	step := p.step(p.db, s1, s2)
	data := p.stream(step)

	for at := range 4 {
		t.Run([]string{"received", "point written", "dot name made", "published"}[at], func(t *testing.T) {
			p.dieAt(at, step, data)
			list, err := p.target.Snapshots(ctx, p.db)
			if want := 1 + at/3; err != nil || len(list) != want {
				t.Errorf("after the crash the target lists %v, %v; want %d", list, err, want)
			}
			after := p.newTarget("")
			must(t, after.Sweep(ctx))
			p.nothingInProgress()
			points, err := filepath.Glob(filepath.Join(p.to, "into/.antipode", string(step.Dataset.ID), pointsDir, "*"))
			if want := 1 + at/3; err != nil || len(points) != want {
				t.Errorf("points after the sweep: %v, %v; want %d", points, err, want)
			}
			p.target = after
			if _, err := p.receive(step, data); err != nil {
				t.Fatalf("receive again: %v", err)
			}
			sameTree(t, atSource(p.db, s2), p.published(p.db, s2))
			must(t, p.target.Destroy(ctx, p.db, s2))
		})
	}
}

// dieAt receives up to a point and leaves everything as a crash would.
func (p *pair) dieAt(at int, step dataset.Step, data []byte) {
	p.t.Helper()
	in := dataset.Incoming{Step: step, Retain: step.To.Created}
	into, err := p.target.open()
	must(p.t, err)
	defer into.close()
	rep, err := p.target.bind(into, step.Dataset)
	must(p.t, err)
	defer rep.close()
	base, err := rep.base(step)
	must(p.t, err)
	defer base.Close()
	i, err := p.target.newIntake(context.Background(), into, in)
	must(p.t, err)
	w := i.w
	defer w.close()
	defer i.group.leave()
	must(p.t, i.receive(in, base, bytes.NewReader(data)))
	seg, err := i.received(base)
	must(p.t, err)
	defer seg.sub.Close()
	if at >= 1 {
		must(p.t, rep.facts.setPoint(string(step.To.ID), point{ID: step.To.ID, Name: step.To.Name}))
	}
	if at == 2 {
		sub, err := stamp(seg, rep.dir, tempSnapshot+string(w.step), uuid.MustParse(string(step.To.ID)))
		must(p.t, err)
		must(p.t, sub.Close())
	}
	if at == 3 {
		_, err := rep.publish(w.step, seg, in, p.now)
		must(p.t, err)
	}
}

// What is published survives a power cut right after Receive returned: the
// image is copied as it is on the disk, and mounted in place of the original.
func TestPublishedSurvivesAPowerCut(t *testing.T) {
	p := newPair(t)
	disk := loopfs.Make(t, testSize)
	p.to = disk.Dir
	p.target = p.newTarget("")
	fill(t, string(p.db))
	s1 := p.snapshot(p.db, 1)
	p.mustCross(p.step(p.db, dataset.Snapshot{}, s1))
	change(t, string(p.db))
	s2 := p.snapshot(p.db, 2)
	p.mustCross(p.step(p.db, s1, s2))

	image := filepath.Join(t.TempDir(), "cut.img")
	tool(t, "cp", "--sparse=always", disk.Image, image)
	disk.Unmount()
	after := loopfs.Open(t, image)
	p.to = after.Dir
	p.target = p.newTarget("")
	list, err := p.target.Snapshots(context.Background(), p.db)
	if err != nil || len(list) != 2 || list[1].ID != s2.ID || !list[1].Created.Equal(s2.Created) {
		t.Fatalf("after the cut the target lists %v, %v; want both", list, err)
	}
	sameTree(t, atSource(p.db, s1), p.published(p.db, s1))
	sameTree(t, atSource(p.db, s2), p.published(p.db, s2))
}

// A daemon that is killed between a rename and its sync leaves a name that the
// next one answers with; a power cut must not take it back then.
func TestWhatASweepFoundSurvivesAPowerCut(t *testing.T) {
	p := newPair(t)
	disk := loopfs.Make(t, testSize)
	p.to = disk.Dir
	p.target = p.newTarget("")
	fill(t, string(p.db))
	s1 := p.snapshot(p.db, 1)
	p.mustCross(p.step(p.db, dataset.Snapshot{}, s1))
	must(t, p.target.withReplica(p.db, func(_ *into, r *replica) error {
		return errors.Join(renameIn(r.dir, s1.Name, "antipode_later"), commit(r.dir), renameIn(r.dir, "antipode_later", s1.Name))
	}))
	p.target = p.newTarget("")
	must(t, p.target.Sweep(context.Background()))

	image := filepath.Join(t.TempDir(), "cut.img")
	tool(t, "cp", "--sparse=always", disk.Image, image)
	disk.Unmount()
	p.to = loopfs.Open(t, image).Dir
	sameTree(t, atSource(p.db, s1), p.published(p.db, s1))
}

func TestFullTargetIsNamedAndGoesOnOnceThereIsRoom(t *testing.T) {
	p := newPair(t)
	random := make([]byte, 40<<20)
	rand.Read(random)
	write(t, filepath.Join(string(p.db), "big"), random)
	room, err := p.target.Space(context.Background(), p.db)
	must(t, err)
	filler := filepath.Join(p.to, "filler")
	write(t, filler, bytes.Repeat(random[:1<<20], int(room.Free>>20)-20))
	tool(t, "sync", "-f", p.to)
	s1 := p.snapshot(p.db, 1)
	step := p.step(p.db, dataset.Snapshot{}, s1)

	var space *dataset.SpaceError
	if _, err := p.cross(step); !errors.As(err, &space) || space.Where != p.to {
		t.Fatalf("receive into a full file system: %v, want a SpaceError for %s", err, p.to)
	}
	p.nothingInProgress()
	must(t, os.Remove(filler))
	tool(t, "btrfs", "filesystem", "sync", p.to)
	tool(t, "btrfs", "subvolume", "sync", p.to)
	p.mustCross(step)
	sameTree(t, atSource(p.db, s1), p.published(p.db, s1))
}

func TestReceiveEndsWithItsContext(t *testing.T) {
	p := newPair(t)
	fill(t, string(p.db))
	s1 := p.snapshot(p.db, 1)
	step := p.step(p.db, dataset.Snapshot{}, s1)
	data := p.stream(step)
	ctx, cancel := context.WithCancelCause(context.Background())
	r, w := io.Pipe()
	result := make(chan error, 1)
	go func() {
		_, err := p.target.Receive(ctx, dataset.Incoming{Step: step}, r)
		result <- err
	}()
	_, err := w.Write(data[:len(data)/2])
	must(t, err)
	if _, err := p.receive(step, nil); !errors.Is(err, dataset.ErrBusy) {
		t.Errorf("a second receive into the replica: %v, want ErrBusy", err)
	}
	stop := errors.New("stop")
	cancel(stop)
	w.CloseWithError(stop)
	if err := <-result; !errors.Is(err, stop) {
		t.Errorf("a cancelled receive: %v, want %v", err, stop)
	}
	p.nothingInProgress()
	if _, err := p.receive(step, data); err != nil {
		t.Errorf("receive again: %v", err)
	}
}

// btrfs receive may print an error and exit with 0, with data missing.
func TestErrorLineIsFatalWhateverTheExitStatus(t *testing.T) {
	p := newPair(t)
	fill(t, string(p.db))
	step := p.step(p.db, dataset.Snapshot{}, p.snapshot(p.db, 1))
	p.target.opts.Binary = filepath.Join(t.TempDir(), "btrfs")
	must(t, os.WriteFile(p.target.opts.Binary, []byte("#!/bin/sh\nbtrfs \"$@\"; echo ERROR: clone: unreachable >&2; yes WARNING: more follows | head -c 100000 >&2; exit 0\n"), 0o755))
	if _, err := p.cross(step); err == nil || !strings.Contains(err.Error(), "ERROR: clone") {
		t.Errorf("got %v, want the line", err)
	}
	if list, err := p.target.Snapshots(context.Background(), p.db); err != nil || len(list) != 0 {
		t.Errorf("target lists %v, %v; want nothing", list, err)
	}
	p.target.opts.Binary = "/nowhere/btrfs"
	if _, err := p.cross(step); !errors.Is(err, dataset.ErrToolMissing) {
		t.Errorf("without btrfs: %v, want ErrToolMissing", err)
	}
}

func TestMountNamespaceIsPrivate(t *testing.T) {
	p := newPair(t)
	fill(t, string(p.db))
	seen := filepath.Join(t.TempDir(), "mounts")
	p.target.opts.Binary = filepath.Join(t.TempDir(), "btrfs")
	must(t, os.WriteFile(p.target.opts.Binary, []byte("#!/bin/sh\ncat /proc/self/mountinfo > "+seen+"\nexec btrfs \"$@\"\n"), 0o755))
	p.mustCross(p.step(p.db, dataset.Snapshot{}, p.snapshot(p.db, 1)))
	count := func(path string) (n int, options string) {
		data, err := os.ReadFile(path)
		must(t, err)
		for line := range strings.Lines(string(data)) {
			if f := strings.Fields(line); f[4] == filepath.Join(p.to, "into") {
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
