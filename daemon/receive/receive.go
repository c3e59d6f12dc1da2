// Package receive is the target's side of one step: whether it may come in at
// all, which time retention will count it with, and that the disk never fills.
// It knows nothing of sockets, schedules or what is destroyed later.
package receive

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"antipode/daemon/activate"
	"antipode/daemon/policy"
	"antipode/daemon/prune"
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// NamePrefix is what the name of every snapshot of ours starts with. A source
// cannot place a point under any other.
const NamePrefix = "antipode_"

// Driver is what receiving needs of the target's file system.
type Driver interface {
	fsdrivers.Receiver
	fsdrivers.Space
	Snapshots(ctx context.Context, d dataset.Path) ([]dataset.Snapshot, error)
	Mark(ctx context.Context, d dataset.Path) (dataset.Mark, error)
}

// Room takes in what one [[accept]] lets one peer send.
type Room struct {
	Node string // this node, as marks name it
	// Accept is the policy in force; it may change during a receive, which may
	// take weeks.
	Accept func() policy.Accept
	Driver Driver
	Now    func() time.Time
}

// Receive takes in one step, from the checkpoint on where that is not zero, and
// returns the published snapshot. Errors: those
// of fsdrivers.Receiver; dataset.ErrRefused for a name that is not ours;
// activate's errors for a dataset that was promoted here (G3).
func (r *Room) Receive(ctx context.Context, step dataset.Step, from dataset.Checkpoint, stream io.Reader) (dataset.Snapshot, error) {
	path := step.Dataset.Path
	if !strings.HasPrefix(step.To.Name, NamePrefix) {
		return dataset.Snapshot{}, fmt.Errorf("receive %s@%s: %w: the name of a snapshot must start with %s",
			path, step.To.Name, dataset.ErrRefused, NamePrefix)
	}
	mark, err := r.Driver.Mark(ctx, path)
	if err != nil {
		return dataset.Snapshot{}, fmt.Errorf("read mark of %s: %w", path, err)
	}
	if err := activate.MayReceive(mark, r.Node); err != nil {
		return dataset.Snapshot{}, fmt.Errorf("receive %s@%s: %w", path, step.To.Name, err)
	}
	points, err := r.Driver.Snapshots(ctx, path)
	if err != nil {
		return dataset.Snapshot{}, fmt.Errorf("list points of %s: %w", path, err)
	}
	accept := r.Accept()
	return r.Driver.Receive(ctx, dataset.Incoming{
		Step:         step,
		Checkpoint:   from,
		Retain:       prune.ClampRetain(step.To.Created, newestRetain(points), r.Now()),
		MaxBytes:     accept.MaxBytes,
		AllowDevices: accept.AllowDevices,
	}, &guard{ctx: ctx, room: r, path: path, stream: stream})
}

// Committed answers from the disk whether the step's snapshot is published.
func (r *Room) Committed(ctx context.Context, step dataset.Step) (dataset.Snapshot, bool, error) {
	points, err := r.Driver.Snapshots(ctx, step.Dataset.Path)
	if err != nil {
		return dataset.Snapshot{}, false, fmt.Errorf("list points of %s: %w", step.Dataset.Path, err)
	}
	for _, p := range points {
		if p.ID == step.To.ID {
			return p, true, nil
		}
	}
	return dataset.Snapshot{}, false, nil
}

func newestRetain(points []dataset.Snapshot) time.Time {
	var newest time.Time
	for _, p := range points {
		if p.Retain.After(newest) {
			newest = p.Retain
		}
	}
	return newest
}
