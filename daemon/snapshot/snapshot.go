// Package snapshot takes the snapshots that a job is due: one name for all of a
// job's datasets, atomic where the file system can, none of a dataset in which
// nothing was written. It knows nothing of replication.
package snapshot

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
// A dataset that cannot be listed or snapshotted holds back no other: those that
// cannot have the name are left out, and when the call for all fails, each is taken by itself under the same name, and what was
// taken comes back beside the errors, which are those of Lister.Snapshots,
// Comparer.IsUnchanged and Snapshotter.Snapshot, and of Quiet.
func (r Run) Take(ctx context.Context, ds []dataset.Path) (Outcome, error) {
	out := Outcome{Looked: r.Now()}
	all, newest, err := r.look(ctx, ds)
	errs := []error{err}
	var due []dataset.Path
	same, err := r.unchanged(ctx, all)
	errs = append(errs, err)
	for i, t := range all {
		switch same[i] {
		case isSame:
			out.Unchanged = append(out.Unchanged, t)
		case isChanged:
			due = append(due, t.Dataset)
		}
	}
	if len(due) == 0 {
		return out, errors.Join(errs...)
	}
	taken, err := r.quietly(ctx, due, newest)
	out.Taken = taken
	return out, errors.Join(append(errs, err)...)
}

// look finds the newest snapshot of each dataset, zero where it has none, and the
// newest time of all snapshots.
func (r Run) look(ctx context.Context, ds []dataset.Path) (all []Taken, newest time.Time, err error) {
	var errs []error
	for _, path := range ds {
		existing, err := r.Driver.Snapshots(ctx, path)
		if err != nil {
			errs = append(errs, fmt.Errorf("list snapshots of %s: %w", path, err))
			continue
		}
		last := Taken{Dataset: path}
		for _, s := range existing {
			last.Snapshot = s
			if s.Created.After(newest) {
				newest = s.Created
			}
		}
		all = append(all, last)
	}
	return all, newest, errors.Join(errs...)
}

// finding is what was found out about a dataset.
type finding int

const (
	isChanged finding = iota
	isSame
	isUnknown // it could not be looked at
)

// unchanged finds out which of the datasets hold what their snapshot holds.
func (r Run) unchanged(ctx context.Context, all []Taken) ([]finding, error) {
	found := make([]finding, len(all))
	var at []int
	for i, t := range all {
		if !t.Snapshot.ID.IsZero() && !r.Always {
			at = append(at, i)
		}
	}
	same, errs := r.compare(ctx, all, at)
	for n, i := range at {
		switch {
		case errs[n] != nil:
			found[i] = isUnknown
		case same[n]:
			found[i] = isSame
		}
	}
	return found, errors.Join(errs...)
}

// compare asks for those of all, at once where the driver can.
func (r Run) compare(ctx context.Context, all []Taken, at []int) (same []bool, errs []error) {
	same, errs = make([]bool, len(at)), make([]error, len(at))
	if many, can := r.Driver.(fsdrivers.ManyComparer); can && len(at) > 1 {
		ds, snaps := make([]dataset.Path, len(at)), make([]dataset.Snapshot, len(at))
		for n, i := range at {
			ds[n], snaps[n] = all[i].Dataset, all[i].Snapshot
		}
		same, errs = many.AreUnchanged(ctx, ds, snaps)
		for n, d := range ds {
			errs[n] = looked(d, errs[n])
		}
		return same, errs
	}
	for n, i := range at {
		same[n], errs[n] = IsUnchanged(ctx, r.Driver, all[i].Dataset, all[i].Snapshot, false)
	}
	return same, errs
}

// looked names the dataset that could not be looked at.
func looked(d dataset.Path, err error) error {
	if err != nil {
		return fmt.Errorf("look whether %s was written to: %w", d, err)
	}
	return nil
}

// IsUnchanged asks the driver, if it can tell, whether a dataset holds what its
// newest snapshot holds. With always nobody is asked: it counts as changed.
func IsUnchanged(ctx context.Context, d Driver, path dataset.Path, last dataset.Snapshot, always bool) (bool, error) {
	c, can := d.(fsdrivers.Comparer)
	if always || !can {
		return false, nil
	}
	same, err := c.IsUnchanged(ctx, path, last)
	return same && err == nil, looked(path, err)
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
	taken, err = r.takeAs(ctx, name, at, ds)
	return name, taken, err
}

func (r Run) takeAs(ctx context.Context, name string, at time.Time, ds []dataset.Path) (taken []Taken, err error) {
	made, err := r.Driver.Snapshot(ctx, name, at, ds)
	if err == nil {
		return pair(ds, made), nil
	}
	var misfit *dataset.MisfitError
	if errors.As(err, &misfit) { // the others still get theirs at one instant
		fit := slices.DeleteFunc(slices.Clone(ds), func(d dataset.Path) bool { return slices.Contains(misfit.Datasets, d) })
		if len(fit) == 0 || len(fit) == len(ds) {
			return nil, err
		}
		taken, fitErr := r.takeAs(ctx, name, at, fit)
		return taken, errors.Join(err, fitErr)
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
	return taken, errors.Join(errs...)
}

func pair(paths []dataset.Path, made []dataset.Snapshot) []Taken {
	taken := make([]Taken, len(paths))
	for i, path := range paths {
		taken[i] = Taken{Dataset: path, Snapshot: made[i]}
	}
	return taken
}
