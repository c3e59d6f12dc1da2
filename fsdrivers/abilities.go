package fsdrivers

import (
	"context"

	"antipode/fsdrivers/dataset"
)

// What a driver may be able to do beyond Source and Target. A consumer asks with a
// type assertion and goes without where it is missing.

// Comparer tells whether a live dataset was written to, on a source.
type Comparer interface {
	// IsUnchanged reports whether a snapshot of d made now would hold exactly what
	// s holds. What was written and is not yet on the disk counts as written. It is
	// false where that cannot be told, as when s is gone. What is not data, such as
	// the time of a last access, may count as written too. Errors: ErrNotFound,
	// ErrNotDataset, ErrStuck.
	IsUnchanged(ctx context.Context, d dataset.Path, s dataset.Snapshot) (bool, error)
}

// Disowner makes a replica that of a dataset that nobody has, on a target.
type Disowner interface {
	// Disown gives the replica of d.ID under d.Path an identity of its own, which it
	// returns: the dataset that it was received from has no replica then, and may get
	// another. Path, points, their times, holds and pins stay; an unfinished receive is
	// given up. A crash leaves the one identity or, after the next Sweep or the same
	// call, the other. Errors: ErrNotFound (no points of d are there), ErrBusy (a
	// receive runs), ErrRefused (it is live).
	Disown(ctx context.Context, d dataset.Dataset) (dataset.ID, error)
}

// InPlacer makes a replica itself live, on a target, where an Activator makes a copy.
// Nothing is received into it, moved or disowned until it rests. What is made on it
// meanwhile, such as snapshots by a job that names it, is no point of the replica's.
type InPlacer interface {
	// MayActivateInPlace reports what stands against ActivateInPlace, and changes
	// nothing. Errors: those of ActivateInPlace.
	MayActivateInPlace(ctx context.Context, d dataset.Path, s dataset.Snapshot) error
	// ActivateInPlace makes the replica of d, whose newest point is s, writable at the
	// replica's live path. Doing it again is success, whatever was written since.
	// Errors: ErrNotFound, ErrChanged, ErrDiverged (s is not the newest, or somebody
	// wrote), ErrExists (a copy is live there), ErrBusy.
	ActivateInPlace(ctx context.Context, d dataset.Path, s dataset.Snapshot) (Activated, error)
	// Rest makes it a standby again, inert and ready to receive. One that is no live
	// one is success. Errors: ErrDiverged (something was written after its newest
	// snapshot: it stays live), ErrBusy.
	Rest(ctx context.Context, d dataset.Path) error
}

// Foreigner knows the snapshots that others made, on a source. One that is told
// which are wanted lists them in Snapshots too. They are sent and held like ours;
// Destroy refuses them.
type Foreigner interface {
	// Foreign returns all of them, complete and read-only, with Foreign set and
	// sorted by Order, with our holds. Errors: those of Lister.Snapshots.
	Foreign(ctx context.Context, d dataset.Path) ([]dataset.Snapshot, error)
}

// ManyComparer is what a Comparer may be that looks at many for the price of a few.
type ManyComparer interface {
	// AreUnchanged does what IsUnchanged does for each of ds and its snapshot, in
	// order, and answers for each.
	AreUnchanged(ctx context.Context, ds []dataset.Path, snaps []dataset.Snapshot) (same []bool, errs []error)
}

// Mover changes the path of a replica, on a target.
type Mover interface {
	// Move gives the replica of d.ID, which lies under d.Path, another path, with its
	// points, their times and holds, and its mark. Replicas below either path stay
	// where they are; an unfinished receive is given up. A crash leaves it where it
	// was or where it goes after the next Sweep. Doing it again is success. Errors:
	// ErrNotFound, ErrExists (points of another dataset are there), ErrBusy (a
	// receive runs), ErrRefused (no path for a replica).
	Move(ctx context.Context, d dataset.Dataset, to dataset.Path) error
}

// Bookmarker keeps bases without their data, on a source.
type Bookmarker interface {
	// Bookmark keeps the identity of s as a base for increments, for next to no space,
	// and takes the tags off s that it stands in for, once it is durable. As long as s
	// is there it is no part of any list; once s is gone it is listed as a snapshot
	// with Bookmark set, and goes when that is destroyed. It needs no hold: to hold it
	// is success. Doing it again is success. Errors: ErrNotFound, ErrChanged,
	// ErrRefused (the file system cannot).
	Bookmark(ctx context.Context, d dataset.Path, s dataset.Snapshot, instead ...dataset.Tag) error
}

// Freer tells what destroying snapshots gives back, on either side.
type Freer interface {
	// Frees answers a hint in bytes: what goes with the snapshots of the list and
	// with nothing but all of them together. Those that are gone count nothing.
	// Errors: of a dataset that cannot be looked at.
	Frees(ctx context.Context, d dataset.Path, list []dataset.Snapshot) (bytes int64, err error)
}
