// Package takeover locks what a driver works on alone, in the errors of its contract. It
// must not know what that is.
package takeover

import (
	"context"
	"errors"
	"fmt"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/internal/command"
)

// Lock takes the lock at path, from a child that outlived its daemon too, which it ends.
// Errors: dataset.ErrBusy (its owner lives), dataset.ErrStuck (the child cannot be
// ended), the cause of ctx.
func Lock(ctx context.Context, path string) (*command.Lock, error) {
	err := command.EndOrphan(ctx, path)
	if err == nil {
		var lock *command.Lock
		if lock, err = command.TryLock(path); err == nil {
			return lock, nil
		}
	}
	switch {
	case errors.Is(err, command.ErrLocked):
		return nil, fmt.Errorf("%w: %w", dataset.ErrBusy, err)
	case errors.Is(err, command.ErrStuck):
		return nil, fmt.Errorf("%w: %w", dataset.ErrStuck, err)
	}
	return nil, err
}
