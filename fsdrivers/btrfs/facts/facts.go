// Package facts is what Antipode knows of one dataset and Btrfs cannot hold: its mark,
// holds, pins, and the times of its snapshots. It is the same on both sides.
package facts

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers/btrfs/sidecar"
	"antipode/fsdrivers/btrfs/subvol"
	"antipode/fsdrivers/dataset"
)

const (
	markFile  = "mark"
	holdsDir  = "holds"
	pointsDir = "points"
	pinsDir   = "pins"
)

// Dir is what Antipode knows of one dataset and Btrfs cannot hold: its mark,
// its holds and the times of its snapshots, in one directory of sidecars. It is
// the same on both sides. Methods may be called concurrently: what changes
// something does so under a lock on the directory.
type Dir struct{ Dir *os.File }

// hold is the content of a file in holds/; the name of the file is only to find it.
type hold struct {
	ID   dataset.ID  `json:"id"`
	Name string      `json:"name"` // for whoever reads the file
	Tag  dataset.Tag `json:"tag"`
}

// Point is what is remembered of a snapshot beside its identity.
type Point struct {
	ID       dataset.ID `json:"id,omitzero"` // zero on a source, where the point is older than the snapshot
	Name     string     `json:"name"`
	Created  time.Time  `json:"created"`
	Received time.Time  `json:"received,omitzero"`
	Retain   time.Time  `json:"retain"`
}

// Snapshot fills in what the sidecars know of e. Where a point was lost the
// kernel's time of creation stands in for all times.
func Snapshot(e subvol.Entry, p Point, known bool, holds []dataset.Tag, received bool) dataset.Snapshot {
	s := dataset.Snapshot{Name: e.Name, ID: e.ID, Order: e.Otransid, Holds: holds}
	switch {
	case known:
		s.Created, s.Received, s.Retain = p.Created, p.Received, p.Retain
	default:
		s.Created, s.Retain = e.Created.UTC(), e.Created.UTC()
		if received {
			s.Received = e.Created.UTC()
		}
	}
	return s
}

// AreNone reports whether nothing was ever written of the dataset. What reads
// answers zero then; what writes must not be called.
func (f Dir) AreNone() bool { return f.Dir == nil }

// Close closes the directory, if there is one.
func (f Dir) Close() {
	if f.Dir != nil {
		f.Dir.Close()
	}
}

// Open opens the sidecars of the dataset id in own; they may be none.
func Open(own *os.File, id dataset.ID) (Dir, error) {
	dir, err := subvol.OpenDirBelow(own, string(id))
	if errors.Is(err, dataset.ErrNotFound) {
		return Dir{}, nil
	}
	return Dir{dir}, err
}

// Make opens the sidecars of the dataset id in own, and makes their place.
func Make(own *os.File, id dataset.ID) (Dir, error) {
	dir, err := subvol.MakeDirBelow(own, string(id), 0o700)
	return Dir{dir}, err
}

// Locked runs change while nobody else changes the facts of this dataset.
func (f Dir) Locked(change func() error) error {
	if f.AreNone() {
		return change()
	}
	again, err := subvol.OpenDirBelow(f.Dir, "") // a lock belongs to an open file: ours may be shared
	if err != nil {
		return err
	}
	defer again.Close()
	for {
		err = unix.Flock(int(again.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return &fs.PathError{Op: "lock", Path: f.Dir.Name(), Err: err}
	}
	return change()
}

// Sub opens a directory below; missing is true where there is none.
func (f Dir) Sub(name string) (dir *os.File, missing bool, err error) {
	if f.AreNone() {
		return nil, true, nil
	}
	dir, err = subvol.OpenDirBelow(f.Dir, name)
	if errors.Is(err, dataset.ErrNotFound) {
		return nil, true, nil
	}
	return dir, false, err
}

// Mark reads the fence; zero where none was written.
func (f Dir) Mark() (dataset.Mark, error) {
	if f.AreNone() {
		return dataset.Mark{}, nil
	}
	m, _, err := sidecar.Read[dataset.Mark](f.Dir, markFile, sidecar.Mark,
		"nothing is sent or received until it is back: restore the file, or remove it if this dataset was never promoted")
	if err != nil {
		return dataset.Mark{}, err
	}
	if err := m.Validate(); err != nil {
		return dataset.Mark{}, fmt.Errorf("read mark in %s: %w", f.Dir.Name(), err)
	}
	return m, nil
}

// SwapMark writes next if the mark is still old.
func (f Dir) SwapMark(old, next dataset.Mark) error {
	if err := next.Validate(); err != nil {
		return fmt.Errorf("write mark in %s: %w", f.Dir.Name(), err)
	}
	return f.Locked(func() error {
		now, err := f.Mark()
		if err != nil {
			return err
		}
		if !sameMark(now, old) {
			return fmt.Errorf("write mark in %s: it is of generation %d, not %d: %w",
				f.Dir.Name(), now.Generation, old.Generation, dataset.ErrChanged)
		}
		return sidecar.Write(f.Dir, markFile, sidecar.Mark, next)
	})
}

func sameMark(a, b dataset.Mark) bool {
	return a.Activation == b.Activation && slices.Equal(a.History, b.History)
}

// Holds reads all holds, by snapshot; tags are sorted.
func (f Dir) Holds() (map[dataset.ID][]dataset.Tag, error) {
	all, err := readAll[hold](f, holdsDir, sidecar.Hold, "remove the file if that hold is not needed, or restore it")
	if err != nil {
		return nil, err
	}
	tags := make(map[dataset.ID][]dataset.Tag)
	for _, h := range all {
		tags[h.ID] = append(tags[h.ID], h.Tag)
	}
	for _, list := range tags {
		slices.Sort(list)
	}
	return tags, nil
}

// hold writes a hold; exists checks the snapshot again under the lock, so that
// it cannot be destroyed in between.
func (f Dir) hold(s dataset.Snapshot, tag dataset.Tag, exists func() error) error {
	if _, err := dataset.ParseTag(string(tag)); err != nil {
		return err
	}
	if _, err := dataset.ParseID(string(s.ID)); err != nil {
		return err
	}
	return f.Locked(func() error {
		if err := exists(); err != nil {
			return err
		}
		dir, err := subvol.MakeDirBelow(f.Dir, holdsDir, 0o700)
		if err != nil {
			return err
		}
		defer dir.Close()
		return sidecar.Write(dir, holdName(s.ID, tag), sidecar.Hold, hold{ID: s.ID, Name: s.Name, Tag: tag})
	})
}

func holdName(id dataset.ID, tag dataset.Tag) string { return string(id) + "." + string(tag) }

// Release removes the tag from all but keep.
func (f Dir) Release(tag dataset.Tag, keep []dataset.ID) error {
	return f.Locked(func() error {
		all, err := readAll[hold](f, holdsDir, sidecar.Hold, "remove the file if that hold is not needed, or restore it")
		if err != nil || len(all) == 0 {
			return err
		}
		dir, err := subvol.OpenDirBelow(f.Dir, holdsDir)
		if err != nil {
			return err
		}
		defer dir.Close()
		var gone []string
		for name, h := range all {
			if h.Tag == tag && !slices.Contains(keep, h.ID) {
				gone = append(gone, name)
			}
		}
		return sidecar.Remove(dir, gone...)
	})
}

// Points reads all points, by file name: the snapshot's name on a source, its
// identity on a target.
func (f Dir) Points() (map[string]Point, error) {
	return readAll[Point](f, pointsDir, sidecar.Point, "remove the file: the snapshot's times are then those of the file system")
}

// SetPoint writes a point; the caller holds the lock, so that the sweep does not
// take it for one whose snapshot is gone.
func (f Dir) SetPoint(file string, p Point) error {
	dir, err := subvol.MakeDirBelow(f.Dir, pointsDir, 0o700)
	if err != nil {
		return err
	}
	defer dir.Close()
	return sidecar.Write(dir, file, sidecar.Point, p)
}

// RemovePoints removes points by file name, durably; those that are gone are fine.
func (f Dir) RemovePoints(files ...string) error { return f.removeFrom(pointsDir, files...) }

// removeFrom removes sidecars from a directory, durably.
func (f Dir) removeFrom(sub string, files ...string) error {
	if len(files) == 0 {
		return nil
	}
	dir, missing, err := f.Sub(sub)
	if missing || err != nil {
		return err
	}
	defer dir.Close()
	return sidecar.Remove(dir, files...)
}

// readAll reads every sidecar of a directory, by file name.
func readAll[T any](f Dir, sub string, k sidecar.Kind, cure string) (map[string]T, error) {
	dir, missing, err := f.Sub(sub)
	if missing || err != nil {
		return nil, err
	}
	defer dir.Close()
	list, err := subvol.Names(dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir.Name(), err)
	}
	all := make(map[string]T, len(list))
	for _, name := range list {
		if strings.HasPrefix(name, sidecar.TempPrefix) {
			continue // being written, or left by a crash
		}
		v, found, err := sidecar.Read[T](dir, name, k, cure)
		if err != nil {
			return nil, err
		}
		if found {
			all[name] = v
		}
	}
	return all, nil
}

// Sweep removes the points whose file is not in what exist lists, because their
// snapshot is gone, and what a crash left of files that were being written.
func (f Dir) Sweep(exist func() (map[string]bool, error)) error {
	if f.AreNone() {
		return nil
	}
	return f.Locked(func() error {
		keep, err := exist()
		if err != nil {
			return err
		}
		all, err := f.Points()
		if err != nil {
			return err
		}
		maps.DeleteFunc(all, func(file string, _ Point) bool { return keep[file] })
		if err := f.RemovePoints(slices.Collect(maps.Keys(all))...); err != nil {
			return err
		}
		if err := f.sweepPins(keep); err != nil {
			return err
		}
		return f.sweepTemporary("", pointsDir, holdsDir, pinsDir)
	})
}

// sweepTemporary removes unfinished files; all writers hold the lock.
func (f Dir) sweepTemporary(subs ...string) error {
	for _, sub := range subs {
		dir, missing, err := f.Sub(sub)
		if missing {
			continue
		}
		if err != nil {
			return err
		}
		list, err := subvol.Names(dir)
		if err == nil {
			list = slices.DeleteFunc(list, func(n string) bool { return !strings.HasPrefix(n, sidecar.TempPrefix) })
			err = sidecar.Remove(dir, list...)
		}
		dir.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
