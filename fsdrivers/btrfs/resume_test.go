package btrfs

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

	"antipode/fsdrivers/btrfs/segment"
	"antipode/fsdrivers/dataset"
)

// quick makes segments of n bytes, whatever their age.
func quick(n int64) segment.Limits {
	return segment.Limits{Bytes: n, Most: time.Hour, Quiet: time.Hour, Small: 1}
}

// newQuickPair is a pair whose target makes small segments.
func newQuickPair(t *testing.T) *pair {
	p := newPair(t)
	p.target.opts.Segments = quick(256 << 10)
	return p
}

// restart makes a new target on the same disk and sweeps, as a daemon does.
func (p *pair) restart() {
	p.t.Helper()
	limits := p.target.opts.Segments
	p.target = p.newTarget("")
	p.target.opts.Segments = limits
	must(p.t, p.target.Sweep(context.Background()))
}

func (p *pair) pending(d dataset.Path) dataset.Checkpoint {
	p.t.Helper()
	c, err := p.target.Pending(context.Background(), d)
	must(p.t, err)
	return c
}

// cutAfter receives a step from the checkpoint on, and breaks the stream off after
// n bytes of it.
func (p *pair) cutAfter(step dataset.Step, from dataset.Checkpoint, n int64) (dataset.Snapshot, error) {
	p.t.Helper()
	r, err := p.source.Send(context.Background(), step, from)
	must(p.t, err)
	defer r.Close()
	in := dataset.Incoming{Step: step, Checkpoint: from, Retain: step.To.Created}
	return p.target.Receive(context.Background(), in, io.LimitReader(r, n))
}

// goOn sends from the checkpoint, going back as a daemon does.
func (p *pair) goOn(step dataset.Step, from dataset.Checkpoint) (began int64) {
	p.t.Helper()
	for {
		r, err := p.source.Send(context.Background(), step, from)
		var stale *dataset.StaleCheckpointError
		if errors.As(err, &stale) {
			from = stale.Fits
			continue
		}
		must(p.t, err)
		defer r.Close()
		_, err = p.target.Receive(context.Background(), dataset.Incoming{Step: step, Checkpoint: from, Retain: step.To.Created}, r)
		must(p.t, err)
		return from.Done
	}
}

// noise fills a file with bytes that are the same each time.
func noise(t *testing.T, path string, n int) {
	t.Helper()
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(n)}).Read(b)
	write(t, path, b)
}

// Twenty cuts at random places, with a restart after each: what is sent again is at
// most what was not sealed, and the copy is identical in the end.
func TestReceiveGoesOnFromItsLastSegment(t *testing.T) {
	p := newQuickPair(t)
	fill(t, string(p.db))
	noise(t, filepath.Join(string(p.db), "big"), 6<<20)
	s1 := p.snapshot(p.db, 1)
	p.crossInPieces(p.step(p.db, dataset.Snapshot{}, s1))
	change(t, string(p.db))
	noise(t, filepath.Join(string(p.db), "big"), 5<<20)
	must(t, os.RemoveAll(filepath.Join(string(p.db), "renamed/é")))
	s2 := p.snapshot(p.db, 2)
	p.crossInPieces(p.step(p.db, s1, s2))
	sameTree(t, atSource(p.db, s1), p.published(p.db, s1))
	change3(t, string(p.db))
	s3 := p.snapshot(p.db, 3)
	p.mustCross(p.step(p.db, s2, s3)) // the next incremental applies on top
	sameTree(t, atSource(p.db, s3), p.published(p.db, s3))
}

func change3(t *testing.T, root string) {
	t.Helper()
	must(t, os.Remove(filepath.Join(root, "clone")))
	write(t, filepath.Join(root, "new"), []byte("new"))
}

func (p *pair) crossInPieces(step dataset.Step) {
	p.t.Helper()
	whole := int64(len(p.stream(step)))
	var sent int64
	var from dataset.Checkpoint
	cuts := 20
	for i := range cuts {
		n := rand.Int64N(max(1, (whole-from.Done)/4)) + 1
		if i == cuts-1 { // so that something is sealed, wherever the others fell
			n = whole - from.Done - 1
		}
		sent += n
		if _, err := p.cutAfter(step, from, n); !errors.Is(err, dataset.ErrCut) {
			p.t.Fatalf("cut %d: %v, want ErrCut", i, err)
		}
		p.restart()
		next := p.pending(p.db)
		if next.Done < from.Done || next.Done > from.Done+n {
			p.t.Fatalf("cut %d, %d bytes behind %d: the checkpoint is at %d", i, n, from.Done, next.Done)
		}
		if lost := from.Done + n - next.Done; lost > 2*(256<<10)+stream2MiB {
			p.t.Errorf("cut %d: %d bytes must be sent again", i, lost)
		}
		from = next
	}
	if from.Done < whole/4 {
		p.t.Errorf("after %d cuts %d of %d bytes are sealed", cuts, from.Done, whole)
	}
	p.goOn(step, from)
	sameTree(p.t, atSource(p.db, step.To), p.published(p.db, step.To))
	p.nothingInProgress()
	if c := p.pending(p.db); !c.IsZero() {
		p.t.Errorf("after publishing the checkpoint is %+v, want none", c)
	}
}

// stream2MiB is what passes between two looks at the size of a segment.
const stream2MiB = 2 << 20

// A hundred segments: the number kept grows with the logarithm.
func TestSegmentsKeptAreFew(t *testing.T) {
	p := newQuickPair(t)
	p.target.opts.Segments = quick(1)
	noise(t, filepath.Join(string(p.db), "big"), 8<<20)
	step := p.step(p.db, dataset.Snapshot{}, p.snapshot(p.db, 1))
	data := p.stream(step)
	_, err := p.target.Receive(context.Background(), dataset.Incoming{Step: step}, pieces{bytes.NewReader(data[:len(data)-1]), 64 << 10})
	if !errors.Is(err, dataset.ErrCut) {
		t.Fatal(err)
	}
	root := filepath.Join(p.to, "into/.antipode/incoming", string(step.ID()), rootName)
	left, err := os.ReadDir(root)
	must(t, err)
	if len(left) < 8 || len(left) > 20 {
		t.Errorf("%d segments are kept of about 100: %v", len(left), left)
	}
	p.restart()
	p.goOn(step, p.pending(p.db))
	sameTree(t, atSource(p.db, step.To), p.published(p.db, step.To))
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
	p.target.opts.Segments = quick(1)
	same := bytes.Repeat([]byte("the same 64 KiB "), 64<<10/16)
	write(t, filepath.Join(string(p.db), "a"), same)
	noise(t, filepath.Join(string(p.db), "b"), 3<<20)
	write(t, filepath.Join(string(p.db), "c"), same)
	noise(t, filepath.Join(string(p.db), "d"), 4<<20)
	step := p.step(p.db, dataset.Snapshot{}, p.snapshot(p.db, 1))
	data := p.stream(step)
	if _, err := p.target.Receive(context.Background(), dataset.Incoming{Step: step}, pieces{bytes.NewReader(data[:len(data)-100]), 128 << 10}); !errors.Is(err, dataset.ErrCut) {
		t.Fatal(err)
	}
	from := p.pending(p.db)
	dedupe(t, filepath.Join(atSource(p.db, step.To), "a"), filepath.Join(atSource(p.db, step.To), "c"), len(same))
	if bytes.Equal(p.stream(step), data) {
		t.Fatal("the stream did not change: nothing is tested")
	}
	began := p.goOn(step, from)
	if began == 0 || began >= 3<<20+200<<10 {
		t.Errorf("it went on from byte %d, want from one before the change at 3 MiB and not from the first", began)
	}
	sameTree(t, atSource(p.db, step.To), p.published(p.db, step.To))
	p.nothingInProgress()
}

// dedupe has two files share the n bytes that they have in common.
func dedupe(t *testing.T, from, to string, n int) {
	t.Helper()
	src, err := os.Open(from)
	must(t, err)
	defer src.Close()
	dst, err := os.Open(to)
	must(t, err)
	defer dst.Close()
	r := unix.FileDedupeRange{Src_length: uint64(n), Info: []unix.FileDedupeRangeInfo{{Dest_fd: int64(dst.Fd())}}}
	must(t, unix.IoctlFileDedupeRange(int(src.Fd()), &r))
	if got := r.Info[0]; got.Status != 0 || got.Bytes_deduped != uint64(n) {
		t.Fatalf("deduplicated %d bytes with status %d, want %d", got.Bytes_deduped, got.Status, n)
	}
}

// halfway leaves the first half of a step sealed on the target.
func (p *pair) halfway() (dataset.Step, dataset.Checkpoint) {
	p.t.Helper()
	fill(p.t, string(p.db))
	noise(p.t, filepath.Join(string(p.db), "big"), 6<<20)
	step := p.step(p.db, dataset.Snapshot{}, p.snapshot(p.db, 1))
	data := p.stream(step)
	in := dataset.Incoming{Step: step, Retain: step.To.Created}
	if _, err := p.target.Receive(context.Background(), in, pieces{bytes.NewReader(data[:len(data)/2]), 64 << 10}); !errors.Is(err, dataset.ErrCut) {
		p.t.Fatal(err)
	}
	c := p.pending(p.db)
	if c.Done == 0 {
		p.t.Fatal("nothing is sealed: nothing is tested")
	}
	return step, c
}

func (p *pair) workDir(step dataset.Step) string {
	return filepath.Join(p.to, "into/.antipode/incoming", string(step.ID()))
}

// What cannot be gone on from is recognised, and the step is received anew; nobody
// has to do anything.
func TestCheckpointThatDoesNotFitIsDroppedOnce(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(p *pair, step dataset.Step, c *dataset.Checkpoint)
		where string // who notices: "pending", "send", "receive"
	}{
		"damaged journal": {func(p *pair, step dataset.Step, _ *dataset.Checkpoint) {
			must(p.t, os.WriteFile(filepath.Join(p.workDir(step), journalFile), []byte("garbage"), 0o600))
		}, "pending"},
		"damaged record": {func(p *pair, step dataset.Step, _ *dataset.Checkpoint) {
			must(p.t, os.WriteFile(filepath.Join(p.workDir(step), recordFile), []byte("garbage"), 0o600))
		}, "pending"},
		"segments gone": {func(p *pair, step dataset.Step, _ *dataset.Checkpoint) {
			list, err := filepath.Glob(filepath.Join(p.workDir(step), rootName, "segment-*"))
			must(p.t, err)
			for _, s := range list {
				tool(p.t, "btrfs", "subvolume", "delete", s)
			}
		}, "pending"},
		"another kind":  {func(_ *pair, _ dataset.Step, c *dataset.Checkpoint) { c.Kind = "zfs-token" }, "send"},
		"another step":  {func(_ *pair, _ dataset.Step, c *dataset.Checkpoint) { c.Step = "00000000000000000000000000000000" }, "send"},
		"noise":         {func(_ *pair, _ dataset.Step, c *dataset.Checkpoint) { c.Opaque = []byte("noise") }, "send"},
		"no such place": {func(_ *pair, _ dataset.Step, c *dataset.Checkpoint) { c.Done++ }, "send"},
		"gone meanwhile": {func(p *pair, _ dataset.Step, _ *dataset.Checkpoint) {
			must(p.t, p.target.Abort(context.Background(), p.db))
		}, "receive"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newQuickPair(t)
			step, from := p.halfway()
			c.spoil(p, step, &from)
			ctx := context.Background()
			if got := p.pending(p.db); c.where == "pending" && !got.IsZero() {
				t.Errorf("pending = %+v, want none", got)
			}
			if c.where == "send" {
				if _, err := p.source.Send(ctx, step, from); !errors.Is(err, dataset.ErrStaleCheckpoint) {
					t.Errorf("Send: %v, want ErrStaleCheckpoint", err)
				}
			}
			if c.where == "receive" {
				if _, err := p.target.Receive(ctx, dataset.Incoming{Step: step, Checkpoint: from}, unread{t}); !errors.Is(err, dataset.ErrStaleCheckpoint) {
					t.Errorf("Receive: %v, want ErrStaleCheckpoint", err)
				}
			}
			p.mustCross(step)
			sameTree(t, atSource(p.db, step.To), p.published(p.db, step.To))
			p.nothingInProgress()
		})
	}
}

// Its record may be anybody's: it stops neither the receives of others nor, as the
// sweep names it, is it forgotten.
func TestDamagedRecordHoldsUpNobodyElse(t *testing.T) {
	p := newQuickPair(t)
	step, _ := p.halfway()
	record := filepath.Join(p.workDir(step), recordFile)
	must(t, os.WriteFile(record, []byte("garbage"), 0o600))
	other := p.subvolume("other")
	write(t, filepath.Join(string(other), "x"), []byte("x"))
	s := p.snapshot(other, 1)
	p.mustCross(p.step(other, dataset.Snapshot{}, s))
	sameTree(t, atSource(other, s), p.published(other, s))
	if err := p.newTarget("").Sweep(context.Background()); err == nil || !bytes.Contains([]byte(err.Error()), []byte(record)) {
		t.Errorf("sweep: %v, want an error that names %s", err, record)
	}
}

// A receive that `btrfs receive` fails on top of a segment goes back segment by
// segment, and in the end to the beginning.
func TestSegmentThatCannotBeBuiltOnIsGivenUp(t *testing.T) {
	p := newQuickPair(t)
	step, from := p.halfway()
	honest := p.target.opts.Binary
	p.target.opts.Binary = filepath.Join(t.TempDir(), "btrfs")
	must(t, os.WriteFile(p.target.opts.Binary, []byte("#!/bin/sh\necho ERROR: cannot find it >&2\nexit 1\n"), 0o755))
	tries := 0
	for c := from; !c.IsZero(); c = p.pending(p.db) {
		if tries++; tries > 10 {
			t.Fatal("it never gives up")
		}
		if _, err := p.cutAfter(step, c, 1<<30); err == nil {
			t.Fatal("received by a tool that fails")
		}
		if next := p.pending(p.db); next.Done >= c.Done {
			t.Fatalf("after a failure on top of byte %d the checkpoint is at %d", c.Done, next.Done)
		}
	}
	p.target.opts.Binary = honest
	p.mustCross(step)
	sameTree(t, atSource(p.db, step.To), p.published(p.db, step.To))
	p.nothingInProgress()
}

// A link that is down may stay down for a day: what has come by then is sealed.
func TestQuietStreamIsSealed(t *testing.T) {
	p := newPair(t)
	p.target.opts.Segments = segment.Limits{Bytes: 1 << 30, Most: time.Hour, Quiet: 10 * time.Millisecond, Small: 1 << 20}
	fill(t, string(p.db))
	noise(t, filepath.Join(string(p.db), "big"), 6<<20)
	step := p.step(p.db, dataset.Snapshot{}, p.snapshot(p.db, 1))
	data := p.stream(step)
	r, w := io.Pipe()
	result := make(chan error, 1)
	go func() {
		_, err := p.target.Receive(context.Background(), dataset.Incoming{Step: step, Retain: step.To.Created}, r)
		result <- err
	}()
	for _, part := range [][]byte{data[:len(data)/3], data[len(data)/3 : len(data)/3*2]} {
		before := p.pending(p.db)
		_, err := w.Write(part)
		must(t, err)
		for limit := time.Now().Add(time.Minute); p.pending(p.db).Done == before.Done; {
			if time.Now().After(limit) {
				t.Fatal("nothing was sealed while nothing came")
			}
		}
	}
	_, err := w.Write(data[len(data)/3*2:])
	must(t, err)
	w.Close()
	must(t, <-result)
	sameTree(t, atSource(p.db, step.To), p.published(p.db, step.To))
	p.nothingInProgress()
}

// What was sealed pins room, and is given back with an abort.
func TestAbortRemovesWhatIsSealed(t *testing.T) {
	p := newQuickPair(t)
	step, _ := p.halfway()
	must(t, p.target.Abort(context.Background(), p.db))
	p.nothingInProgress()
	if c := p.pending(p.db); !c.IsZero() {
		t.Errorf("after the abort the checkpoint is %+v", c)
	}
	if _, err := os.Stat(p.workDir(step)); !os.IsNotExist(err) {
		t.Errorf("after the abort: %v", err)
	}
}

// Many receives that end together; each is answered only when its own data are
// durable, which one syncfs may have done for all.
func TestReceivesSideBySide(t *testing.T) {
	p := newQuickPair(t)
	var steps []dataset.Step
	for i := range 6 {
		d := p.subvolume(fmt.Sprint("d", i))
		noise(t, filepath.Join(string(d), "big"), 1<<20+i)
		steps = append(steps, p.step(d, dataset.Snapshot{}, p.snapshot(d, 1)))
	}
	results := make(chan error)
	for _, s := range steps {
		go func() {
			r, err := p.source.Send(context.Background(), s, dataset.Checkpoint{})
			if err == nil {
				_, err = p.target.Receive(context.Background(), dataset.Incoming{Step: s, Retain: s.To.Created}, r)
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
		sameTree(t, atSource(s.Dataset.Path, s.To), p.published(s.Dataset.Path, s.To))
	}
	p.nothingInProgress()
}
