package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"antipode/daemon/plan"
	"antipode/daemon/policy"
	"antipode/daemon/prune"
	"antipode/fsdrivers/btrfs"
	"antipode/fsdrivers/dataset"
	"antipode/integration/stage"
)

// points is how many snapshots the job has whose retention is timed.
const points = 1000

var errMiscounted = errors.New("not as many as there must be")

// retention times what a run does for one dataset with a thousand real snapshots:
// it lists them, plans against a target that lacks the newest, and prunes.
func (b *bench) retention(ctx context.Context) error {
	var all []float64
	for round := range min(b.rounds, 3) {
		took, err := b.retain(ctx, fmt.Sprintf("retention-%d", round))
		if err != nil {
			return err
		}
		all = append(all, took.Seconds())
	}
	figure("btrfs_1000_snapshots_seconds", median(all), "s")
	return nil
}

// retain makes the snapshots on a file system of their own, and times the rest.
func (b *bench) retain(ctx context.Context, name string) (time.Duration, error) {
	mark := b.Mark()
	defer func() { _ = b.StrikeTo(mark) }()
	v, err := b.Volume(ctx, name, volumeBytes)
	if err != nil {
		return 0, err
	}
	path := dataset.Path(filepath.Join(v.Dir, "data"))
	if _, err := stage.Tool(ctx, "btrfs", "subvolume", "create", string(path)); err != nil {
		return 0, err
	}
	now := time.Now().UTC().Truncate(time.Hour)
	maker := btrfs.NewSource(btrfs.Options{Log: zerolog.Nop()})
	for i := range points {
		at := now.Add(time.Duration(i-points) * time.Hour)
		if _, err := maker.Snapshot(ctx, policy.SnapshotName("db", at), at, []dataset.Path{path}); err != nil {
			return 0, err
		}
	}
	began := time.Now()
	doomed, err := prunePoints(ctx, path, now)
	took := time.Since(began)
	if err != nil {
		return 0, err
	}
	b.note("retention: %d of %d snapshots destroyed in %.2f s", doomed, points, took.Seconds())
	return took, nil
}

// prunePoints is a run's own work, by a driver that has seen nothing yet.
func prunePoints(ctx context.Context, path dataset.Path, now time.Time) (int, error) {
	source := btrfs.NewSource(btrfs.Options{Log: zerolog.Nop()})
	found, err := source.Find(ctx, path, false)
	if err != nil || len(found) != 1 {
		return 0, fmt.Errorf("find %s: %d datasets: %w", path, len(found), cmp.Or(err, errMiscounted))
	}
	list, err := source.Snapshots(ctx, path)
	if err != nil || len(list) != points {
		return 0, fmt.Errorf("list: %d snapshots, want %d: %w", len(list), points, cmp.Or(err, errMiscounted))
	}
	p, err := plan.Decide(plan.Input{Job: "db", Dataset: found[0], Source: list, Target: list[:points-1], TargetID: found[0].ID})
	if err != nil || len(p.Steps) != 1 {
		return 0, fmt.Errorf("plan: %d steps, want 1: %w", len(p.Steps), cmp.Or(err, errMiscounted))
	}
	verdicts := prune.Decide(prune.Input{
		Side: prune.Source, Points: list, Now: now, Backlog: policy.DefaultBacklog,
		Keep:  policy.Keep{Last: 4, Hourly: 48, Daily: 14, Weekly: 8, Monthly: 12, Yearly: 3},
		Peers: []prune.Peer{{Name: "sin1", Base: p.Base.ID}},
	})
	done, err := prune.Execute(ctx, path, verdicts, source)
	if err != nil || len(done) < points*9/10 {
		return 0, fmt.Errorf("prune: %d destroyed of %d: %w", len(done), points, cmp.Or(err, errMiscounted))
	}
	return len(done), nil
}
