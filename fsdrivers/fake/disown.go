package fake

import (
	"context"
	"fmt"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

var _ fsdrivers.Disowner = (*Target)(nil)

// Disown implements fsdrivers.Disowner.
//
// Cases: "a disowned replica keeps its points", "what was disowned makes room for
// another replica", "what is no replica is not disowned".
func (t *Target) Disown(ctx context.Context, d dataset.Dataset) (dataset.ID, error) {
	leave, err := t.disk.enter(ctx)
	if err != nil {
		return "", fmt.Errorf("disown the replica of %s: %w", d.Path, err)
	}
	defer leave()
	key, err := t.key(d.Path)
	if err != nil {
		return "", fmt.Errorf("disown the replica of %s: %w", d.Path, err)
	}
	r := t.disk.replicas[key]
	switch {
	case r == nil || r.ID != d.ID || len(r.snaps) == 0:
		return "", fmt.Errorf("disown the replica of %s (%s): %w", d.Path, d.ID, dataset.ErrNotFound)
	case r.live != nil:
		return "", fmt.Errorf("disown the replica of %s: it is live itself: %w", d.Path, dataset.ErrRefused)
	case r.running():
		return "", fmt.Errorf("disown the replica of %s: %w", d.Path, dataset.ErrBusy)
	}
	r.ID, r.partial = t.disk.newID(), nil
	r.touch()
	return r.ID, nil
}
