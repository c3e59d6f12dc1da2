package zfs

import (
	"context"
	"errors"
	"fmt"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/prop"
)

var _ fsdrivers.Bookmarker = (*Source)(nil)

// Bookmark implements fsdrivers.Bookmarker.
func (s *Source) Bookmark(ctx context.Context, d dataset.Path, snap dataset.Snapshot, instead ...dataset.Tag) error {
	name, err := s.name(d)
	if err != nil {
		return fmt.Errorf("bookmark: %w", err)
	}
	e, err := s.zfs.find(ctx, name, snap)
	if err != nil {
		return fmt.Errorf("bookmark: %w", err)
	}
	defer s.changed(name, false)
	if err := s.zfs.bookmark(ctx, e, name); err != nil {
		return fmt.Errorf("bookmark %s: %w", e.name, err)
	}
	for _, tag := range instead {
		if _, err := s.zfs.run(ctx, name, "release", prop.Namespace+string(tag), e.name); unless(err, errNothing) != nil {
			return fmt.Errorf("release %s of %s: %w", tag, e.name, err)
		}
	}
	return nil
}

// bookmark makes a bookmark of a snapshot in ds, which is the snapshot's dataset
// or a clone of it.
func (t *tool) bookmark(ctx context.Context, e entry, ds string) error {
	name := ds + "#" + e.short()
	if !e.isOurs() {
		name = ds + "#" + dataset.ForeignPrefix + e.short()
	}
	_, err := t.run(ctx, ds, "bookmark", e.name, name)
	if !errors.Is(err, dataset.ErrExists) {
		return err
	}
	f, gerr := t.get(ctx, "guid", []string{name})
	if gerr != nil {
		return gerr
	}
	if f.number(name, "guid") != e.guid {
		return fmt.Errorf("%s is of another snapshot: %w", name, err)
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
	err = s.zfs.hold(ctx, name, snap, tag)
	if errors.Is(err, dataset.ErrNotFound) && s.isBookmark(ctx, name, snap) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("hold %s@%s with %s: %w", name, snap.Name, tag, err)
	}
	return nil
}

func (s *Source) isBookmark(ctx context.Context, name string, snap dataset.Snapshot) bool {
	all, err := s.zfs.list(ctx, name)
	if err != nil {
		return false
	}
	for _, e := range all {
		if e.isBookmark() && e.isOurs() && e.id() == snap.ID {
			return true
		}
	}
	return false
}

// Release implements fsdrivers.Holder.
func (s *Source) Release(ctx context.Context, d dataset.Path, tag dataset.Tag, keep ...dataset.ID) error {
	name, err := s.name(d)
	if err != nil {
		return unless(err, dataset.ErrNotFound)
	}
	defer s.changed(name, false)
	if err := s.zfs.release(ctx, name, tag, keep); err != nil {
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
	return f.mark(name)
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
	return s.zfs.swapMark(ctx, name, old, next)
}

// Space implements fsdrivers.Space: what the dataset may still take, quotas and
// reservations considered.
func (s *Source) Space(ctx context.Context, d dataset.Path) (fsdrivers.Usage, error) {
	name, err := s.name(d)
	if err != nil {
		return fsdrivers.Usage{}, fmt.Errorf("space: %w", err)
	}
	return s.zfs.space(ctx, name)
}

func (t *tool) space(ctx context.Context, name string) (fsdrivers.Usage, error) {
	f, err := t.get(ctx, "available,used", []string{name})
	if err != nil {
		return fsdrivers.Usage{}, fmt.Errorf("space: %w", err)
	}
	free, used := int64(f.number(name, "available")), int64(f.number(name, "used"))
	return fsdrivers.Usage{Where: name, Free: free, Size: free + used}, nil
}

// Sweep implements fsdrivers.Sweeper. A send that outlives its daemon ends by
// itself: its pipe is broken. Nothing else of a source is ever unfinished.
func (s *Source) Sweep(context.Context) error { return nil }
