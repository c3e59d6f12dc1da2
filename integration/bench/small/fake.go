package main

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"antipode/daemon/policy"
	"antipode/daemon/send"
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/fake"
)

const (
	into          = "/backup/near"
	noopDatasets  = 1000
	noopSnapshots = 1000
	smallDatasets = 500
	diskBytes     = 1 << 40
)

// memory makes drivers on a file system in memory.
type memory struct{ disk *fake.Disk }

func (m memory) Source(policy.Driver, policy.Names) (fsdrivers.Source, error) {
	return m.disk.Source(), nil
}

func (m memory) Target(a policy.Accept) (fsdrivers.Target, error) {
	return m.disk.Target(a.Into, time.Now), nil
}

// grown is a source with datasets that its target has already.
type grown struct {
	*pair
	near, far *fake.Disk
	paths     []dataset.Path
	source    *fake.Source
	snaps     int
}

func grow(ctx context.Context, datasets, snapshots int) (*grown, error) {
	g := &grown{near: fake.NewDisk("near", diskBytes), far: fake.NewDisk("far", diskBytes)}
	g.source = g.near.Source()
	for i := range datasets {
		path := dataset.Path(fmt.Sprintf("/data/tenant-%04d/volume", i))
		g.near.Make(path)
		g.paths = append(g.paths, path)
	}
	if err := g.write(); err != nil {
		return nil, err
	}
	var newest []dataset.Snapshot
	var err error
	for range snapshots {
		if newest, err = g.snapshot(ctx); err != nil {
			return nil, err
		}
	}
	for i, path := range g.paths {
		if err := g.source.Hold(ctx, path, newest[i], send.BaseTag(job, "far")); err != nil {
			return nil, err
		}
		if err := g.far.Carry(g.near, path, into, time.Now()); err != nil {
			return nil, err
		}
	}
	g.pair, err = newPair(memory{g.near}, memory{g.far})
	return g, err
}

// write changes every dataset a little.
func (g *grown) write() error {
	for _, path := range g.paths {
		if err := g.near.Write(path, "file", fmt.Appendf(nil, "%s after %d snapshots", path, g.snaps)); err != nil {
			return err
		}
	}
	return nil
}

func (g *grown) snapshot(ctx context.Context) ([]dataset.Snapshot, error) {
	g.snaps++
	at := time.Now().UTC().Add(-time.Duration(10_000-g.snaps) * time.Minute).Truncate(time.Second)
	return g.source.Snapshot(ctx, policy.SnapshotName(job, at), at, g.paths)
}

func (g *grown) run(ctx context.Context, verbose bool) error {
	runtime.GC() // what was for the making
	if err := g.start(policy.Btrfs, policy.Patterns{{Path: "/data", Below: true}}, into, verbose); err != nil {
		return err
	}
	return quiet(ctx)
}

// noop measures a round of a job in which nothing happened.
func (b bench) noop(ctx context.Context) error {
	g, err := grow(ctx, noopDatasets, noopSnapshots)
	if err != nil {
		return err
	}
	before := g.carried()
	if err := g.run(ctx, b.verbose); err != nil {
		return err
	}
	cold := g.carried() - before
	b.note("noop: %d bytes after both daemons have started", cold)
	var seconds []float64
	var most int64
	for range b.rounds {
		r, err := g.replicate(ctx)
		if err != nil {
			return err
		}
		if r.steps != 0 {
			return fmt.Errorf("a round in which nothing happened sent %d steps", r.steps)
		}
		b.note("noop: %v, %d bytes", r.took, r.bytes)
		seconds, most = append(seconds, r.took.Seconds()), max(most, r.bytes)
	}
	figure("noop_1000", median(seconds), "s")
	figure("noop_1000_bytes", float64(most), "bytes")
	figure("noop_1000_cold_bytes", float64(cold), "bytes")
	return g.close()
}

// small measures a round in which every dataset has a small change. The slowest
// counts: the first has cold connections, and does not know yet how many steps to
// make at once.
func (b bench) small(ctx context.Context) error {
	g, err := grow(ctx, smallDatasets, 3)
	if err != nil {
		return err
	}
	if err := g.run(ctx, b.verbose); err != nil {
		return err
	}
	var most time.Duration
	for range b.rounds {
		if err := g.write(); err != nil {
			return err
		}
		if _, err := g.snapshot(ctx); err != nil {
			return err
		}
		r, err := g.replicate(ctx)
		if err != nil {
			return err
		}
		if r.steps != smallDatasets {
			return fmt.Errorf("%d steps were sent, want %d", r.steps, smallDatasets)
		}
		b.note("small: %v, %d bytes", r.took, r.bytes)
		most = max(most, r.took)
	}
	figure("small_500", most.Seconds(), "s")
	return g.close()
}
