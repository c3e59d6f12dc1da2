// Package snapshot takes the snapshots that a job is due: one name for all of a
// job's datasets, atomic where the file system can. It knows nothing of
// replication.
package snapshot

import (
	"context"
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

// Take snapshots the datasets of a job under one name and returns the result in
// order of ds. The time in the name is max(now, newest + 1 s), so that a clock
// that was set back never makes a name that is older than, or the same as, one
// that exists. Errors: those of Lister.Snapshots and Snapshotter.Snapshot.
func Take(ctx context.Context, d Driver, job string, ds []dataset.Path, now time.Time) ([]dataset.Snapshot, error) {
	if len(ds) == 0 {
		return nil, nil
	}
	var newest time.Time
	for _, path := range ds {
		existing, err := d.Snapshots(ctx, path)
		if err != nil {
			return nil, fmt.Errorf("list snapshots of %s: %w", path, err)
		}
		for _, s := range existing {
			if s.Created.After(newest) {
				newest = s.Created
			}
		}
	}
	at := policy.SnapshotTime(now, newest)
	taken, err := d.Snapshot(ctx, policy.SnapshotName(job, at), at, ds)
	if err != nil {
		return nil, fmt.Errorf("snapshot job %s: %w", job, err)
	}
	return taken, nil
}
