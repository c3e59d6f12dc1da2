// Package snapshot takes the snapshots that a job is due: one name for all of a
// job's datasets, atomic where the file system can, none of a dataset in which
// nothing was written. It knows nothing of replication.
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

// Driver is what taking snapshots needs of a file system. One that is an
// fsdrivers.Comparer too tells in which datasets nothing was written.
type Driver interface {
	fsdrivers.Lister
	fsdrivers.Snapshotter
}

// Quiet keeps what writes to datasets from doing so for as long as a snapshot
// takes. After is called whenever Before was, whatever came of it.
type Quiet interface {
	// Before returns whether to go on without, if it could not be made quiet.
	Before(ctx context.Context, ds []dataset.Path) (goOn bool, err error)
	// After makes it loud again. name is the snapshot's, "" if none was tried, and
	// result what came of it.
	After(ctx context.Context, ds []dataset.Path, name string, result error) error
}

// Run is one run of a job.
type Run struct {
	Driver Driver
	Job    string
	Now    func() time.Time
	Always bool  // snapshot also what nothing was written to
	Quiet  Quiet // nil for nobody
}

// Taken is one snapshot with the dataset that it is of.
type Taken struct {
	Dataset  dataset.Path
	Snapshot dataset.Snapshot
}

// Outcome is what a run found and made.
type Outcome struct {
	Taken []Taken
	// Unchanged are datasets that hold what their newest snapshot holds, which is
	// beside them. That was so at Looked.
	Unchanged []Taken
	Looked    time.Time
}

// Take snapshots the datasets that were written to under one name, all at one
// instant where the file system can. The time in the name is max(now, newest +
// 1 s), so that a clock that was set back never makes a name that is older than, or
// the same as, one that exists.
//
// A dataset that cannot be listed or snapshotted holds back no other: when the
// call for all fails, each is taken by itself under the same name, and what was
// taken comes back beside the errors, which are those of Lister.Snapshots,
// Comparer.IsUnchanged and Snapshotter.Snapshot, and of Quiet.
func (r Run) Take(ctx context.Context, ds []dataset.Path) (Outcome, error) {
	out := Outcome{Looked: r.Now()}
	var due []dataset.Path
	var errs []error
	var newest time.Time
	for _, path := range ds {
		last, unchanged, err := r.look(ctx, path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if last.Created.After(newest) {
			newest = last.Created
		}
		if unchanged {
			out.Unchanged = append(out.Unchanged, Taken{path, last})
		} else {
			due = append(due, path)
		}
	}
	if len(due) == 0 {
		return out, errors.Join(errs...)
	}
	taken, err := r.quietly(ctx, due, newest)
	out.Taken = taken
	return out, errors.Join(append(errs, err)...)
}

// look finds the newest snapshot of a dataset, with the newest time of all as its
// Created, and whether the dataset still holds what it holds.
func (r Run) look(ctx context.Context, path dataset.Path) (last dataset.Snapshot, unchanged bool, err error) {
	existing, err := r.Driver.Snapshots(ctx, path)
	if err != nil {
		return last, false, fmt.Errorf("list snapshots of %s: %w", path, err)
	}
	if len(existing) == 0 {
		return last, false, nil
	}
	last = existing[len(existing)-1]
	if unchanged, err = IsUnchanged(ctx, r.Driver, path, last, r.Always); unchanged || err != nil {
		return last, unchanged, err
	}
	for _, s := range existing {
		if s.Created.After(last.Created) {
			last.Created = s.Created
		}
	}
	return last, false, nil
}

// IsUnchanged asks the driver, if it can tell, whether a dataset holds what its
// newest snapshot holds. With always nobody is asked: it counts as changed.
func IsUnchanged(ctx context.Context, d Driver, path dataset.Path, last dataset.Snapshot, always bool) (bool, error) {
	c, can := d.(fsdrivers.Comparer)
	if always || !can {
		return false, nil
	}
	same, err := c.IsUnchanged(ctx, path, last)
	if err != nil {
		return false, fmt.Errorf("look whether %s was written to: %w", path, err)
	}
	return same, nil
}

// quietly takes the snapshots between the two calls of r.Quiet.
func (r Run) quietly(ctx context.Context, ds []dataset.Path, newest time.Time) ([]Taken, error) {
	if r.Quiet == nil {
		_, taken, err := r.take(ctx, ds, newest)
		return taken, err
	}
	goOn, quietErr := r.Quiet.Before(ctx, ds)
	var name string
	var taken []Taken
	var err error
	if quietErr == nil || goOn {
		name, taken, err = r.take(ctx, ds, newest)
	} else {
		quietErr = fmt.Errorf("no snapshot was made: %w", quietErr)
	}
	loudErr := r.Quiet.After(ctx, ds, name, errors.Join(quietErr, err))
	return taken, errors.Join(quietErr, err, loudErr)
}

func (r Run) take(ctx context.Context, ds []dataset.Path, newest time.Time) (name string, taken []Taken, err error) {
	at := policy.SnapshotTime(r.Now(), newest)
	name = policy.SnapshotName(r.Job, at)
	made, err := r.Driver.Snapshot(ctx, name, at, ds)
	if err == nil {
		return name, pair(ds, made), nil
	}
	var errs []error
	for _, path := range ds {
		made, err := r.Driver.Snapshot(ctx, name, at, []dataset.Path{path})
		if err != nil {
			errs = append(errs, fmt.Errorf("snapshot %s: %w", path, err))
			continue
		}
		taken = append(taken, pair([]dataset.Path{path}, made)...)
	}
	return name, taken, errors.Join(errs...)
}

func pair(paths []dataset.Path, made []dataset.Snapshot) []Taken {
	taken := make([]Taken, len(paths))
	for i, path := range paths {
		taken[i] = Taken{Dataset: path, Snapshot: made[i]}
	}
	return taken
}
