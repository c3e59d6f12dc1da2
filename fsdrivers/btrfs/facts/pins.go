package facts

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"antipode/fsdrivers"
	"antipode/fsdrivers/btrfs/naming"
	"antipode/fsdrivers/btrfs/sidecar"
	"antipode/fsdrivers/btrfs/subvol"
	"antipode/fsdrivers/dataset"
)

// Pin is the content of a file in pins/, which is named as the snapshot's point.
type Pin struct {
	dataset.Pin
	ID   dataset.ID `json:"id"`
	Name string     `json:"name"` // for whoever reads the file
}

// Pins reads all pins, by file name.
func (f Dir) Pins() (map[string]Pin, error) {
	return readAll[Pin](f, pinsDir, sidecar.Pin, "remove the file if the snapshot need not stay, or restore it")
}

// Pinned gives a listed snapshot its pin.
func Pinned(s dataset.Snapshot, all map[string]Pin, file string) dataset.Snapshot {
	if p, found := all[file]; found && p.ID == s.ID {
		s.Pin = &p.Pin
	}
	return s
}

// setPin writes the pin of a snapshot, or removes it. exists checks the snapshot
// under the lock, so that it cannot be destroyed in between.
func (f Dir) setPin(file string, s dataset.Snapshot, p *dataset.Pin, exists func() error) error {
	return f.Locked(func() error {
		if err := exists(); err != nil {
			return err
		}
		if p == nil {
			return f.removeFrom(pinsDir, file)
		}
		dir, err := subvol.MakeDirBelow(f.Dir, pinsDir, 0o700)
		if err != nil {
			return err
		}
		defer dir.Close()
		return sidecar.Write(dir, file, sidecar.Pin, Pin{Pin: *p, ID: s.ID, Name: s.Name})
	})
}

// sweepPins removes the pins of snapshots that are gone; the caller holds the lock.
func (f Dir) sweepPins(keep map[string]bool) error {
	all, err := f.Pins()
	if err != nil {
		return err
	}
	maps.DeleteFunc(all, func(file string, _ Pin) bool { return keep[file] })
	return f.removeFrom(pinsDir, slices.Collect(maps.Keys(all))...)
}

// PinSnapshot pins a snapshot in dir, or takes its pin away if p is nil. file is the name of
// its point. Errors: ErrRefused, ErrNotFound, ErrChanged.
func (f Dir) PinSnapshot(dir *os.File, snap dataset.Snapshot, file string, p *dataset.Pin) error {
	if err := naming.Own(snap.Name); err != nil {
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
		sub, err := subvol.OpenSnapshot(dir, snap)
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

// ListHolds tells of each hold since when it is there, which is the age of its
// file.
func (f Dir) ListHolds() ([]fsdrivers.Hold, error) {
	all, err := readAll[hold](f, holdsDir, sidecar.Hold, "remove the file if that hold is not needed, or restore it")
	if err != nil {
		return nil, err
	}
	list := make([]fsdrivers.Hold, 0, len(all))
	for file, h := range all {
		one := fsdrivers.Hold{Snapshot: h.Name, Tag: string(h.Tag), Ours: true}
		if info, err := os.Lstat(filepath.Join(f.Dir.Name(), holdsDir, file)); err == nil { // else it was released since
			one.Since = info.ModTime().UTC()
		}
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b fsdrivers.Hold) int {
		return cmp.Or(cmp.Compare(a.Snapshot, b.Snapshot), cmp.Compare(a.Tag, b.Tag))
	})
	return list, nil
}

// HoldSnapshot holds a snapshot in dir; again is success. Errors: ErrRefused, ErrNotFound,
// ErrChanged.
func (f Dir) HoldSnapshot(dir *os.File, snap dataset.Snapshot, tag dataset.Tag) error {
	if err := naming.Listed(snap); err != nil {
		return err
	}
	err := f.hold(snap, tag, func() error {
		sub, err := subvol.OpenSnapshot(dir, snap)
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
