package pool

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/cli"
	"antipode/fsdrivers/zfs/prop"
)

// How often, and how long apart, dropping partial state is tried while the receive
// that left it is still ending in the kernel.
const (
	busyTries = 20
	busyPause = 500 * time.Millisecond
)

// Abort drops partial state. What holds a snapshot only for it, its hidden clone,
// goes with it. That there is none is success.
func (h *Host) Abort(ctx context.Context, name string) error {
	for try := 1; ; try++ {
		_, err := h.Run(ctx, name, "receive", "-A", name)
		if !errors.Is(err, dataset.ErrBusy) || try == busyTries {
			if err = cli.Unless(err, cli.ErrNothing, dataset.ErrNotFound); err != nil {
				return fmt.Errorf("drop the partial state of %s: %w", name, err)
			}
			return nil
		}
		if err := pause(ctx, busyPause); err != nil { // a receive that is just ending
			return err
		}
	}
}

// Rewind takes the head back to the newest snapshot, if that is the one that was
// written down. It undoes only what the destroyed point had brought.
func (h *Host) Rewind(ctx context.Context, ds, to string) error {
	all, err := h.List(ctx, ds)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(e Entry) bool { return !e.IsSnapshot() })
	if len(all) > 0 && string(all[len(all)-1].ID()) == to {
		if _, err := h.Run(ctx, ds, "rollback", all[len(all)-1].Name); err != nil {
			return fmt.Errorf("take %s back to its newest point: %w", ds, err)
		}
	}
	return h.Unset(ctx, ds, prop.Rewind)
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
