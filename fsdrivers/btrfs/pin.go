package btrfs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// pin is the content of a file in pins/, which is named as the snapshot's point.
type pin struct {
	dataset.Pin
	ID   dataset.ID `json:"id"`
	Name string     `json:"name"` // for whoever reads the file
}

// pins reads all pins, by file name.
func (f facts) pins() (map[string]pin, error) {
	return readAll[pin](f, pinsDir, kindPin, "remove the file if the snapshot need not stay, or restore it")
}

// pinned gives a listed snapshot its pin.
func pinned(s dataset.Snapshot, all map[string]pin, file string) dataset.Snapshot {
	if p, found := all[file]; found && p.ID == s.ID {
		s.Pin = &p.Pin
	}
	return s
}

// setPin writes the pin of a snapshot, or removes it. exists checks the snapshot
// under the lock, so that it cannot be destroyed in between.
func (f facts) setPin(file string, s dataset.Snapshot, p *dataset.Pin, exists func() error) error {
	return f.locked(func() error {
		if err := exists(); err != nil {
			return err
		}
		if p == nil {
			return f.removeFrom(pinsDir, file)
		}
		dir, err := makeBelow(f.dir, pinsDir, 0o700)
		if err != nil {
			return err
		}
		defer dir.Close()
		return writeSidecar(dir, file, kindPin, pin{Pin: *p, ID: s.ID, Name: s.Name})
	})
}

// sweepPins removes the pins of snapshots that are gone; the caller holds the lock.
func (f facts) sweepPins(keep map[string]bool) error {
	all, err := f.pins()
	if err != nil {
		return err
	}
	maps.DeleteFunc(all, func(file string, _ pin) bool { return keep[file] })
	return f.removeFrom(pinsDir, slices.Collect(maps.Keys(all))...)
}

// Pin implements fsdrivers.Pinner.
func (s *Source) Pin(_ context.Context, d dataset.Path, snap dataset.Snapshot, p dataset.Pin) error {
	return s.setPin(d, snap, &p)
}

// Unpin implements fsdrivers.Pinner.
func (s *Source) Unpin(_ context.Context, d dataset.Path, snap dataset.Snapshot) error {
	return s.setPin(d, snap, nil)
}

func (s *Source) setPin(d dataset.Path, snap dataset.Snapshot, p *dataset.Pin) error {
	o, err := s.openAll(d, true)
	if err != nil {
		return err
	}
	defer o.close()
	return pinSnapshot(o.dir, o.facts, snap, snap.Name, p)
}

// Pin implements fsdrivers.Pinner.
func (t *Target) Pin(_ context.Context, d dataset.Path, snap dataset.Snapshot, p dataset.Pin) error {
	return t.setPin(d, snap, &p)
}

// Unpin implements fsdrivers.Pinner.
func (t *Target) Unpin(_ context.Context, d dataset.Path, snap dataset.Snapshot) error {
	return t.setPin(d, snap, nil)
}

func (t *Target) setPin(d dataset.Path, snap dataset.Snapshot, p *dataset.Pin) error {
	return t.withReplica(d, func(_ *into, r *replica) error {
		if r == nil || r.dir == nil {
			return fmt.Errorf("pin %s of %s: %w", snap.Name, d, dataset.ErrNotFound)
		}
		return pinSnapshot(r.dir, r.facts, snap, string(snap.ID), p)
	})
}

func pinSnapshot(dir *os.File, f facts, snap dataset.Snapshot, file string, p *dataset.Pin) error {
	if err := ownName(snap.Name); err != nil {
		return err
	}
	if p != nil {
		if err := p.Validate(); err != nil {
			return err
		}
	}
	if _, err := dataset.ParseID(string(snap.ID)); err != nil {
		return err
	}
	err := f.setPin(file, snap, p, func() error {
		sub, err := openSnapshot(dir, snap)
		if err == nil {
			sub.Close()
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("pin %s: %w", snap.Name, err)
	}
	return nil
}

// Holds implements fsdrivers.HoldLister.
func (s *Source) Holds(_ context.Context, d dataset.Path) ([]fsdrivers.Hold, error) {
	o, err := s.openAll(d, false)
	if errors.Is(err, dataset.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer o.close()
	return o.facts.listHolds()
}

// Holds implements fsdrivers.HoldLister.
func (t *Target) Holds(_ context.Context, d dataset.Path) (list []fsdrivers.Hold, err error) {
	err = t.withReplica(d, func(_ *into, r *replica) error {
		if r != nil {
			list, err = r.facts.listHolds()
		}
		return err
	})
	return list, err
}

// listHolds tells of each hold since when it is there, which is the age of its
// file.
func (f facts) listHolds() ([]fsdrivers.Hold, error) {
	all, err := readAll[hold](f, holdsDir, kindHold, "remove the file if that hold is not needed, or restore it")
	if err != nil {
		return nil, err
	}
	list := make([]fsdrivers.Hold, 0, len(all))
	for file, h := range all {
		one := fsdrivers.Hold{Snapshot: h.Name, Tag: string(h.Tag), Ours: true}
		if info, err := os.Lstat(filepath.Join(f.dir.Name(), holdsDir, file)); err == nil { // else it was released since
			one.Since = info.ModTime().UTC()
		}
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b fsdrivers.Hold) int {
		return cmp.Or(cmp.Compare(a.Snapshot, b.Snapshot), cmp.Compare(a.Tag, b.Tag))
	})
	return list, nil
}
