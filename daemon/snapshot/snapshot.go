// Package snapshot takes the snapshots that a job is due: one name for all of a
// job's datasets, atomic where the file system can. It knows nothing of
// replication.
package snapshot

import (
	"context"
	"errors"
	"fmt"
	"time"

	"antipode/daemon/policy"
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// Driver is what taking snapshots needs of a file system.
type Driver interface {
	fsdrivers.Lister
	fsdrivers.Snapshotter
}

// Taken is one snapshot with the dataset that it was made of.
type Taken struct {
	Dataset  dataset.Path
	Snapshot dataset.Snapshot
}

// Take snapshots the datasets of a job under one name, all at one instant where
// the file system can. The time in the name is max(now, newest + 1 s), so that a
// clock that was set back never makes a name that is older than, or the same as,
// one that exists.
//
// A dataset that cannot be listed or snapshotted holds back no other: when the
// call for all fails, each is taken by itself under the same name, and what was
// taken comes back beside the errors, which are those of Lister.Snapshots and
// Snapshotter.Snapshot.
func Take(ctx context.Context, d Driver, job string, ds []dataset.Path, now time.Time) ([]Taken, error) {
	var sound []dataset.Path
	var errs []error
	var newest time.Time
	for _, path := range ds {
		existing, err := d.Snapshots(ctx, path)
		if err != nil {
			errs = append(errs, fmt.Errorf("list snapshots of %s: %w", path, err))
			continue
		}
		sound = append(sound, path)
		for _, s := range existing {
			if s.Created.After(newest) {
				newest = s.Created
			}
		}
	}
	if len(sound) == 0 {
		return nil, errors.Join(errs...)
	}
	at := policy.SnapshotTime(now, newest)
	name := policy.SnapshotName(job, at)
	made, err := d.Snapshot(ctx, name, at, sound)
	if err == nil {
		return pair(sound, made), errors.Join(errs...)
	}
	var taken []Taken
	for _, path := range sound {
		made, err := d.Snapshot(ctx, name, at, []dataset.Path{path})
		if err != nil {
			errs = append(errs, fmt.Errorf("snapshot %s: %w", path, err))
			continue
		}
		taken = append(taken, pair([]dataset.Path{path}, made)...)
	}
	return taken, errors.Join(errs...)
}

func pair(paths []dataset.Path, made []dataset.Snapshot) []Taken {
	taken := make([]Taken, len(paths))
	for i, path := range paths {
		taken[i] = Taken{Dataset: path, Snapshot: made[i]}
	}
	return taken
}
