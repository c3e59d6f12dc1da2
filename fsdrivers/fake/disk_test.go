package fake_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/fake"
)

// pair is a dataset on one disk and a target on another.
type pair struct {
	t              *testing.T
	sent, received *fake.Disk
	source         *fake.Source
	target         *fake.Target
	d              dataset.Dataset
	snaps          int
}

func newPair(t *testing.T) *pair {
	p := &pair{t: t, sent: fake.NewDisk("fra1", 1<<40), received: fake.NewDisk("sin1", 1<<40)}
	p.source, p.target = p.sent.Source(), p.received.Target(into, time.Now)
	p.d = p.sent.Make("/data/db")
	return p
}

func (p *pair) grow(bytes int64) {
	p.t.Helper()
	if err := p.sent.Grow(p.d.Path, bytes); err != nil {
		p.t.Fatal(err)
	}
}

// step snapshots the dataset and plans to send that.
func (p *pair) step(from dataset.Snapshot) dataset.Step {
	p.t.Helper()
	p.snaps++
	made, err := p.source.Snapshot(p.t.Context(), fmt.Sprint("antipode_", p.snaps), time.Unix(0, 0), []dataset.Path{p.d.Path})
	if err != nil {
		p.t.Fatal(err)
	}
	return dataset.Step{Job: "db", Dataset: p.d, From: from, To: made[0]}
}

func (p *pair) send(ctx context.Context, s dataset.Step, c dataset.Checkpoint) io.ReadCloser {
	p.t.Helper()
	r, err := p.source.Send(ctx, s, c)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { r.Close() })
	return r
}

func (p *pair) receive(ctx context.Context, s dataset.Step, r io.Reader) error {
	_, err := p.target.Receive(ctx, dataset.Incoming{Step: s}, r)
	return err
}

func TestGrownBytesAreNotHeld(t *testing.T) {
	p := newPair(t)
	p.grow(64 << 20)
	s := p.step(dataset.Snapshot{})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	if err := p.receive(t.Context(), s, p.send(t.Context(), s, dataset.Checkpoint{})); err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if held := int64(after.HeapAlloc) - int64(before.HeapAlloc); held > 8<<20 {
		t.Errorf("64 MiB were received and %d bytes of memory are held", held)
	}
	if u, err := p.target.Space(t.Context(), p.d.Path); err != nil || u.Size-u.Free != 64<<20 {
		t.Errorf("space: got %+v, %v, want 64 MiB used", u, err)
	}
}

func TestGrowIsDeterministic(t *testing.T) {
	stream := func() []byte {
		p := newPair(t)
		p.grow(100_001)
		first := p.step(dataset.Snapshot{})
		p.grow(70_000)
		b, err := io.ReadAll(p.send(t.Context(), p.step(first.To), dataset.Checkpoint{}))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	a, b := stream(), stream()
	if !bytes.Equal(a, b) {
		t.Error("two disks with one history send different bytes")
	}
	if len(a) < 70_000 || len(a) > 80_000 {
		t.Errorf("an incremental of 70,000 bytes: got %d", len(a))
	}
}

func TestSnapshotsShareWhatDidNotChange(t *testing.T) {
	p := newPair(t)
	p.grow(1 << 20)
	s1 := p.step(dataset.Snapshot{})
	p.grow(1 << 20)
	p.step(s1.To)
	used := func() int64 {
		u, err := p.source.Space(t.Context(), p.d.Path)
		if err != nil {
			t.Fatal(err)
		}
		return u.Size - u.Free
	}
	if got := used(); got != 2<<20 {
		t.Errorf("used: got %d, want 2 MiB", got)
	}
	if err := p.sent.Delete(p.d.Path, "none"); err != nil || used() != 2<<20 {
		t.Errorf("delete what is not there: %v, used %d", err, used())
	}
}

func TestRateTakesTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.grow(20 << 20)
		s := p.step(dataset.Snapshot{})
		p.received.SetRate(1 << 20)
		start := time.Now()
		if err := p.receive(t.Context(), s, p.send(t.Context(), s, dataset.Checkpoint{})); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took < 20*time.Second || took > 21*time.Second {
			t.Errorf("20 MiB at 1 MiB/s: got %v, want 20 s", took)
		}
	})
}

func TestStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.grow(10 << 20)
		s := p.step(dataset.Snapshot{})
		p.received.SetRate(1 << 20)
		done := make(chan error, 1)
		go func() { done <- p.receive(t.Context(), s, p.send(t.Context(), s, dataset.Checkpoint{})) }()
		wait := time.NewTimer(5 * time.Second)
		<-wait.C
		p.received.Stick()
		synctest.Wait()
		_, listed := p.target.Snapshots(t.Context(), p.d.Path)
		for what, err := range map[string]error{"list": listed, "sweep": p.target.Sweep(t.Context())} {
			if !errors.Is(err, dataset.ErrStuck) {
				t.Errorf("%s: got %v, want stuck", what, err)
			}
		}
		if found := p.target.Probe(t.Context()); len(found) != 1 || !found[0].Fatal {
			t.Errorf("probe: got %v, want a fatal finding", found)
		}
		p.received.Unstick()
		if err := <-done; err != nil {
			t.Errorf("receive after Unstick: %v", err)
		}
	})
}

func TestStuckEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.grow(1 << 20)
		s := p.step(dataset.Snapshot{})
		ctx, stop := context.WithCancel(t.Context())
		r := p.send(ctx, s, dataset.Checkpoint{})
		p.sent.Stick()
		done := make(chan error, 1)
		go func() {
			_, err := io.Copy(io.Discard, r)
			done <- err
		}()
		synctest.Wait()
		stop()
		if err := <-done; !errors.Is(err, dataset.ErrStuck) || !errors.Is(err, context.Canceled) {
			t.Errorf("send: got %v, want stuck and canceled", err)
		}
		p.sent.Unstick()
	})
}

func TestCrashEndsBothSides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t)
		p.received.Resumable(true)
		p.grow(10 << 20)
		s := p.step(dataset.Snapshot{})
		p.received.SetRate(1 << 20)
		r := p.send(t.Context(), s, dataset.Checkpoint{})
		done := make(chan error, 1)
		go func() { done <- p.receive(t.Context(), s, r) }()
		wait := time.NewTimer(5 * time.Second)
		<-wait.C
		p.received.Crash()
		if err := <-done; err == nil {
			t.Error("receive: got no error")
		}
		r.Close()
		r = p.send(t.Context(), s, dataset.Checkpoint{})
		p.sent.Crash()
		if _, err := io.Copy(io.Discard, r); !errors.Is(err, dataset.ErrCut) {
			t.Errorf("send: got %v, want cut", err)
		}
		r.Close()
		c, err := p.target.Pending(t.Context(), p.d.Path)
		if err != nil || c.Done < 4<<20 || c.Done > 6<<20 || c.Step != s.ID() {
			t.Fatalf("checkpoint: got %+v, %v, want one at 5 MiB", c, err)
		}
		in := dataset.Incoming{Step: s, Checkpoint: c}
		if _, err := p.target.Receive(t.Context(), in, p.send(t.Context(), s, c)); err != nil {
			t.Errorf("go on: %v", err)
		}
	})
}

func TestCheckpointOfAnotherHistoryIsStale(t *testing.T) {
	p := newPair(t)
	p.received.Resumable(true)
	p.grow(1 << 20)
	s := p.step(dataset.Snapshot{})
	whole, err := io.ReadAll(p.send(t.Context(), s, dataset.Checkpoint{}))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.receive(t.Context(), s, bytes.NewReader(whole[:500_000])); !errors.Is(err, dataset.ErrCut) {
		t.Fatalf("half: got %v, want cut", err)
	}
	good, err := p.target.Pending(t.Context(), p.d.Path)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*dataset.Checkpoint){
		"another offset": func(c *dataset.Checkpoint) { c.Done-- },
		"another prefix": func(c *dataset.Checkpoint) { c.Opaque = []byte{1, 2, 3, 4} },
		"another step":   func(c *dataset.Checkpoint) { c.Step = "0123456789abcdef0123456789abcdef" },
		"beyond the end": func(c *dataset.Checkpoint) { c.Done = 1 << 40 },
		"no digest":      func(c *dataset.Checkpoint) { c.Opaque = nil },
	} {
		c := good
		spoil(&c)
		if _, err := p.source.Send(t.Context(), s, c); !errors.Is(err, dataset.ErrStaleCheckpoint) {
			t.Errorf("%s: got %v, want stale", name, err)
		}
	}
	if err := p.receive(t.Context(), s, bytes.NewReader(whole)); err != nil {
		t.Errorf("from the start, on top of what was kept: %v", err)
	}
}

func TestManyAtOnce(t *testing.T) {
	p := newPair(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			d := p.sent.Make(dataset.Path(fmt.Sprintf("/data/%d", i)))
			for range 10 {
				if err := p.sent.Grow(d.Path, 100_000); err != nil {
					t.Error(err)
				}
				made, err := p.source.Snapshot(t.Context(), "antipode_x", time.Unix(0, 0), []dataset.Path{d.Path})
				if err != nil {
					t.Error(err)
					return
				}
				s := dataset.Step{Dataset: d, To: made[0]}
				r, err := p.source.Send(t.Context(), s, dataset.Checkpoint{})
				if err != nil {
					t.Error(err)
					return
				}
				if err := p.receive(t.Context(), s, r); err != nil {
					t.Error(err)
				}
				r.Close()
				if err := p.target.Sweep(t.Context()); err != nil {
					t.Error(err)
				}
				if err := p.source.Destroy(t.Context(), d.Path, made[0]); err != nil {
					t.Error(err)
				}
				if err := p.target.Destroy(t.Context(), d.Path, made[0]); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := p.received.Litter(into); n != 0 {
		t.Errorf("%d receives are unfinished", n)
	}
}
