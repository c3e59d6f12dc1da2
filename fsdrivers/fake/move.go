package fake

import (
	"context"
	"fmt"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

var _ fsdrivers.Mover = (*Target)(nil)

// Move implements fsdrivers.Mover.
//
// Cases: "a moved replica keeps its points, holds and mark", "what lies below a moved
// replica stays", "a replica is not moved over another", "moving again is success".
func (t *Target) Move(ctx context.Context, d dataset.Dataset, to dataset.Path) error {
	leave, err := t.disk.enter(ctx)
	if err != nil {
		return fmt.Errorf("move the replica of %s: %w", d.Path, err)
	}
	defer leave()
	if err := t.move(d, to); err != nil {
		return fmt.Errorf("move the replica of %s to %s: %w", d.Path, to, err)
	}
	return nil
}

func (t *Target) move(d dataset.Dataset, to dataset.Path) error {
	from, err := t.key(d.Path)
	if err != nil {
		return err
	}
	dest, err := t.key(to)
	if err != nil {
		return err
	}
	r, other := t.disk.replicas[from], t.disk.replicas[dest]
	switch {
	case other != nil && other.ID == d.ID:
		return nil
	case r == nil || r.ID != d.ID:
		return dataset.ErrNotFound
	case r.live != nil:
		return fmt.Errorf("it is live itself: %w", dataset.ErrRefused)
	case r.running() || other != nil && other.running():
		return dataset.ErrBusy
	case other != nil && len(other.snaps) > 0:
		return fmt.Errorf("it holds points of %s: %w", other.ID, dataset.ErrExists)
	}
	delete(t.disk.replicas, from)
	r.Path, r.partial = to, nil // an unfinished step is for the old path
	r.touch()
	t.disk.replicas[dest] = r
	return nil
}
