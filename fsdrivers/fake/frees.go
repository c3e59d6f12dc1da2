package fake

import (
	"context"
	"errors"
	"fmt"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

var (
	_ fsdrivers.Freer = (*Source)(nil)
	_ fsdrivers.Freer = (*Target)(nil)
)

// Frees implements fsdrivers.Freer.
//
// Case: "what destroying snapshots frees is told".
func (s *side) Frees(ctx context.Context, d dataset.Path, list []dataset.Snapshot) (int64, error) {
	found, leave, err := s.open(ctx, d)
	if errors.Is(err, dataset.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("ask what goes with snapshots of %s: %w", d, err)
	}
	defer leave()
	if found == nil {
		return 0, nil
	}
	but := map[*snapshot]bool{}
	for _, snap := range list {
		if there := found.snaps[snap.Name]; there != nil && there.ID == snap.ID {
			but[there] = true
		}
	}
	return s.disk.count() - s.disk.countBut(but), nil
}
