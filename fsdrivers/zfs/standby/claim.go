package standby

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/internal/command"
	"antipode/fsdrivers/internal/takeover"
	"antipode/fsdrivers/zfs/prop"
)

// Claim makes the caller the only one that changes a replica.
func (i *Into) Claim(d dataset.Path) (release func(), err error) {
	i.Places.RLock() // who renames what is above has looked for claims
	defer i.Places.RUnlock()
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.busy[d] {
		return nil, fmt.Errorf("a receive into the replica of %s runs: %w", d, dataset.ErrBusy)
	}
	i.busy[d] = true
	return func() {
		i.mu.Lock()
		defer i.mu.Unlock()
		delete(i.busy, d)
	}, nil
}

// IsBusyBelow reports whether anything below d, but what the caller claimed itself,
// is being changed: it cannot be renamed then.
func (i *Into) IsBusyBelow(d dataset.Path, claimed ...dataset.Path) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	for b := range i.busy {
		if b != d && d.Contains(b) && !slices.Contains(claimed, b) {
			return true
		}
	}
	return false
}

// lockFile is the lock of receives into the replica of d.
func (i *Into) lockFile(d dataset.Path) string {
	return filepath.Join(i.locks, prop.Digest(i.Name+" "+string(d))+".lock")
}

// Lock keeps other processes away, and ends a receive that outlived its daemon.
func (i *Into) Lock(ctx context.Context, d dataset.Path) (*command.Lock, error) {
	return takeover.Lock(ctx, i.lockFile(d))
}

// Alone keeps receives, sweeps and other daemons away from a replica.
func (i *Into) Alone(ctx context.Context, d dataset.Path, do func() error) error {
	release, err := i.Claim(d)
	if err != nil {
		return err
	}
	defer release()
	defer i.Changed(d)()
	lock, err := i.Lock(ctx, d)
	if err != nil {
		return err
	}
	return errors.Join(do(), lock.Close())
}
