package btrfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"antipode/fsdrivers/dataset"
	"antipode/integration/loopfs"
)

func newSource(t *testing.T) (*pair, *Source) {
	t.Helper()
	p := &pair{t: t, from: loopfs.New(t, testSize), now: time.Unix(5000, 0).UTC()}
	p.source = NewSource(Options{Log: zerolog.Nop()})
	p.db = p.subvolume("db")
	return p, p.source
}

func TestFindSeesWhatCanBeReplicated(t *testing.T) {
	ctx := context.Background()
	p, s := newSource(t)
	must(t, os.MkdirAll(filepath.Join(p.from, "plain/deep"), 0o755))
	for _, rel := range []string{"db/in ner", "db/in ner/most", "plain/deep/er", "hidden", "bad\nname"} {
		p.subvolume(rel)
	}
	p.snapshot(p.db, 1)
	tool(t, "btrfs", "subvolume", "snapshot", "-r", string(p.db), filepath.Join(p.from, "readonly"))
	must(t, unix.Mount("tmpfs", filepath.Join(p.from, "hidden"), "tmpfs", 0, ""))
	t.Cleanup(func() { _ = unix.Unmount(filepath.Join(p.from, "hidden"), 0) })

	for name, c := range map[string]struct {
		root string
		deep bool
		want []string
	}{
		"one":                      {"db", false, []string{"db"}},
		"below a subvolume":        {"db", true, []string{"db", "db/in ner", "db/in ner/most"}},
		"below a plain directory":  {"plain", true, []string{"plain/deep/er"}},
		"the whole file system":    {"", true, []string{"", "db", "db/in ner", "db/in ner/most", "plain/deep/er"}},
		"read-only is no dataset":  {"readonly", false, nil},
		"nor is what is below one": {"readonly", true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := s.Find(ctx, dataset.Path(filepath.Join(p.from, c.root)), c.deep)
			must(t, err)
			var got []string
			for _, d := range found {
				got = append(got, strings.TrimPrefix(strings.TrimPrefix(string(d.Path), p.from), "/"))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}

func TestWhatIsNotADataset(t *testing.T) {
	ctx := context.Background()
	p, s := newSource(t)
	must(t, os.Mkdir(filepath.Join(p.from, "plain"), 0o755))
	must(t, os.Symlink("db", filepath.Join(p.from, "link")))
	must(t, unix.Mkfifo(filepath.Join(p.from, "fifo"), 0o600))
	mine := p.subvolume("mine")
	must(t, os.Mkdir(filepath.Join(string(mine), dataset.Dir), 0o700))
	theirs := p.subvolume("theirs")
	tool(t, "btrfs", "subvolume", "create", filepath.Join(string(theirs), dataset.Dir))
	must(t, os.Chmod(filepath.Join(string(theirs), dataset.Dir), 0o777))

	for path, c := range map[string]struct {
		want error
		says string
	}{
		filepath.Join(p.from, "none"):  {dataset.ErrNotFound, "none"},
		filepath.Join(p.from, "plain"): {dataset.ErrNotDataset, "btrfs subvolume create"},
		filepath.Join(p.from, "link"):  {dataset.ErrNotDataset, string(p.db)},
		filepath.Join(p.from, "fifo"):  {dataset.ErrNotDataset, "not a directory"},
		"/proc":                        {dataset.ErrNotDataset, "not on a Btrfs"},
		"relative":                     {dataset.ErrNotDataset, "absolute"},
		string(mine):                   {dataset.ErrNotDataset, "mv "},
		string(theirs):                 {dataset.ErrRefused, "chown root"},
	} {
		_, err := s.Snapshot(ctx, "antipode_1", p.now, []dataset.Path{dataset.Path(path)})
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("snapshot of %s: %v; want %v that says %q", path, err, c.want, c.says)
		}
	}
	for _, name := range []string{"other", "antipode_live", "antipode_/x", ".antipode_x", ""} {
		if _, err := s.Snapshot(ctx, name, p.now, []dataset.Path{p.db}); !errors.Is(err, dataset.ErrRefused) {
			t.Errorf("snapshot named %q: %v, want ErrRefused", name, err)
		}
	}
}

func TestSnapshotsKeepTheirTimesAndOrder(t *testing.T) {
	ctx := context.Background()
	p, s := newSource(t)
	fill(t, string(p.db))
	before, err := os.Stat(string(p.db))
	must(t, err)
	first := p.snapshot(p.db, 9)
	second := p.snapshot(p.db, 1)
	if again := p.snapshot(p.db, 9); again.ID != first.ID || !again.Created.Equal(first.Created) {
		t.Errorf("the same name again: %+v, want %+v", again, first)
	}
	tool(t, "btrfs", "subvolume", "snapshot", "-r", string(p.db), atSource(p.db, dataset.Snapshot{Name: "somebodys"}))
	list, err := s.Snapshots(ctx, p.db)
	if err != nil || len(list) != 2 || list[0].ID != first.ID || list[1].ID != second.ID || list[0].Order >= list[1].Order {
		t.Fatalf("listed %+v, %v; want %s before %s", list, err, first.ID, second.ID)
	}
	if want := p.now.Add(9 * time.Second); !list[0].Created.Equal(want) || !list[0].Retain.Equal(want) || !list[0].Received.IsZero() {
		t.Errorf("times %+v, want made at %v and not received", list[0], want)
	}
	after, err := os.Stat(string(p.db))
	must(t, err)
	if !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the dataset's root is of %v, was of %v", after.ModTime(), before.ModTime())
	}
	must(t, os.Remove(filepath.Join(string(p.db), dataset.Dir, string(p.dataset(p.db).ID), pointsDir, first.Name)))
	list, err = s.Snapshots(ctx, p.db)
	if err != nil || len(list) != 2 || list[0].Created.IsZero() || !list[0].Retain.Equal(list[0].Created) {
		t.Errorf("without its point: %+v, %v; want the file system's time", list, err)
	}
}

func TestDestroyChecksAndKeepsWhatIsHeld(t *testing.T) {
	ctx := context.Background()
	p, s := newSource(t)
	fill(t, string(p.db))
	a, b := p.snapshot(p.db, 1), p.snapshot(p.db, 2)
	must(t, s.Hold(ctx, p.db, a, "base.job.peer"))
	if err := s.Destroy(ctx, p.db, a); !errors.Is(err, dataset.ErrHeld) || !strings.Contains(err.Error(), "base.job.peer") {
		t.Errorf("destroy of what is held: %v, want ErrHeld with the tag", err)
	}
	mixed := dataset.Snapshot{Name: a.Name, ID: b.ID}
	if err := s.Destroy(ctx, p.db, mixed); !errors.Is(err, dataset.ErrChanged) {
		t.Errorf("destroy of another identity: %v, want ErrChanged", err)
	}
	if err := s.Hold(ctx, p.db, mixed, "x"); !errors.Is(err, dataset.ErrChanged) {
		t.Errorf("hold of another identity: %v, want ErrChanged", err)
	}
	if err := s.Hold(ctx, p.db, dataset.Snapshot{Name: "antipode_none", ID: b.ID}, "x"); !errors.Is(err, dataset.ErrNotFound) {
		t.Errorf("hold of nothing: %v, want ErrNotFound", err)
	}
	if list, err := s.Snapshots(ctx, p.db); err != nil || !slices.Equal(list[0].Holds, []dataset.Tag{"base.job.peer"}) || len(list[1].Holds) != 0 {
		t.Errorf("listed %+v, %v; want the tag on the first", list, err)
	}
	must(t, s.Release(ctx, p.db, "base.job.peer"))
	must(t, s.Destroy(ctx, p.db, a))
	must(t, s.Destroy(ctx, p.db, a))
	must(t, s.Sweep(ctx))
	if list, err := s.Snapshots(ctx, p.db); err != nil || len(list) != 1 || list[0].ID != b.ID {
		t.Errorf("listed %+v, %v; want only %s", list, err, b.ID)
	}
	must(t, s.Destroy(ctx, dataset.Path(p.from+"/none"), a))
}

func TestSnapshotThatIsBeingSentIsHeld(t *testing.T) {
	ctx := context.Background()
	p, s := newSource(t)
	write(t, filepath.Join(string(p.db), "big"), []byte(strings.Repeat("x", 16<<20)))
	snap := p.snapshot(p.db, 1)
	r, err := s.Send(ctx, p.step(p.db, dataset.Snapshot{}, snap), dataset.Checkpoint{})
	must(t, err)
	_, err = io.ReadFull(r, make([]byte, 1<<20)) // so that it runs, and waits for us
	must(t, err)
	if err := s.Destroy(ctx, p.db, snap); !errors.Is(err, dataset.ErrHeld) {
		t.Errorf("destroy while it is sent: %v, want ErrHeld", err)
	}
	must(t, s.Sweep(ctx)) // it leaves a running send alone
	_, err = r.Read(make([]byte, 1))
	must(t, err)
	must(t, r.Close())
	must(t, r.Close())
	locks, err := filepath.Glob(filepath.Join(string(p.db), dataset.Dir, "*", sendingDir, "*"))
	if err != nil || len(locks) > 0 {
		t.Errorf("locks left: %v, %v", locks, err)
	}
	must(t, s.Destroy(ctx, p.db, snap))
}

// Whoever cuts a send short must not read a clean end.
func TestSendThatFailsDoesNotEnd(t *testing.T) {
	p, s := newSource(t)
	fill(t, string(p.db))
	step := p.step(p.db, dataset.Snapshot{}, p.snapshot(p.db, 1))
	for name, script := range map[string]string{
		"error line and exit 0": "echo x; echo 'ERROR: bad' >&2; exit 0",
		"exit 1":                "echo x; exit 1",
	} {
		s.binary = filepath.Join(t.TempDir(), "btrfs")
		must(t, os.WriteFile(s.binary, []byte("#!/bin/sh\n"+script+"\n"), 0o755))
		r, err := s.Send(context.Background(), step, dataset.Checkpoint{})
		must(t, err)
		if data, err := io.ReadAll(r); !errors.Is(err, dataset.ErrCut) || string(data) != "x\n" {
			t.Errorf("%s: read %q, %v; want x and ErrCut", name, data, err)
		}
		must(t, r.Close())
	}
	if _, err := s.Send(context.Background(), step, dataset.Checkpoint{Kind: "btrfs-segments"}); !errors.Is(err, dataset.ErrStaleCheckpoint) {
		t.Errorf("with a checkpoint: %v, want ErrStaleCheckpoint", err)
	}
	step.Dataset.ID = step.To.ID
	if _, err := s.Send(context.Background(), step, dataset.Checkpoint{}); !errors.Is(err, dataset.ErrNotFound) {
		t.Errorf("of a dataset made anew: %v, want ErrNotFound", err)
	}
}

// Whoever cancels a transfer closes its source beside the one who opened it.
func TestEveryCloseOfASendWaitsForItsEnd(t *testing.T) {
	p, s := newSource(t)
	fill(t, string(p.db))
	step := p.step(p.db, dataset.Snapshot{}, p.snapshot(p.db, 1))
	s.binary = filepath.Join(t.TempDir(), "btrfs")
	must(t, os.WriteFile(s.binary, []byte("#!/bin/sh\ntrap 'sleep 0.3; exit 1' TERM\necho ready\nwhile :; do sleep 0.1; done\n"), 0o755))
	r, err := s.Send(context.Background(), step, dataset.Checkpoint{})
	must(t, err)
	_, err = r.Read(make([]byte, 8))
	must(t, err)
	var closers sync.WaitGroup
	for range 2 {
		closers.Go(func() {
			if err := r.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			if locks, err := filepath.Glob(filepath.Join(string(p.db), dataset.Dir, "*", sendingDir, "*")); err != nil || len(locks) > 0 {
				t.Errorf("locks left when Close returned: %v, %v", locks, err)
			}
		})
	}
	closers.Wait()
}

func TestEstimateIsClose(t *testing.T) {
	p, s := newSource(t)
	fill(t, string(p.db))
	step := p.step(p.db, dataset.Snapshot{}, p.snapshot(p.db, 1))
	want := int64(len(p.stream(step)))
	got, err := s.Estimate(context.Background(), step)
	if err != nil || got < want*95/100 || got > want*105/100 {
		t.Errorf("estimate %d, %v; the stream has %d bytes", got, err, want)
	}
}

func TestFenceMakesReadOnlyAndKeepsFacts(t *testing.T) {
	ctx := context.Background()
	p, s := newSource(t)
	fill(t, string(p.db))
	snap := p.snapshot(p.db, 1)
	must(t, s.Fence(ctx, p.db))
	must(t, s.Fence(ctx, p.db))
	if err := os.WriteFile(filepath.Join(string(p.db), "x"), nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("write after the fence: %v, want EROFS", err)
	}
	mark := dataset.Mark{Activation: dataset.Activation{Generation: 1, ID: dataset.NewActivationID(), Node: "b"}}
	must(t, s.SwapMark(ctx, p.db, dataset.Mark{}, mark))
	if got, err := s.Mark(ctx, p.db); err != nil || !sameMark(got, mark) {
		t.Errorf("mark %+v, %v; want %+v", got, err, mark)
	}
	must(t, s.Hold(ctx, p.db, snap, "x"))
	if err := s.Fence(ctx, p.db+"x"); !errors.Is(err, dataset.ErrNotFound) {
		t.Errorf("fence of nothing: %v, want ErrNotFound", err)
	}
}

func TestThousandSnapshotsAreListedSoon(t *testing.T) {
	if testing.Short() {
		t.Skip("short: it makes 1,000 snapshots")
	}
	p, s := newSource(t)
	o, err := s.openAll(p.db, true)
	must(t, err)
	defer o.close()
	for i := range 1000 {
		must(t, createSnapshot(o.File, o.dir, fmt.Sprintf("antipode_%04d", i), true))
	}
	start := time.Now()
	list, err := s.Snapshots(context.Background(), p.db)
	if err != nil || len(list) != 1000 {
		t.Fatalf("listed %d, %v; want 1000", len(list), err)
	}
	t.Logf("1,000 snapshots listed in %v", time.Since(start))
}

func TestProbeOfSource(t *testing.T) {
	p, s := newSource(t)
	ctx := context.Background()
	p.snapshot(p.db, 1)
	if found := s.Probe(ctx); len(found) != 0 {
		t.Errorf("found %+v on a good machine, want nothing", found)
	}
	tool(t, "btrfs", "quota", "enable", p.from)
	if found := s.Probe(ctx); len(found) != 1 || found[0].Fatal || !strings.Contains(found[0].What, "quota") {
		t.Errorf("found %+v, want a warning of quota groups", found)
	}
	old := filepath.Join(t.TempDir(), "btrfs")
	must(t, os.WriteFile(old, []byte("#!/bin/sh\necho btrfs-progs v5.16.2\n"), 0o755))
	for _, binary := range []string{old, "/nowhere/btrfs"} {
		found := NewSource(Options{Binary: binary}).Probe(ctx)
		if len(found) != 1 || !found[0].Fatal || !strings.Contains(found[0].Cure, "btrfs-progs") {
			t.Errorf("found %+v with %s, want one that says what to install", found, binary)
		}
	}
}
