package target

import (
	"context"
	"errors"
	"fmt"

	"antipode/fsdrivers/btrfs/subvol"
	"antipode/fsdrivers/failpoint"
)

// Sweep implements fsdrivers.Sweeper. It goes on after an error, and answers all.
// First it makes durable what a daemon that was killed did last: a final name that
// is seen is about to be answered as published (G2).
func (t *Target) Sweep(ctx context.Context) error {
	in, err := t.shelf.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	all := []error{subvol.SyncName(in.File)}
	failpoint.Hit("sweep-synced")
	disowned := t.finishDisowning(in)
	moving, _ := t.shelf.Replicas(in) // what is wrong is told below
	all = append(all, disowned, t.finishMoves(in, moving), t.SweepWork(ctx, in))
	replicas, err := t.shelf.Replicas(in)
	all = append(all, err)
	for _, d := range replicas {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := t.SweepReplica(ctx, in, d.Path); err != nil {
			all = append(all, fmt.Errorf("sweep %s: %w", d.Path, err))
		}
	}
	return errors.Join(all...)
}
