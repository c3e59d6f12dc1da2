package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/internal/command"
)

// openSnapshot opens a snapshot by name and checks that it is still the one that
// was looked at. Errors: ErrNotFound, ErrChanged.
func openSnapshot(dir *os.File, snap dataset.Snapshot) (*subvolume, error) {
	path := filepath.Join(dir.Name(), snap.Name)
	sub, err := openSubvolumeBelow(dir, snap.Name)
	switch {
	case errors.Is(err, dataset.ErrNotDataset):
		return nil, fmt.Errorf("%s is not a snapshot: %w", path, dataset.ErrChanged)
	case err != nil:
		return nil, err
	case !sub.isReadOnly() || sub.identity() != snap.ID:
		sub.Close()
		return nil, fmt.Errorf("%s is %s, not the snapshot %s: %w", path, sub.identity(), snap.ID, dataset.ErrChanged)
	}
	return sub, nil
}

// Hold implements fsdrivers.Holder.
func (s *Source) Hold(_ context.Context, d dataset.Path, snap dataset.Snapshot, tag dataset.Tag) error {
	o, err := s.openAll(d, true)
	if err != nil {
		return err
	}
	defer o.close()
	return holdSnapshot(o.dir, o.facts, snap, tag)
}

func holdSnapshot(dir *os.File, f facts, snap dataset.Snapshot, tag dataset.Tag) error {
	if err := listedName(snap); err != nil {
		return err
	}
	err := f.hold(snap, tag, func() error {
		sub, err := openSnapshot(dir, snap)
		if err == nil {
			sub.Close()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("hold %s with %s: %w", snap.Name, tag, err)
	}
	return nil
}

// Release implements fsdrivers.Holder.
func (s *Source) Release(_ context.Context, d dataset.Path, tag dataset.Tag, keep ...dataset.ID) error {
	o, err := s.openAll(d, false)
	if errors.Is(err, dataset.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer o.close()
	if err := o.facts.release(tag, keep); err != nil {
		return fmt.Errorf("release %s of %s: %w", tag, d, err)
	}
	return nil
}

// Mark implements fsdrivers.Marker.
func (s *Source) Mark(_ context.Context, d dataset.Path) (dataset.Mark, error) {
	o, err := s.openAll(d, false)
	if err != nil {
		return dataset.Mark{}, err
	}
	defer o.close()
	return o.facts.mark()
}

// SwapMark implements fsdrivers.Marker.
func (s *Source) SwapMark(_ context.Context, d dataset.Path, old, next dataset.Mark) error {
	o, err := s.openAll(d, true)
	if err != nil {
		return err
	}
	defer o.close()
	return o.facts.swapMark(old, next)
}

// Space implements fsdrivers.Space.
func (s *Source) Space(_ context.Context, d dataset.Path) (fsdrivers.Usage, error) {
	l, err := s.open(d)
	if err != nil {
		return fsdrivers.Usage{}, err
	}
	defer l.Close()
	return usageOf(l.File)
}

func usageOf(f *os.File) (fsdrivers.Usage, error) {
	where, free, size, err := usage(f)
	if err != nil {
		return fsdrivers.Usage{}, err
	}
	return fsdrivers.Usage{Where: where, Free: free, Size: size}, nil
}

// Sweep implements fsdrivers.Sweeper for the datasets that this Source was asked
// about before: a source has no list of them. A send that outlived its daemon
// has lost its pipe and mostly ends by itself.
func (s *Source) Sweep(ctx context.Context) error {
	var all []error
	for _, d := range s.datasets() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := s.sweep(ctx, d); err != nil && !errors.Is(err, dataset.ErrNotFound) {
			all = append(all, fmt.Errorf("sweep %s: %w", d, err))
		}
	}
	return errors.Join(all...)
}

func (s *Source) sweep(ctx context.Context, d dataset.Path) error {
	o, err := s.openAll(d, false)
	if err != nil {
		return err
	}
	defer o.close()
	if err := sweepSends(ctx, o.facts); err != nil {
		return err
	}
	return o.facts.sweep(func() (map[string]bool, error) {
		list, err := names(o.dir)
		keep := make(map[string]bool, len(list))
		for _, name := range list {
			keep[name] = true
		}
		return keep, err
	})
}

// sweepSends ends sends whose daemon is gone and removes their locks.
func sweepSends(ctx context.Context, f facts) error {
	dir, missing, err := f.sub(sendingDir)
	if missing || err != nil {
		return err
	}
	defer dir.Close()
	list, err := names(dir)
	if err != nil {
		return err
	}
	for _, name := range list {
		err := command.EndOrphan(ctx, filepath.Join(dir.Name(), name))
		if errors.Is(err, command.ErrLocked) {
			continue // it is running
		}
		if err == nil {
			err = removeSidecars(dir, name)
		}
		if err != nil {
			return explain(dir, err, "")
		}
	}
	return nil
}
