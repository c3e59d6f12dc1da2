package source

import (
	"context"
	"errors"
	"fmt"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/cli"
	"antipode/fsdrivers/zfs/prop"
)

var _ fsdrivers.Bookmarker = (*Source)(nil)

// Bookmark implements fsdrivers.Bookmarker.
func (s *Source) Bookmark(ctx context.Context, d dataset.Path, snap dataset.Snapshot, instead ...dataset.Tag) error {
	name, err := s.name(d)
	if err != nil {
		return fmt.Errorf("bookmark: %w", err)
	}
	e, err := s.zfs.Find(ctx, name, snap)
	if err != nil {
		return fmt.Errorf("bookmark: %w", err)
	}
	defer s.changed(name, false)
	if err := s.zfs.Bookmark(ctx, e, name); err != nil {
		return fmt.Errorf("bookmark %s: %w", e.Name, err)
	}
	for _, tag := range instead {
		if _, err := s.zfs.Run(ctx, name, "release", prop.Namespace+string(tag), e.Name); cli.Unless(err, cli.ErrNothing) != nil {
			return fmt.Errorf("release %s of %s: %w", tag, e.Name, err)
		}
	}
	return nil
}

// Hold implements fsdrivers.Holder. A bookmark needs no hold: nothing but Destroy
// removes it.
func (s *Source) Hold(ctx context.Context, d dataset.Path, snap dataset.Snapshot, tag dataset.Tag) error {
	name, err := s.name(d)
	if err != nil {
		return fmt.Errorf("hold: %w", err)
	}
	defer s.changed(name, false)
	err = s.zfs.Hold(ctx, name, snap, tag)
	if errors.Is(err, dataset.ErrNotFound) && s.isBookmark(ctx, name, snap) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("hold %s@%s with %s: %w", name, snap.Name, tag, err)
	}
	return nil
}

func (s *Source) isBookmark(ctx context.Context, name string, snap dataset.Snapshot) bool {
	all, err := s.zfs.List(ctx, name)
	if err != nil {
		return false
	}
	for _, e := range all {
		if e.IsBookmark() && e.IsOurs() && e.ID() == snap.ID {
			return true
		}
	}
	return false
}

// Release implements fsdrivers.Holder.
func (s *Source) Release(ctx context.Context, d dataset.Path, tag dataset.Tag, keep ...dataset.ID) error {
	name, err := s.name(d)
	if err != nil {
		return cli.Unless(err, dataset.ErrNotFound)
	}
	defer s.changed(name, false)
	if err := s.zfs.Release(ctx, name, tag, keep); err != nil {
		return fmt.Errorf("release %s of %s: %w", tag, d, err)
	}
	return nil
}

// Mark implements fsdrivers.Marker.
func (s *Source) Mark(ctx context.Context, d dataset.Path) (dataset.Mark, error) {
	name, err := s.name(d)
	if err != nil {
		return dataset.Mark{}, fmt.Errorf("mark: %w", err)
	}
	f, _, err := s.look(ctx, name)
	if err != nil {
		return dataset.Mark{}, fmt.Errorf("mark: %w", err)
	}
	return f.Mark(name)
}

// SwapMark implements fsdrivers.Marker.
func (s *Source) SwapMark(ctx context.Context, d dataset.Path, old, next dataset.Mark) error {
	name, err := s.name(d)
	if err != nil {
		return fmt.Errorf("mark: %w", err)
	}
	s.marks.Lock()
	defer s.marks.Unlock()
	defer s.changed(name, true)
	return s.zfs.SwapMark(ctx, name, old, next)
}

// Space implements fsdrivers.Space: what the dataset may still take, quotas and
// reservations considered.
func (s *Source) Space(ctx context.Context, d dataset.Path) (fsdrivers.Usage, error) {
	name, err := s.name(d)
	if err != nil {
		return fsdrivers.Usage{}, fmt.Errorf("space: %w", err)
	}
	return s.zfs.Space(ctx, name)
}

// Sweep implements fsdrivers.Sweeper. A send that outlives its daemon ends by
// itself: its pipe is broken. Nothing else of a source is ever unfinished.
func (s *Source) Sweep(context.Context) error { return nil }
