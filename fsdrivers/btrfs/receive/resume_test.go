package receive_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers/btrfs/btrfstest"
	"antipode/fsdrivers/btrfs/btrfstest/pair"
	"antipode/fsdrivers/btrfs/segment"
	"antipode/fsdrivers/btrfs/target"
	"antipode/fsdrivers/dataset"
)

// quick makes segments of n bytes, whatever their age.
func quick(n int64) segment.Limits {
	return segment.Limits{Bytes: n, Most: time.Hour, Quiet: time.Hour, Small: 1}
}

// newQuickPair is a pair whose target makes small segments.
func newQuickPair(t *testing.T) *pair.Pair {
	p := pair.New(t)
	p.Remake(func(o *target.Options) { o.Segments = quick(256 << 10) })
	return p
}

// restart makes a new target on the same disk and sweeps, as a daemon does.
func restart(p *pair.Pair) {
	p.T.Helper()
	p.Target = p.NewTarget("")
	btrfstest.Must(p.T, p.Target.Sweep(context.Background()))
}

func pending(p *pair.Pair, d dataset.Path) dataset.Checkpoint {
	p.T.Helper()
	c, err := p.Target.Pending(context.Background(), d)
	btrfstest.Must(p.T, err)
	return c
}

// cutAfter receives a step from the checkpoint on, and breaks the stream off after
// n bytes of it.
func cutAfter(p *pair.Pair, step dataset.Step, from dataset.Checkpoint, n int64) (dataset.Snapshot, error) {
	p.T.Helper()
	r, err := p.Source.Send(context.Background(), step, from)
	btrfstest.Must(p.T, err)
	defer r.Close()
	in := dataset.Incoming{Step: step, Checkpoint: from, Retain: step.To.Created}
	return p.Target.Receive(context.Background(), in, io.LimitReader(r, n))
}

// goOn sends from the checkpoint, going back as a daemon does.
func goOn(p *pair.Pair, step dataset.Step, from dataset.Checkpoint) (began int64) {
	p.T.Helper()
	for {
		r, err := p.Source.Send(context.Background(), step, from)
		var stale *dataset.StaleCheckpointError
		if errors.As(err, &stale) {
			from = stale.Fits
			continue
		}
		btrfstest.Must(p.T, err)
		defer r.Close()
		_, err = p.Target.Receive(context.Background(), dataset.Incoming{Step: step, Checkpoint: from, Retain: step.To.Created}, r)
		btrfstest.Must(p.T, err)
		return from.Done
	}
}

// noise fills a file with bytes that are the same each time.
func noise(t *testing.T, path string, n int) {
	t.Helper()
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	btrfstest.Write(t, path, b)
}

// Twenty cuts at random places, with a restart after each: what is sent again is at
// most what was not sealed, and the copy is identical in the end.
func TestReceiveGoesOnFromItsLastSegment(t *testing.T) {
	p := newQuickPair(t)
	btrfstest.Fill(t, string(p.DB))
	noise(t, filepath.Join(string(p.DB), "big"), 6<<20)
	s1 := p.Snapshot(p.DB, 1)
	crossInPieces(p, p.Step(p.DB, dataset.Snapshot{}, s1))
	btrfstest.Change(t, string(p.DB))
	noise(t, filepath.Join(string(p.DB), "big"), 5<<20)
	btrfstest.Must(t, os.RemoveAll(filepath.Join(string(p.DB), "renamed/é")))
	s2 := p.Snapshot(p.DB, 2)
	crossInPieces(p, p.Step(p.DB, s1, s2))
	btrfstest.SameTree(t, btrfstest.AtSource(p.DB, s1), p.Published(p.DB, s1))
	change3(t, string(p.DB))
	s3 := p.Snapshot(p.DB, 3)
	p.MustCross(p.Step(p.DB, s2, s3)) // the next incremental applies on top
	btrfstest.SameTree(t, btrfstest.AtSource(p.DB, s3), p.Published(p.DB, s3))
}

func change3(t *testing.T, root string) {
	t.Helper()
	btrfstest.Must(t, os.Remove(filepath.Join(root, "clone")))
	btrfstest.Write(t, filepath.Join(root, "new"), []byte("new"))
}

func crossInPieces(p *pair.Pair, step dataset.Step) {
	p.T.Helper()
	whole := int64(len(p.Stream(step)))
	var sent int64
	var from dataset.Checkpoint
	cuts := 20
	for i := range cuts {
		n := rand.Int64N(max(1, (whole-from.Done)/4)) + 1
		if i == cuts-1 { // so that something is sealed, wherever the others fell
			n = whole - from.Done - 1
		}
		sent += n
		if _, err := cutAfter(p, step, from, n); !errors.Is(err, dataset.ErrCut) {
			p.T.Fatalf("cut %d: %v, want ErrCut", i, err)
		}
		restart(p)
		next := pending(p, p.DB)
		if next.Done < from.Done || next.Done > from.Done+n {
			p.T.Fatalf("cut %d, %d bytes behind %d: the checkpoint is at %d", i, n, from.Done, next.Done)
		}
		if lost := from.Done + n - next.Done; lost > 2*(256<<10)+stream2MiB {
			p.T.Errorf("cut %d: %d bytes must be sent again", i, lost)
		}
		from = next
	}
	if from.Done < whole/4 {
		p.T.Errorf("after %d cuts %d of %d bytes are sealed", cuts, from.Done, whole)
	}
	goOn(p, step, from)
	btrfstest.SameTree(p.T, btrfstest.AtSource(p.DB, step.To), p.Published(p.DB, step.To))
	p.NothingInProgress()
	if c := pending(p, p.DB); !c.IsZero() {
		p.T.Errorf("after publishing the checkpoint is %+v, want none", c)
	}
}

// stream2MiB is what passes between two looks at the size of a segment.
const stream2MiB = 2 << 20

// A hundred segments: the number kept grows with the logarithm.
func TestSegmentsKeptAreFew(t *testing.T) {
	p := newQuickPair(t)
	p.Remake(func(o *target.Options) { o.Segments = quick(1) })
	noise(t, filepath.Join(string(p.DB), "big"), 8<<20)
	step := p.Step(p.DB, dataset.Snapshot{}, p.Snapshot(p.DB, 1))
	data := p.Stream(step)
	_, err := p.Target.Receive(context.Background(), dataset.Incoming{Step: step}, pieces{bytes.NewReader(data[:len(data)-1]), 64 << 10})
	if !errors.Is(err, dataset.ErrCut) {
		t.Fatal(err)
	}
	root := filepath.Join(p.To, "into/.antipode/incoming", string(step.ID()), "root")
	left, err := os.ReadDir(root)
	btrfstest.Must(t, err)
	if len(left) < 8 || len(left) > 20 {
		t.Errorf("%d segments are kept of about 100: %v", len(left), left)
	}
	restart(p)
	goOn(p, step, pending(p, p.DB))
	btrfstest.SameTree(t, btrfstest.AtSource(p.DB, step.To), p.Published(p.DB, step.To))
}

// pieces is read n bytes at a time.
type pieces struct {
	r io.Reader
	n int
}

func (p pieces) Read(b []byte) (int, error) { return p.r.Read(b[:min(len(b), p.n)]) }

// FIELD-NOTES B.1: somebody deduplicates inside the snapshot while a copy of it is
// under way. The way back is to the last segment before that place.
func TestChangedPrefixCostsOnlyTheWayBack(t *testing.T) {
	p := newQuickPair(t)
	p.Remake(func(o *target.Options) { o.Segments = quick(1) })
	same := bytes.Repeat([]byte("the same 64 KiB "), 64<<10/16)
	btrfstest.Write(t, filepath.Join(string(p.DB), "a"), same)
	noise(t, filepath.Join(string(p.DB), "b"), 3<<20)
	btrfstest.Write(t, filepath.Join(string(p.DB), "c"), same)
	noise(t, filepath.Join(string(p.DB), "d"), 4<<20)
	step := p.Step(p.DB, dataset.Snapshot{}, p.Snapshot(p.DB, 1))
	data := p.Stream(step)
	if _, err := p.Target.Receive(context.Background(), dataset.Incoming{Step: step}, pieces{bytes.NewReader(data[:len(data)-100]), 128 << 10}); !errors.Is(err, dataset.ErrCut) {
		t.Fatal(err)
	}
	from := pending(p, p.DB)
	dedupe(t, filepath.Join(btrfstest.AtSource(p.DB, step.To), "a"), filepath.Join(btrfstest.AtSource(p.DB, step.To), "c"), len(same))
	if bytes.Equal(p.Stream(step), data) {
		t.Fatal("the stream did not change: nothing is tested")
	}
	began := goOn(p, step, from)
	if began == 0 || began >= 3<<20+200<<10 {
		t.Errorf("it went on from byte %d, want from one before the change at 3 MiB and not from the first", began)
	}
	btrfstest.SameTree(t, btrfstest.AtSource(p.DB, step.To), p.Published(p.DB, step.To))
	p.NothingInProgress()
}

// dedupe has two files share the n bytes that they have in common.
func dedupe(t *testing.T, from, to string, n int) {
	t.Helper()
	src, err := os.Open(from)
	btrfstest.Must(t, err)
	defer src.Close()
	dst, err := os.Open(to)
	btrfstest.Must(t, err)
	defer dst.Close()
	r := unix.FileDedupeRange{Src_length: uint64(n), Info: []unix.FileDedupeRangeInfo{{Dest_fd: int64(dst.Fd())}}}
	btrfstest.Must(t, unix.IoctlFileDedupeRange(int(src.Fd()), &r))
	if got := r.Info[0]; got.Status != 0 || got.Bytes_deduped != uint64(n) {
		t.Fatalf("deduplicated %d bytes with status %d, want %d", got.Bytes_deduped, got.Status, n)
	}
}

// halfway leaves the first half of a step sealed on the target.
func halfway(p *pair.Pair) (dataset.Step, dataset.Checkpoint) {
	p.T.Helper()
	btrfstest.Fill(p.T, string(p.DB))
	noise(p.T, filepath.Join(string(p.DB), "big"), 6<<20)
	step := p.Step(p.DB, dataset.Snapshot{}, p.Snapshot(p.DB, 1))
	data := p.Stream(step)
	in := dataset.Incoming{Step: step, Retain: step.To.Created}
	if _, err := p.Target.Receive(context.Background(), in, pieces{bytes.NewReader(data[:len(data)/2]), 64 << 10}); !errors.Is(err, dataset.ErrCut) {
		p.T.Fatal(err)
	}
	c := pending(p, p.DB)
	if c.Done == 0 {
		p.T.Fatal("nothing is sealed: nothing is tested")
	}
	return step, c
}

func workDir(p *pair.Pair, step dataset.Step) string {
	return filepath.Join(p.To, "into/.antipode/incoming", string(step.ID()))
}

// What cannot be gone on from is recognised, and the step is received anew; nobody
// has to do anything.
func TestCheckpointThatDoesNotFitIsDroppedOnce(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(p *pair.Pair, step dataset.Step, c *dataset.Checkpoint)
		where string // who notices: "pending", "send", "receive"
	}{
		"damaged journal": {func(p *pair.Pair, step dataset.Step, _ *dataset.Checkpoint) {
			btrfstest.Must(p.T, os.WriteFile(filepath.Join(workDir(p, step), "segments"), []byte("garbage"), 0o600))
		}, "pending"},
		"damaged record": {func(p *pair.Pair, step dataset.Step, _ *dataset.Checkpoint) {
			btrfstest.Must(p.T, os.WriteFile(filepath.Join(workDir(p, step), "record"), []byte("garbage"), 0o600))
		}, "pending"},
		"segments gone": {func(p *pair.Pair, step dataset.Step, _ *dataset.Checkpoint) {
			list, err := filepath.Glob(filepath.Join(workDir(p, step), "root", "segment-*"))
			btrfstest.Must(p.T, err)
			for _, s := range list {
				btrfstest.Tool(p.T, "btrfs", "subvolume", "delete", s)
			}
		}, "pending"},
		"another kind":  {func(_ *pair.Pair, _ dataset.Step, c *dataset.Checkpoint) { c.Kind = "zfs-token" }, "send"},
		"another step":  {func(_ *pair.Pair, _ dataset.Step, c *dataset.Checkpoint) { c.Step = "00000000000000000000000000000000" }, "send"},
		"noise":         {func(_ *pair.Pair, _ dataset.Step, c *dataset.Checkpoint) { c.Opaque = []byte("noise") }, "send"},
		"no such place": {func(_ *pair.Pair, _ dataset.Step, c *dataset.Checkpoint) { c.Done++ }, "send"},
		"gone meanwhile": {func(p *pair.Pair, _ dataset.Step, _ *dataset.Checkpoint) {
			btrfstest.Must(p.T, p.Target.Abort(context.Background(), p.DB))
		}, "receive"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newQuickPair(t)
			step, from := halfway(p)
			c.spoil(p, step, &from)
			ctx := context.Background()
			if got := pending(p, p.DB); c.where == "pending" && !got.IsZero() {
				t.Errorf("pending = %+v, want none", got)
			}
			if c.where == "send" {
				if _, err := p.Source.Send(ctx, step, from); !errors.Is(err, dataset.ErrStaleCheckpoint) {
					t.Errorf("Send: %v, want ErrStaleCheckpoint", err)
				}
			}
			if c.where == "receive" {
				if _, err := p.Target.Receive(ctx, dataset.Incoming{Step: step, Checkpoint: from}, unread{t}); !errors.Is(err, dataset.ErrStaleCheckpoint) {
					t.Errorf("Receive: %v, want ErrStaleCheckpoint", err)
				}
			}
			p.MustCross(step)
			btrfstest.SameTree(t, btrfstest.AtSource(p.DB, step.To), p.Published(p.DB, step.To))
			p.NothingInProgress()
		})
	}
}

// Its record may be anybody's: it stops neither the receives of others nor, as the
// sweep names it, is it forgotten.
func TestDamagedRecordHoldsUpNobodyElse(t *testing.T) {
	p := newQuickPair(t)
	step, _ := halfway(p)
	record := filepath.Join(workDir(p, step), "record")
	btrfstest.Must(t, os.WriteFile(record, []byte("garbage"), 0o600))
	other := p.Subvolume("other")
	btrfstest.Write(t, filepath.Join(string(other), "x"), []byte("x"))
	s := p.Snapshot(other, 1)
	p.MustCross(p.Step(other, dataset.Snapshot{}, s))
	btrfstest.SameTree(t, btrfstest.AtSource(other, s), p.Published(other, s))
	if err := p.NewTarget("").Sweep(context.Background()); err == nil || !bytes.Contains([]byte(err.Error()), []byte(record)) {
		t.Errorf("sweep: %v, want an error that names %s", err, record)
	}
}

// A receive that `btrfs receive` fails on top of a segment goes back segment by
// segment, and in the end to the beginning.
func TestSegmentThatCannotBeBuiltOnIsGivenUp(t *testing.T) {
	p := newQuickPair(t)
	step, from := halfway(p)
	p.Remake(func(o *target.Options) { o.Binary = filepath.Join(t.TempDir(), "btrfs") })
	btrfstest.Must(t, os.WriteFile(p.Options.Binary, []byte("#!/bin/sh\necho ERROR: cannot find it >&2\nexit 1\n"), 0o755))
	tries := 0
	for c := from; !c.IsZero(); c = pending(p, p.DB) {
		if tries++; tries > 10 {
			t.Fatal("it never gives up")
		}
		if _, err := cutAfter(p, step, c, 1<<30); err == nil {
			t.Fatal("received by a tool that fails")
		}
		if next := pending(p, p.DB); next.Done >= c.Done {
			t.Fatalf("after a failure on top of byte %d the checkpoint is at %d", c.Done, next.Done)
		}
	}
	p.Remake(func(o *target.Options) { o.Binary = "" })
	p.MustCross(step)
	btrfstest.SameTree(t, btrfstest.AtSource(p.DB, step.To), p.Published(p.DB, step.To))
	p.NothingInProgress()
}

// A link that is down may stay down for a day: what has come by then is sealed.
func TestQuietStreamIsSealed(t *testing.T) {
	p := pair.New(t)
	p.Remake(func(o *target.Options) {
		o.Segments = segment.Limits{Bytes: 1 << 30, Most: time.Hour, Quiet: 10 * time.Millisecond, Small: 1 << 20}
	})
	btrfstest.Fill(t, string(p.DB))
	noise(t, filepath.Join(string(p.DB), "big"), 6<<20)
	step := p.Step(p.DB, dataset.Snapshot{}, p.Snapshot(p.DB, 1))
	data := p.Stream(step)
	r, w := io.Pipe()
	result := make(chan error, 1)
	go func() {
		_, err := p.Target.Receive(context.Background(), dataset.Incoming{Step: step, Retain: step.To.Created}, r)
		result <- err
	}()
	for _, part := range [][]byte{data[:len(data)/3], data[len(data)/3 : len(data)/3*2]} {
		before := pending(p, p.DB)
		_, err := w.Write(part)
		btrfstest.Must(t, err)
		for limit := time.Now().Add(time.Minute); pending(p, p.DB).Done == before.Done; {
			if time.Now().After(limit) {
				t.Fatal("nothing was sealed while nothing came")
			}
		}
	}
	_, err := w.Write(data[len(data)/3*2:])
	btrfstest.Must(t, err)
	w.Close()
	btrfstest.Must(t, <-result)
	btrfstest.SameTree(t, btrfstest.AtSource(p.DB, step.To), p.Published(p.DB, step.To))
	p.NothingInProgress()
}

// What was sealed pins room, and is given back with an abort.
func TestAbortRemovesWhatIsSealed(t *testing.T) {
	p := newQuickPair(t)
	step, _ := halfway(p)
	btrfstest.Must(t, p.Target.Abort(context.Background(), p.DB))
	p.NothingInProgress()
	if c := pending(p, p.DB); !c.IsZero() {
		t.Errorf("after the abort the checkpoint is %+v", c)
	}
	if _, err := os.Stat(workDir(p, step)); !os.IsNotExist(err) {
		t.Errorf("after the abort: %v", err)
	}
}

// Many receives that end together; each is answered only when its own data are
// durable, which one syncfs may have done for all.
func TestReceivesSideBySide(t *testing.T) {
	p := newQuickPair(t)
	var steps []dataset.Step
	for i := range 6 {
		d := p.Subvolume(fmt.Sprint("d", i))
		noise(t, filepath.Join(string(d), "big"), 1<<20+i)
		steps = append(steps, p.Step(d, dataset.Snapshot{}, p.Snapshot(d, 1)))
	}
	results := make(chan error)
	for _, s := range steps {
		go func() {
			r, err := p.Source.Send(context.Background(), s, dataset.Checkpoint{})
			if err == nil {
				_, err = p.Target.Receive(context.Background(), dataset.Incoming{Step: s, Retain: s.To.Created}, r)
				err = errors.Join(err, r.Close())
			}
			results <- err
		}()
	}
	for range steps {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	for _, s := range steps {
		btrfstest.SameTree(t, btrfstest.AtSource(s.Dataset.Path, s.To), p.Published(s.Dataset.Path, s.To))
	}
	p.NothingInProgress()
}
