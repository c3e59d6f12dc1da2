package fake

import (
	"context"
	"fmt"
	"maps"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

var _ fsdrivers.Comparer = (*Source)(nil)

// IsUnchanged implements fsdrivers.Comparer. A file that is written anew with what
// it held was written.
//
// Cases: "a dataset is unchanged after its snapshot", "what was written or removed
// is a change", "a snapshot that is gone tells nothing".
func (s *Source) IsUnchanged(ctx context.Context, d dataset.Path, snap dataset.Snapshot) (bool, error) {
	leave, err := s.disk.enter(ctx)
	if err != nil {
		return false, fmt.Errorf("compare %s with %s: %w", d, snap.Name, err)
	}
	defer leave()
	v, err := s.disk.volume(d)
	if err != nil {
		return false, fmt.Errorf("compare %s with %s: %w", d, snap.Name, err)
	}
	there := v.byID(snap.ID)
	return there != nil && maps.Equal(v.files, there.files), nil
}
