package btrfs

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

	"antipode/fsdrivers/dataset"
)

const (
	markFile  = "mark"
	holdsDir  = "holds"
	pointsDir = "points"
	pinsDir   = "pins"
)

// facts is what Antipode knows of one dataset and Btrfs cannot hold: its mark,
// its holds and the times of its snapshots, in one directory of sidecars. It is
// the same on both sides. Methods may be called concurrently: what changes
// something does so under a lock on the directory.
type facts struct{ dir *os.File }

// hold is the content of a file in holds/; the name of the file is only to find it.
type hold struct {
	ID   dataset.ID  `json:"id"`
	Name string      `json:"name"` // for whoever reads the file
	Tag  dataset.Tag `json:"tag"`
}

// point is what is remembered of a snapshot beside its identity.
type point struct {
	ID       dataset.ID `json:"id,omitzero"` // zero on a source, where the point is older than the snapshot
	Name     string     `json:"name"`
	Created  time.Time  `json:"created"`
	Received time.Time  `json:"received,omitzero"`
	Retain   time.Time  `json:"retain"`
}

// snapshot fills in what the sidecars know of e. Where a point was lost the
// kernel's time of creation stands in for all times.
func (e entry) snapshot(p point, known bool, holds []dataset.Tag, received bool) dataset.Snapshot {
	s := dataset.Snapshot{Name: e.name, ID: e.id, Order: e.otransid, Holds: holds}
	switch {
	case known:
		s.Created, s.Received, s.Retain = p.Created, p.Received, p.Retain
	default:
		s.Created, s.Retain = e.otime.utc(), e.otime.utc()
		if received {
			s.Received = e.otime.utc()
		}
	}
	return s
}

// areNone reports whether nothing was ever written of the dataset. What reads
// answers zero then; what writes must not be called.
func (f facts) areNone() bool { return f.dir == nil }

func (f facts) close() {
	if f.dir != nil {
		f.dir.Close()
	}
}

// openFacts opens the sidecars of the dataset id in own; they may be none.
func openFacts(own *os.File, id dataset.ID) (facts, error) {
	dir, err := openBelow(own, string(id))
	if errors.Is(err, dataset.ErrNotFound) {
		return facts{}, nil
	}
	return facts{dir}, err
}

// makeFacts opens the sidecars of the dataset id in own, and makes their place.
func makeFacts(own *os.File, id dataset.ID) (facts, error) {
	dir, err := makeBelow(own, string(id), 0o700)
	return facts{dir}, err
}

// locked runs change while nobody else changes the facts of this dataset.
func (f facts) locked(change func() error) error {
	if f.areNone() {
		return change()
	}
	again, err := openBelow(f.dir, "") // a lock belongs to an open file: ours may be shared
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
		return &fs.PathError{Op: "lock", Path: f.dir.Name(), Err: err}
	}
	return change()
}

// sub opens a directory below; missing is true where there is none.
func (f facts) sub(name string) (dir *os.File, missing bool, err error) {
	if f.areNone() {
		return nil, true, nil
	}
	dir, err = openBelow(f.dir, name)
	if errors.Is(err, dataset.ErrNotFound) {
		return nil, true, nil
	}
	return dir, false, err
}

// mark reads the fence; zero where none was written.
func (f facts) mark() (dataset.Mark, error) {
	if f.areNone() {
		return dataset.Mark{}, nil
	}
	m, _, err := readSidecar[dataset.Mark](f.dir, markFile, kindMark,
		"nothing is sent or received until it is back: restore the file, or remove it if this dataset was never promoted")
	if err != nil {
		return dataset.Mark{}, err
	}
	if err := m.Validate(); err != nil {
		return dataset.Mark{}, fmt.Errorf("read mark in %s: %w", f.dir.Name(), err)
	}
	return m, nil
}

// swapMark writes next if the mark is still old.
func (f facts) swapMark(old, next dataset.Mark) error {
	if err := next.Validate(); err != nil {
		return fmt.Errorf("write mark in %s: %w", f.dir.Name(), err)
	}
	return f.locked(func() error {
		now, err := f.mark()
		if err != nil {
			return err
		}
		if !sameMark(now, old) {
			return fmt.Errorf("write mark in %s: it is of generation %d, not %d: %w",
				f.dir.Name(), now.Generation, old.Generation, dataset.ErrChanged)
		}
		return writeSidecar(f.dir, markFile, kindMark, next)
	})
}

func sameMark(a, b dataset.Mark) bool {
	return a.Activation == b.Activation && slices.Equal(a.History, b.History)
}

// holds reads all holds, by snapshot; tags are sorted.
func (f facts) holds() (map[dataset.ID][]dataset.Tag, error) {
	all, err := readAll[hold](f, holdsDir, kindHold, "remove the file if that hold is not needed, or restore it")
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
func (f facts) hold(s dataset.Snapshot, tag dataset.Tag, exists func() error) error {
	if _, err := dataset.ParseTag(string(tag)); err != nil {
		return err
	}
	if _, err := dataset.ParseID(string(s.ID)); err != nil {
		return err
	}
	return f.locked(func() error {
		if err := exists(); err != nil {
			return err
		}
		dir, err := makeBelow(f.dir, holdsDir, 0o700)
		if err != nil {
			return err
		}
		defer dir.Close()
		return writeSidecar(dir, holdName(s.ID, tag), kindHold, hold{ID: s.ID, Name: s.Name, Tag: tag})
	})
}

func holdName(id dataset.ID, tag dataset.Tag) string { return string(id) + "." + string(tag) }

// release removes the tag from all but keep.
func (f facts) release(tag dataset.Tag, keep []dataset.ID) error {
	return f.locked(func() error {
		all, err := readAll[hold](f, holdsDir, kindHold, "remove the file if that hold is not needed, or restore it")
		if err != nil || len(all) == 0 {
			return err
		}
		dir, err := openBelow(f.dir, holdsDir)
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
		return removeSidecars(dir, gone...)
	})
}

// points reads all points, by file name: the snapshot's name on a source, its
// identity on a target.
func (f facts) points() (map[string]point, error) {
	return readAll[point](f, pointsDir, kindPoint, "remove the file: the snapshot's times are then those of the file system")
}

// setPoint writes a point; the caller holds the lock, so that the sweep does not
// take it for one whose snapshot is gone.
func (f facts) setPoint(file string, p point) error {
	dir, err := makeBelow(f.dir, pointsDir, 0o700)
	if err != nil {
		return err
	}
	defer dir.Close()
	return writeSidecar(dir, file, kindPoint, p)
}

func (f facts) removePoints(files ...string) error { return f.removeFrom(pointsDir, files...) }

// removeFrom removes sidecars from a directory, durably.
func (f facts) removeFrom(sub string, files ...string) error {
	if len(files) == 0 {
		return nil
	}
	dir, missing, err := f.sub(sub)
	if missing || err != nil {
		return err
	}
	defer dir.Close()
	return removeSidecars(dir, files...)
}

// readAll reads every sidecar of a directory, by file name.
func readAll[T any](f facts, sub string, k kind, cure string) (map[string]T, error) {
	dir, missing, err := f.sub(sub)
	if missing || err != nil {
		return nil, err
	}
	defer dir.Close()
	list, err := names(dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir.Name(), err)
	}
	all := make(map[string]T, len(list))
	for _, name := range list {
		if strings.HasPrefix(name, tempPrefix) {
			continue // being written, or left by a crash
		}
		v, found, err := readSidecar[T](dir, name, k, cure)
		if err != nil {
			return nil, err
		}
		if found {
			all[name] = v
		}
	}
	return all, nil
}

// sweep removes the points whose file is not in what exist lists, because their
// snapshot is gone, and what a crash left of files that were being written.
func (f facts) sweep(exist func() (map[string]bool, error)) error {
	if f.areNone() {
		return nil
	}
	return f.locked(func() error {
		keep, err := exist()
		if err != nil {
			return err
		}
		all, err := f.points()
		if err != nil {
			return err
		}
		maps.DeleteFunc(all, func(file string, _ point) bool { return keep[file] })
		if err := f.removePoints(slices.Collect(maps.Keys(all))...); err != nil {
			return err
		}
		if err := f.sweepPins(keep); err != nil {
			return err
		}
		return f.sweepTemporary("", pointsDir, holdsDir, pinsDir)
	})
}

// sweepTemporary removes unfinished files; all writers hold the lock.
func (f facts) sweepTemporary(subs ...string) error {
	for _, sub := range subs {
		dir, missing, err := f.sub(sub)
		if missing {
			continue
		}
		if err != nil {
			return err
		}
		list, err := names(dir)
		if err == nil {
			list = slices.DeleteFunc(list, func(n string) bool { return !strings.HasPrefix(n, tempPrefix) })
			err = removeSidecars(dir, list...)
		}
		dir.Close()
		if err != nil {
			return err
		}
	}
	return nil
}
