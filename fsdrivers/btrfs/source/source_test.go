package source_test

import (
	"context"
	"errors"
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

	"antipode/fsdrivers/btrfs/btrfstest"
	"antipode/fsdrivers/btrfs/btrfstest/pair"
	"antipode/fsdrivers/btrfs/source"
	"antipode/fsdrivers/dataset"
	"antipode/integration/loopfs"
)

func newSource(t *testing.T) (*pair.Pair, *source.Source) {
	t.Helper()
	p := &pair.Pair{T: t, From: loopfs.New(t, pair.Size), Now: time.Unix(5000, 0).UTC()}
	p.Source = source.New(source.Options{Log: zerolog.Nop()})
	p.DB = p.Subvolume("db")
	return p, p.Source
}

func TestFindSeesWhatCanBeReplicated(t *testing.T) {
	ctx := context.Background()
	p, s := newSource(t)
	btrfstest.Must(t, os.MkdirAll(filepath.Join(p.From, "plain/deep"), 0o755))
	for _, rel := range []string{"db/in ner", "db/in ner/most", "plain/deep/er", "hidden", "bad\nname"} {
		p.Subvolume(rel)
	}
	p.Snapshot(p.DB, 1)
	btrfstest.Tool(t, "btrfs", "subvolume", "snapshot", "-r", string(p.DB), filepath.Join(p.From, "readonly"))
	btrfstest.Must(t, unix.Mount("tmpfs", filepath.Join(p.From, "hidden"), "tmpfs", 0, ""))
	t.Cleanup(func() { _ = unix.Unmount(filepath.Join(p.From, "hidden"), 0) })

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
			found, err := s.Find(ctx, dataset.Path(filepath.Join(p.From, c.root)), c.deep)
			btrfstest.Must(t, err)
			var got []string
			for _, d := range found {
				got = append(got, strings.TrimPrefix(strings.TrimPrefix(string(d.Path), p.From), "/"))
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
	btrfstest.Must(t, os.Mkdir(filepath.Join(p.From, "plain"), 0o755))
	btrfstest.Must(t, os.Symlink("db", filepath.Join(p.From, "link")))
	btrfstest.Must(t, unix.Mkfifo(filepath.Join(p.From, "fifo"), 0o600))
	mine := p.Subvolume("mine")
	btrfstest.Must(t, os.Mkdir(filepath.Join(string(mine), dataset.Dir), 0o700))
	theirs := p.Subvolume("theirs")
	btrfstest.Tool(t, "btrfs", "subvolume", "create", filepath.Join(string(theirs), dataset.Dir))
	btrfstest.Must(t, os.Chmod(filepath.Join(string(theirs), dataset.Dir), 0o777))

	for path, c := range map[string]struct {
		want error
		says string
	}{
		filepath.Join(p.From, "none"):  {dataset.ErrNotFound, "none"},
		filepath.Join(p.From, "plain"): {dataset.ErrNotDataset, "btrfs subvolume create"},
		filepath.Join(p.From, "link"):  {dataset.ErrNotDataset, string(p.DB)},
		filepath.Join(p.From, "fifo"):  {dataset.ErrNotDataset, "not a directory"},
		"/proc":                        {dataset.ErrNotDataset, "not on a Btrfs"},
		"relative":                     {dataset.ErrNotDataset, "absolute"},
		string(mine):                   {dataset.ErrNotDataset, "mv "},
		string(theirs):                 {dataset.ErrRefused, "chown root"},
	} {
		_, err := s.Snapshot(ctx, "antipode_1", p.Now, []dataset.Path{dataset.Path(path)})
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
			t.Errorf("snapshot of %s: %v; want %v that says %q", path, err, c.want, c.says)
		}
	}
	for _, name := range []string{"other", "antipode_live", "antipode_/x", ".antipode_x", ""} {
		if _, err := s.Snapshot(ctx, name, p.Now, []dataset.Path{p.DB}); !errors.Is(err, dataset.ErrRefused) {
			t.Errorf("snapshot named %q: %v, want ErrRefused", name, err)
		}
	}
}

func TestSnapshotsKeepTheirTimesAndOrder(t *testing.T) {
	ctx := context.Background()
	p, s := newSource(t)
	btrfstest.Fill(t, string(p.DB))
	before, err := os.Stat(string(p.DB))
	btrfstest.Must(t, err)
	first := p.Snapshot(p.DB, 9)
	second := p.Snapshot(p.DB, 1)
	if again := p.Snapshot(p.DB, 9); again.ID != first.ID || !again.Created.Equal(first.Created) {
		t.Errorf("the same name again: %+v, want %+v", again, first)
	}
	btrfstest.Tool(t, "btrfs", "subvolume", "snapshot", "-r", string(p.DB), btrfstest.AtSource(p.DB, dataset.Snapshot{Name: "somebodys"}))
	list, err := s.Snapshots(ctx, p.DB)
	if err != nil || len(list) != 2 || list[0].ID != first.ID || list[1].ID != second.ID || list[0].Order >= list[1].Order {
		t.Fatalf("listed %+v, %v; want %s before %s", list, err, first.ID, second.ID)
	}
	if want := p.Now.Add(9 * time.Second); !list[0].Created.Equal(want) || !list[0].Retain.Equal(want) || !list[0].Received.IsZero() {
		t.Errorf("times %+v, want made at %v and not received", list[0], want)
	}
	after, err := os.Stat(string(p.DB))
	btrfstest.Must(t, err)
	if !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("the dataset's root is of %v, was of %v", after.ModTime(), before.ModTime())
	}
	btrfstest.Must(t, os.Remove(filepath.Join(string(p.DB), dataset.Dir, string(p.Dataset(p.DB).ID), "points", first.Name)))
	list, err = s.Snapshots(ctx, p.DB)
	if err != nil || len(list) != 2 || list[0].Created.IsZero() || !list[0].Retain.Equal(list[0].Created) {
		t.Errorf("without its point: %+v, %v; want the file system's time", list, err)
	}
}

func TestDestroyChecksAndKeepsWhatIsHeld(t *testing.T) {
	ctx := context.Background()
	p, s := newSource(t)
	btrfstest.Fill(t, string(p.DB))
	a, b := p.Snapshot(p.DB, 1), p.Snapshot(p.DB, 2)
	btrfstest.Must(t, s.Hold(ctx, p.DB, a, "base.job.peer"))
	if err := s.Destroy(ctx, p.DB, a); !errors.Is(err, dataset.ErrHeld) || !strings.Contains(err.Error(), "base.job.peer") {
		t.Errorf("destroy of what is held: %v, want ErrHeld with the tag", err)
	}
	mixed := dataset.Snapshot{Name: a.Name, ID: b.ID}
	if err := s.Destroy(ctx, p.DB, mixed); !errors.Is(err, dataset.ErrChanged) {
		t.Errorf("destroy of another identity: %v, want ErrChanged", err)
	}
	if err := s.Hold(ctx, p.DB, mixed, "x"); !errors.Is(err, dataset.ErrChanged) {
		t.Errorf("hold of another identity: %v, want ErrChanged", err)
	}
	if err := s.Hold(ctx, p.DB, dataset.Snapshot{Name: "antipode_none", ID: b.ID}, "x"); !errors.Is(err, dataset.ErrNotFound) {
		t.Errorf("hold of nothing: %v, want ErrNotFound", err)
	}
	if list, err := s.Snapshots(ctx, p.DB); err != nil || !slices.Equal(list[0].Holds, []dataset.Tag{"base.job.peer"}) || len(list[1].Holds) != 0 {
		t.Errorf("listed %+v, %v; want the tag on the first", list, err)
	}
	btrfstest.Must(t, s.Release(ctx, p.DB, "base.job.peer"))
	btrfstest.Must(t, s.Destroy(ctx, p.DB, a))
	btrfstest.Must(t, s.Destroy(ctx, p.DB, a))
	btrfstest.Must(t, s.Sweep(ctx))
	if list, err := s.Snapshots(ctx, p.DB); err != nil || len(list) != 1 || list[0].ID != b.ID {
		t.Errorf("listed %+v, %v; want only %s", list, err, b.ID)
	}
	btrfstest.Must(t, s.Destroy(ctx, dataset.Path(p.From+"/none"), a))
}

func TestSnapshotThatIsBeingSentIsHeld(t *testing.T) {
	ctx := context.Background()
	p, s := newSource(t)
	btrfstest.Write(t, filepath.Join(string(p.DB), "big"), []byte(strings.Repeat("x", 16<<20)))
	snap := p.Snapshot(p.DB, 1)
	r, err := s.Send(ctx, p.Step(p.DB, dataset.Snapshot{}, snap), dataset.Checkpoint{})
	btrfstest.Must(t, err)
	_, err = io.ReadFull(r, make([]byte, 1<<20)) // so that it runs, and waits for us
	btrfstest.Must(t, err)
	if err := s.Destroy(ctx, p.DB, snap); !errors.Is(err, dataset.ErrHeld) {
		t.Errorf("destroy while it is sent: %v, want ErrHeld", err)
	}
	btrfstest.Must(t, s.Sweep(ctx)) // it leaves a running send alone
	_, err = r.Read(make([]byte, 1))
	btrfstest.Must(t, err)
	btrfstest.Must(t, r.Close())
	btrfstest.Must(t, r.Close())
	locks, err := filepath.Glob(filepath.Join(string(p.DB), dataset.Dir, "*", "sending", "*"))
	if err != nil || len(locks) > 0 {
		t.Errorf("locks left: %v, %v", locks, err)
	}
	btrfstest.Must(t, s.Destroy(ctx, p.DB, snap))
}

// Whoever cuts a send short must not read a clean end.
func TestSendThatFailsDoesNotEnd(t *testing.T) {
	p, s := newSource(t)
	btrfstest.Fill(t, string(p.DB))
	step := p.Step(p.DB, dataset.Snapshot{}, p.Snapshot(p.DB, 1))
	for name, script := range map[string]string{
		"error line and exit 0": "echo x; echo 'ERROR: bad' >&2; exit 0",
		"exit 1":                "echo x; exit 1",
	} {
		binary := filepath.Join(t.TempDir(), "btrfs")
		s := source.New(source.Options{Log: zerolog.Nop(), Binary: binary})
		btrfstest.Must(t, os.WriteFile(binary, []byte("#!/bin/sh\n"+script+"\n"), 0o755))
		r, err := s.Send(context.Background(), step, dataset.Checkpoint{})
		btrfstest.Must(t, err)
		if data, err := io.ReadAll(r); !errors.Is(err, dataset.ErrCut) || string(data) != "x\n" {
			t.Errorf("%s: read %q, %v; want x and ErrCut", name, data, err)
		}
		btrfstest.Must(t, r.Close())
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
	p, _ := newSource(t)
	btrfstest.Fill(t, string(p.DB))
	step := p.Step(p.DB, dataset.Snapshot{}, p.Snapshot(p.DB, 1))
	binary := filepath.Join(t.TempDir(), "btrfs")
	s := source.New(source.Options{Log: zerolog.Nop(), Binary: binary})
	btrfstest.Must(t, os.WriteFile(binary, []byte("#!/bin/sh\ntrap 'sleep 0.3; exit 1' TERM\necho ready\nwhile :; do sleep 0.1; done\n"), 0o755))
	r, err := s.Send(context.Background(), step, dataset.Checkpoint{})
	btrfstest.Must(t, err)
	_, err = r.Read(make([]byte, 8))
	btrfstest.Must(t, err)
	var closers sync.WaitGroup
	for range 2 {
		closers.Go(func() {
			if err := r.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
			if locks, err := filepath.Glob(filepath.Join(string(p.DB), dataset.Dir, "*", "sending", "*")); err != nil || len(locks) > 0 {
				t.Errorf("locks left when Close returned: %v, %v", locks, err)
			}
		})
	}
	closers.Wait()
}

func TestEstimateIsClose(t *testing.T) {
	p, s := newSource(t)
	btrfstest.Fill(t, string(p.DB))
	step := p.Step(p.DB, dataset.Snapshot{}, p.Snapshot(p.DB, 1))
	want := int64(len(p.Stream(step)))
	got, err := s.Estimate(context.Background(), step)
	if err != nil || got < want*95/100 || got > want*105/100 {
		t.Errorf("estimate %d, %v; the stream has %d bytes", got, err, want)
	}
}

func TestFenceMakesReadOnlyAndKeepsFacts(t *testing.T) {
	ctx := context.Background()
	p, s := newSource(t)
	btrfstest.Fill(t, string(p.DB))
	snap := p.Snapshot(p.DB, 1)
	btrfstest.Must(t, s.Fence(ctx, p.DB))
	btrfstest.Must(t, s.Fence(ctx, p.DB))
	if err := os.WriteFile(filepath.Join(string(p.DB), "x"), nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("write after the fence: %v, want EROFS", err)
	}
	mark := dataset.Mark{Activation: dataset.Activation{Generation: 1, ID: dataset.NewActivationID(), Node: "b"}}
	btrfstest.Must(t, s.SwapMark(ctx, p.DB, dataset.Mark{}, mark))
	if got, err := s.Mark(ctx, p.DB); err != nil || !got.Same(mark) {
		t.Errorf("mark %+v, %v; want %+v", got, err, mark)
	}
	btrfstest.Must(t, s.Hold(ctx, p.DB, snap, "x"))
	if err := s.Fence(ctx, p.DB+"x"); !errors.Is(err, dataset.ErrNotFound) {
		t.Errorf("fence of nothing: %v, want ErrNotFound", err)
	}
}

func TestThousandSnapshotsAreListedSoon(t *testing.T) {
	if testing.Short() {
		t.Skip("short: it makes 1,000 snapshots")
	}
	p, s := newSource(t)
	p.Many(1000)
	start := time.Now()
	list, err := s.Snapshots(context.Background(), p.DB)
	if err != nil || len(list) != 1000 {
		t.Fatalf("listed %d, %v; want 1000", len(list), err)
	}
	t.Logf("1,000 snapshots listed in %v", time.Since(start))
}

func TestProbeOfSource(t *testing.T) {
	p, s := newSource(t)
	ctx := context.Background()
	p.Snapshot(p.DB, 1)
	if found := s.Probe(ctx); len(found) != 0 {
		t.Errorf("found %+v on a good machine, want nothing", found)
	}
	btrfstest.Tool(t, "btrfs", "quota", "enable", p.From)
	if found := s.Probe(ctx); len(found) != 1 || found[0].Fatal || !strings.Contains(found[0].What, "quota") {
		t.Errorf("found %+v, want a warning of quota groups", found)
	}
	old := filepath.Join(t.TempDir(), "btrfs")
	btrfstest.Must(t, os.WriteFile(old, []byte("#!/bin/sh\necho btrfs-progs v5.16.2\n"), 0o755))
	for _, binary := range []string{old, "/nowhere/btrfs"} {
		found := source.New(source.Options{Binary: binary}).Probe(ctx)
		if len(found) != 1 || !found[0].Fatal || !strings.Contains(found[0].Cure, "btrfs-progs") {
			t.Errorf("found %+v with %s, want one that says what to install", found, binary)
		}
	}
}
