package source

import (
	"context"
	"errors"
	"fmt"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/cli"
	"antipode/fsdrivers/zfs/naming"
)

var _ fsdrivers.Comparer = (*Source)(nil)

// IsUnchanged implements fsdrivers.Comparer by the property written@SNAPSHOT. ZFS
// counts what is in a finished transaction group, so that the open one is pushed
// out before the second look: a snapshot would have it. Who may not do that, or has
// no zpool, cannot tell.
func (s *Source) IsUnchanged(ctx context.Context, d dataset.Path, snap dataset.Snapshot) (bool, error) {
	name, err := s.name(d)
	if err != nil {
		return false, fmt.Errorf("compare: %w", err)
	}
	if naming.Listed(snap) != nil {
		return false, nil
	}
	// One process where something was written, which is the answer that matters.
	same, err := s.zfs.WrittenNothing(ctx, name, snap.Name)
	if err != nil || !same {
		return false, err
	}
	switch _, err := s.zfs.Find(ctx, name, snap); {
	case errors.Is(err, dataset.ErrNotFound), errors.Is(err, dataset.ErrChanged), errors.Is(err, dataset.ErrRefused):
		return false, nil // a bookmark among them: it has no data to compare with
	case err != nil:
		return false, fmt.Errorf("compare %s with %s: %w", name, snap.Name, err)
	}
	if err := s.zfs.Sync(ctx, naming.PoolOf(name)); err != nil {
		s.log.Debug().Err(err).Str("pool", naming.PoolOf(name)).Msg("cannot tell whether something was written")
		return false, cli.Unless(err, dataset.ErrRefused, dataset.ErrToolMissing)
	}
	return s.zfs.WrittenNothing(ctx, name, snap.Name)
}
