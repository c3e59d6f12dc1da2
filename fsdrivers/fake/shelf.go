package fake

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// shelf is the snapshots and the mark of one dataset, on either side.
type shelf struct {
	snaps     map[string]*snapshot
	bookmarks map[dataset.ID]*snapshot // bases whose data take no room; hidden by a snapshot of that identity
	mark      dataset.Mark
	changes   uint64 // of all that can be listed of it
}

// snapshot is one point in time. Its files never change.
type snapshot struct {
	dataset.Snapshot // without Holds
	files            content
	holds            map[dataset.Tag]bool // nil for none
	pin              *dataset.Pin
	sends            int           // streams of it that are open
	gone             chan struct{} // closed when it is destroyed; nil if it was never sent
}

func (s *shelf) put(snap *snapshot) {
	if s.snaps == nil {
		s.snaps = map[string]*snapshot{}
	}
	s.snaps[snap.Name] = snap
	s.touch()
}

func (s *shelf) remove(name string) {
	if snap := s.snaps[name]; snap != nil {
		if snap.gone != nil {
			close(snap.gone)
		}
		delete(s.snaps, name)
		s.touch()
	}
}

// byID looks a snapshot up by identity; nil for none.
func (s *shelf) byID(id dataset.ID) *snapshot {
	for _, snap := range s.snaps {
		if snap.ID == id {
			return snap
		}
	}
	return nil
}

// view is the snapshot as a driver answers it.
func (s *snapshot) view() dataset.Snapshot {
	v := s.Snapshot
	v.Holds, v.Pin = slices.Sorted(maps.Keys(s.holds)), s.pin
	return v
}

// side is what a source and a target do alike.
type side struct {
	disk *Disk
	// locate finds a dataset's shelf; nil where a target has no such replica.
	locate func(dataset.Path) (*shelf, error)
}

// open enters the disk and locates d.
func (s *side) open(ctx context.Context, d dataset.Path) (*shelf, func(), error) {
	leave, err := s.disk.enter(ctx)
	if err != nil {
		return nil, nil, err
	}
	found, err := s.locate(d)
	if err != nil {
		leave()
		return nil, nil, err
	}
	return found, leave, nil
}

// Snapshots implements fsdrivers.Lister.
//
// Case: "snapshots are listed in the order in which they were made".
func (s *side) Snapshots(ctx context.Context, d dataset.Path) ([]dataset.Snapshot, error) {
	found, leave, err := s.open(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("list snapshots of %s: %w", d, err)
	}
	defer leave()
	if found == nil {
		return nil, nil
	}
	var all []dataset.Snapshot
	for _, snap := range found.snaps {
		all = append(all, snap.view())
	}
	for id, snap := range found.bookmarks {
		if found.byID(id) == nil {
			v := snap.Snapshot
			v.Bookmark = true
			all = append(all, v)
		}
	}
	slices.SortFunc(all, func(a, b dataset.Snapshot) int { return int(a.Order) - int(b.Order) })
	return all, nil
}

// Destroy implements fsdrivers.Destroyer.
//
// Cases: "a snapshot that is gone is destroyed already", "a snapshot whose
// identity changed is not destroyed", "a held snapshot is not destroyed", "a
// snapshot that is being sent is not destroyed", "what others made is never
// destroyed".
func (s *side) Destroy(ctx context.Context, d dataset.Path, snap dataset.Snapshot) error {
	found, leave, err := s.open(ctx, d)
	if errors.Is(err, dataset.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("destroy snapshot %s of %s: %w", snap.Name, d, err)
	}
	defer leave()
	if found != nil && snap.Bookmark {
		delete(found.bookmarks, snap.ID)
		found.touch()
		return nil
	}
	if found == nil || found.snaps[snap.Name] == nil {
		return nil
	}
	there := found.snaps[snap.Name]
	switch {
	case there.Foreign:
		err = fmt.Errorf("others made it: %w", dataset.ErrRefused)
	case there.ID != snap.ID:
		err = fmt.Errorf("it is %s, not %s: %w", there.ID, snap.ID, dataset.ErrChanged)
	case len(there.holds) > 0:
		err = fmt.Errorf("tag %s: %w", there.view().Holds[0], dataset.ErrHeld)
	case there.pin != nil && !there.pin.Same(snap.Pin):
		err = fmt.Errorf("it is pinned: %w", dataset.ErrHeld)
	case there.sends > 0:
		err = fmt.Errorf("a send of it runs: %w", dataset.ErrHeld)
	}
	if err != nil {
		return fmt.Errorf("destroy snapshot %s of %s: %w", snap.Name, d, err)
	}
	found.remove(snap.Name)
	s.disk.next()
	return nil
}

// Hold implements fsdrivers.Holder.
//
// Cases: "holding twice is holding once", "what is gone or changed cannot be
// held".
func (s *side) Hold(ctx context.Context, d dataset.Path, snap dataset.Snapshot, tag dataset.Tag) error {
	found, leave, err := s.open(ctx, d)
	if err != nil {
		return fmt.Errorf("hold %s of %s: %w", snap.Name, d, err)
	}
	defer leave()
	if found != nil && found.bookmarks[snap.ID] != nil && found.byID(snap.ID) == nil {
		return nil
	}
	if found == nil || found.snaps[snap.Name] == nil {
		return fmt.Errorf("hold %s of %s: %w", snap.Name, d, dataset.ErrNotFound)
	}
	there := found.snaps[snap.Name]
	if there.ID != snap.ID {
		return fmt.Errorf("hold %s of %s: it is %s, not %s: %w", snap.Name, d, there.ID, snap.ID, dataset.ErrChanged)
	}
	if there.holds == nil {
		there.holds = map[dataset.Tag]bool{}
	}
	there.holds[tag] = true
	found.touch()
	return nil
}

// Release implements fsdrivers.Holder.
//
// Case: "release takes a tag off all but those to keep".
func (s *side) Release(ctx context.Context, d dataset.Path, tag dataset.Tag, keep ...dataset.ID) error {
	found, leave, err := s.open(ctx, d)
	if errors.Is(err, dataset.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("release %s on %s: %w", tag, d, err)
	}
	defer leave()
	if found == nil {
		return nil
	}
	for _, snap := range found.snaps {
		if !slices.Contains(keep, snap.ID) {
			delete(snap.holds, tag)
		}
	}
	found.touch()
	return nil
}

// Mark implements fsdrivers.Marker.
//
// Case: "a mark that was never written is zero".
func (s *side) Mark(ctx context.Context, d dataset.Path) (dataset.Mark, error) {
	found, leave, err := s.open(ctx, d)
	if err != nil {
		return dataset.Mark{}, fmt.Errorf("read mark of %s: %w", d, err)
	}
	defer leave()
	if found == nil {
		return dataset.Mark{}, nil
	}
	return copyMark(found.mark), nil
}

// SwapMark implements fsdrivers.Marker.
//
// Cases: "a mark is swapped only for the one that is there", "a mark outlives
// the driver".
func (s *side) SwapMark(ctx context.Context, d dataset.Path, old, next dataset.Mark) error {
	if err := next.Validate(); err != nil {
		return fmt.Errorf("write mark of %s: %w", d, err)
	}
	found, leave, err := s.open(ctx, d)
	if err != nil {
		return fmt.Errorf("write mark of %s: %w", d, err)
	}
	defer leave()
	if found == nil {
		return fmt.Errorf("write mark of %s: %w", d, dataset.ErrNotFound)
	}
	if !reflect.DeepEqual(copyMark(found.mark), copyMark(old)) {
		return fmt.Errorf("write mark of %s: generation %d is there, not %d: %w",
			d, found.mark.Generation, old.Generation, dataset.ErrChanged)
	}
	found.mark = copyMark(next)
	found.touch()
	return nil
}

// copyMark shares nothing with m, and has nil for an empty history.
func copyMark(m dataset.Mark) dataset.Mark {
	m.History = append([]dataset.Activation(nil), m.History...)
	return m
}

// Space implements fsdrivers.Space.
//
// Case: "space is told in bytes".
func (s *side) Space(ctx context.Context, _ dataset.Path) (fsdrivers.Usage, error) {
	leave, err := s.disk.enter(ctx)
	if err != nil {
		return fsdrivers.Usage{}, fmt.Errorf("read space: %w", err)
	}
	defer leave()
	return fsdrivers.Usage{Where: s.disk.name, Free: s.disk.free(), Size: s.disk.size}, nil
}

// Probe implements fsdrivers.Prober.
//
// Case: "nothing is wrong with a healthy file system".
func (s *side) Probe(ctx context.Context) []fsdrivers.Finding {
	leave, err := s.disk.enter(ctx)
	if err != nil {
		return []fsdrivers.Finding{{Fatal: true, Object: s.disk.name, What: err.Error(), Cure: "call Unstick"}}
	}
	leave()
	return nil
}
