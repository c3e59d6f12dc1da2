package btrfs

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

var _ fsdrivers.Comparer = (*Source)(nil)

// IsUnchanged implements fsdrivers.Comparer. Making a snapshot writes the root of
// the live subvolume once more, in the snapshot's own transaction; every later
// write gives it a later generation. Our own files are in a subvolume of their own
// and do not count. Written pages that no transaction has seen yet are flushed
// before the second look: a snapshot would have them.
func (s *Source) IsUnchanged(ctx context.Context, d dataset.Path, snap dataset.Snapshot) (bool, error) {
	same, err := s.sameGeneration(d, snap)
	if err != nil || !same {
		return false, err
	}
	if ctx.Err() != nil {
		return false, fmt.Errorf("compare %s with %s: %w", d, snap.Name, context.Cause(ctx))
	}
	l, err := s.open(d)
	if err != nil {
		return false, err
	}
	err = unix.Syncfs(int(l.Fd()))
	l.Close()
	if err != nil {
		return false, fmt.Errorf("flush the file system of %s: %w", d, err)
	}
	return s.sameGeneration(d, snap)
}

func (s *Source) sameGeneration(d dataset.Path, snap dataset.Snapshot) (bool, error) {
	o, err := s.openAll(d, false)
	if err != nil {
		return false, err
	}
	defer o.close()
	if o.dir == nil {
		return false, nil
	}
	there, err := openSnapshot(o.dir, snap)
	switch {
	case errors.Is(err, dataset.ErrNotFound), errors.Is(err, dataset.ErrChanged):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("compare %s with %s: %w", d, snap.Name, err)
	}
	defer there.Close()
	return there.parentUUID == o.uuid && there.otransid == o.generation, nil
}
