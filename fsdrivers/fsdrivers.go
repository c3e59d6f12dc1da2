// Package fsdrivers is the contract between the daemon and a file system, in
// pieces of one to three methods. A consumer asks for the pieces that it needs.
//
// A driver value serves one side. As a *source* it works on the host's live
// datasets, and a dataset.Path is where the dataset is. As a *target* it is
// bound to one `into`, and a dataset.Path is what the source calls the dataset;
// no path a peer can send reaches anything outside of `into`.
//
// Every method may be called again after an error and after a crash: making
// what exists, holding what is held and removing what is gone is success. Every
// method returns soon after its context ends and leaves the old state or the
// new one. Methods may be called concurrently; what cannot run side by side on
// one dataset answers dataset.ErrBusy.
package fsdrivers

import (
	"context"
	"io"
	"time"

	"antipode/fsdrivers/dataset"
)

// Lister finds datasets and their snapshots.
type Lister interface {
	// Find returns the dataset at root, and with deep those below it too,
	// sorted by path. A source never returns read-only or received datasets,
	// nor anything below dataset.Dir. A target returns the replicas it holds
	// (root is ignored). Errors: ErrNotFound, ErrNotDataset (root itself,
	// unless deep), ErrToolMissing, ErrStuck.
	Find(ctx context.Context, root dataset.Path, deep bool) ([]dataset.Dataset, error)
	// Snapshots returns what is complete, sorted by Order: on a source the
	// snapshots that Antipode made of d, and those of others that it was told to
	// list (see Foreigner), on a target the published ones. A
	// replica that does not exist yet has none. Errors: ErrNotFound (source
	// only), ErrNotDataset, ErrStuck.
	Snapshots(ctx context.Context, d dataset.Path) ([]dataset.Snapshot, error)
}

// Snapshotter makes snapshots, on a source.
type Snapshotter interface {
	// Snapshot makes a read-only snapshot of each dataset under the same name,
	// atomically where the file system can, and returns them in order of ds.
	// One that exists under that name is returned as it is. The result is
	// durable. Errors: ErrNotFound, ErrNotDataset, ErrNoSpace; a
	// *dataset.MisfitError where some cannot have a snapshot of that name: then
	// none was made.
	Snapshot(ctx context.Context, name string, created time.Time, ds []dataset.Path) ([]dataset.Snapshot, error)
}

// Sender opens send streams, on a source.
type Sender interface {
	// Send starts the step. Read answers io.EOF only when the stream is whole
	// and the child has exited with 0, and an error otherwise; Close ends the
	// child and waits for it, also beside a Read or another Close. The checkpoint is the target's, zero for none: the
	// stream starts at the byte after Checkpoint.Done. Errors, from here or from
	// Read: ErrNotFound (To), ErrBaseMissing, ErrStaleCheckpoint (a
	// dataset.StaleCheckpointError may name an earlier one that fits), ErrCut.
	Send(ctx context.Context, s dataset.Step, from dataset.Checkpoint) (io.ReadCloser, error)
}

// Rereader is a Sender whose streams can only begin at their first byte: to go on
// from a checkpoint it reads again, and compares, what the target has. That costs
// neither link nor rate and may take hours.
type Rereader interface {
	// SendAgain is Send, which tells how many of how many bytes were read again
	// before it returns. It calls tell often and from one goroutine.
	SendAgain(ctx context.Context, s dataset.Step, from dataset.Checkpoint, tell func(done, of int64)) (io.ReadCloser, error)
}

// Receiver takes streams in, on a target.
type Receiver interface {
	// Pending reports the checkpoint of an unfinished receive into the
	// replica; zero when there is none that can be gone on from.
	Pending(ctx context.Context, d dataset.Path) (dataset.Checkpoint, error)
	// Receive consumes r to io.EOF and returns the published snapshot when it
	// is durable and its identity was read back from the disk (G2). It may wait
	// in r.Read: who ends ctx must make r fail too. A step whose To is published
	// already is answered without reading. Only one receive runs on a replica.
	// Without in.Checkpoint what an earlier receive left is given up.
	// Errors: ErrRefused (gate), ErrBaseMissing, ErrDiverged, ErrExists,
	// ErrStaleCheckpoint (in.Checkpoint is not what is here), ErrNoSpace, ErrCut,
	// ErrBusy, ErrStuck.
	Receive(ctx context.Context, in dataset.Incoming, r io.Reader) (dataset.Snapshot, error)
	// Abort removes what an unfinished receive left, checkpoint and all.
	Abort(ctx context.Context, d dataset.Path) error
}

// Sweeper cleans up after a crash, on either side. It is called before any other
// method and again from time to time.
type Sweeper interface {
	// Sweep ends children that outlived their daemon and removes work in
	// progress that nothing can go on from. It touches only names and
	// directories of our own making, and nothing that a live step owns.
	Sweep(ctx context.Context) error
}

// Destroyer removes snapshots.
type Destroyer interface {
	// Destroy removes the snapshot if the name still has that identity. One
	// that is gone is success. It is durable on return and does not wait for
	// the file system to give the space back. A pin keeps the snapshot unless s
	// carries the same one: then the caller has seen that it ended, and it goes
	// too. A bookmark of the snapshot stays; with Bookmark set that goes, and nothing
	// else. Errors: ErrChanged, ErrHeld (also for any hold of ours), ErrStuck.
	Destroy(ctx context.Context, d dataset.Path, s dataset.Snapshot) error
}

// ManyDestroyer is what a Destroyer may be that removes many for the price of a
// few.
type ManyDestroyer interface {
	// DestroyAll does what Destroy does to each snapshot of the list, in order,
	// and answers for each; nil where it is gone, durably. After an error other
	// than ErrHeld and ErrChanged, the rest are left and answered with it.
	DestroyAll(ctx context.Context, d dataset.Path, list []dataset.Snapshot) []error
}

// Pinner keeps the wishes of users that snapshots stay. They are durable on
// return and go with their snapshot.
type Pinner interface {
	// Pin sets the pin of a snapshot, in place of the one that is there. Errors:
	// ErrNotFound, ErrChanged.
	Pin(ctx context.Context, d dataset.Path, s dataset.Snapshot, p dataset.Pin) error
	// Unpin takes it off; where none is, that is success. Errors: ErrNotFound,
	// ErrChanged.
	Unpin(ctx context.Context, d dataset.Path, s dataset.Snapshot) error
}

// HoldLister tells what keeps snapshots from being destroyed: our holds and, where
// the file system has them, those of others.
type HoldLister interface {
	// Holds lists them, ordered by snapshot and tag; pins are none of them. A
	// dataset that does not exist has none.
	Holds(ctx context.Context, d dataset.Path) ([]Hold, error)
}

// Hold is one reason of somebody's to keep a snapshot.
type Hold struct {
	Snapshot string    `json:"snapshot"`
	Tag      string    `json:"tag"` // as our Tag, or as others wrote it
	Ours     bool      `json:"ours"`
	Since    time.Time `json:"since,omitzero"` // by this host's clock
}

// Holder keeps snapshots from being destroyed. Holds are durable on return.
type Holder interface {
	// Hold tags a snapshot. Errors: ErrNotFound, ErrChanged.
	Hold(ctx context.Context, d dataset.Path, s dataset.Snapshot, tag dataset.Tag) error
	// Release takes the tag off every snapshot of d except those whose
	// identity is in keep.
	Release(ctx context.Context, d dataset.Path, tag dataset.Tag, keep ...dataset.ID) error
}

// Marker stores the fence of a dataset.
type Marker interface {
	// Mark reads it; zero where none was ever written.
	Mark(ctx context.Context, d dataset.Path) (dataset.Mark, error)
	// SwapMark writes next if the mark on the disk is still old, durably.
	// Errors: ErrChanged, ErrNotFound.
	SwapMark(ctx context.Context, d dataset.Path, old, next dataset.Mark) error
}

// Estimator guesses how many bytes a step will send.
type Estimator interface {
	// Estimate answers a hint, never used for a decision.
	Estimate(ctx context.Context, s dataset.Step) (bytes int64, err error)
}

// Space tells how full the file system is that datasets are received into or
// snapshotted on.
type Space interface {
	// Space reports bytes for the file system that holds d.
	Space(ctx context.Context, d dataset.Path) (Usage, error)
}

// Usage is the room on a file system, in bytes.
type Usage struct {
	Where string `json:"where"` // what to tell the operator: a mount point or a pool
	Free  int64  `json:"free"`
	Size  int64  `json:"size"`
}

// Prober looks at tools, versions and places before anything depends on them.
type Prober interface {
	// Probe returns what is wrong or noteworthy; an empty list is good news.
	Probe(ctx context.Context) []Finding
}

// Finding is one thing an operator should know, with its cure.
type Finding struct {
	Fatal  bool   `json:"fatal"`
	Object string `json:"object"`
	What   string `json:"what"`
	Cure   string `json:"cure"`
}

// Scanner looks into a dataset for what a target may refuse, on a source.
type Scanner interface {
	// FindDevice returns where the live dataset holds a device node; "" if it holds
	// none. It may take long: who ends ctx gets its cause.
	FindDevice(ctx context.Context, d dataset.Path) (where string, err error)
}

// Coster tells what a target keeps beside the points, for an operator.
type Coster interface {
	Costs(ctx context.Context) (string, error)
}

// Activator makes a standby live, on a target.
type Activator interface {
	// Activate makes a writable copy of the snapshot at the replica's live
	// path, setting aside under aside (one path component) what was there.
	// The received snapshot keeps its identity. Doing it again for the same
	// snapshot and the same aside is success. Errors: ErrNotFound, ErrExists.
	Activate(ctx context.Context, d dataset.Path, s dataset.Snapshot, aside string) (Activated, error)
}

// Fencer makes a former primary inert, on a source.
type Fencer interface {
	// Fence makes the live dataset read-only. Errors: ErrNotFound.
	Fence(ctx context.Context, d dataset.Path) error
}

// Activated tells where a dataset went live.
type Activated struct {
	Live     string `json:"live"`                // where the data are, writable
	SetAside string `json:"set_aside,omitempty"` // where what was there is now; "" if nothing was
}

// Source is all that the daemon asks of a driver for the datasets it sends.
type Source interface {
	Lister
	Snapshotter
	Sender
	Sweeper
	Destroyer
	Holder
	HoldLister
	Pinner
	Marker
	Estimator
	Space
	Prober
	Fencer
}

// Target is all that the daemon asks of a driver bound to one `into`.
type Target interface {
	Lister
	Receiver
	Sweeper
	Destroyer
	Holder
	HoldLister
	Pinner
	Marker
	Space
	Prober
	Activator
}
