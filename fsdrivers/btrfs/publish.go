package btrfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"antipode/fsdrivers/btrfs/stream"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/failpoint"
)

// seedling is a received subvolume whose data are durable.
type seedling struct {
	sub      *subvolume
	ctransid uint64 // of the snapshot on its source, as the stream announced it
	// root are the times that the root directory has there; see stream.Position.
	root stream.Times
}

// stamp makes a read-only snapshot of a seedling in dir and gives it an identity,
// and the root the times of the seedling, if it has any.
func stamp(seg seedling, dir *os.File, name string, id uuid.UUID) (*subvolume, error) {
	path := filepath.Join(dir.Name(), name)
	if err := createSnapshot(seg.sub.File, dir, name, false); err != nil {
		return nil, spaceError(dir, fmt.Errorf("snapshot %s as %s: %w", seg.sub.Name(), path, err))
	}
	sub, err := openSubvolumeBelow(dir, name)
	if err != nil {
		return nil, err
	}
	if !seg.root.IsZero() {
		err = setTimes(sub.File, seg.root)
	}
	if err == nil {
		err = setReceived(sub.File, id, seg.ctransid)
	}
	if err == nil {
		err = setReadOnly(sub.File)
	}
	if err != nil {
		sub.Close()
		return nil, spaceError(dir, fmt.Errorf("give %s its identity: %w", path, err))
	}
	return sub, nil
}

func setTimes(f *os.File, t stream.Times) error {
	access, err := unix.TimeToTimespec(t.Access)
	if err != nil {
		return fmt.Errorf("time of last access: %w", err)
	}
	modify, err := unix.TimeToTimespec(t.Modify)
	if err != nil {
		return fmt.Errorf("time of last change: %w", err)
	}
	return unix.UtimesNanoAt(int(f.Fd()), ".", []unix.Timespec{access, modify}, 0)
}

// publish gives a durable segment the identity and the name that were announced.
// The order is the guarantee (G2): the point, then a snapshot under a dot name
// with the true UUID, then the final name, each durable before the next. It is
// done under the lock of the facts, so that no sweep takes the point for one
// whose snapshot is gone.
func (r *replica) publish(step dataset.StepID, seg seedling, in dataset.Incoming, now time.Time) (s dataset.Snapshot, err error) {
	to := in.Step.To
	err = r.facts.locked(func() error {
		p := point{ID: to.ID, Name: to.Name, Created: to.Created.UTC(), Received: now, Retain: in.Retain.UTC()}
		if err := r.facts.setPoint(string(to.ID), p); err != nil {
			return err
		}
		failpoint.Hit("publish-point")
		if err := r.name(tempSnapshot+string(step), to, seg); err != nil {
			return errors.Join(err, r.facts.removePoints(string(to.ID)))
		}
		failpoint.Hit("publish-named")
		return syncName(r.dir) // if that fails the name is there, and keeps its point
	})
	if err != nil {
		return dataset.Snapshot{}, fmt.Errorf("publish: %w", err)
	}
	failpoint.Hit("published")
	return r.confirm(to, seg.ctransid)
}

// name makes the snapshot under a temporary name and renames it, which is not yet
// durable.
func (r *replica) name(temp string, to dataset.Snapshot, seg seedling) (err error) {
	if err := removeSubvolume(r.dir, temp); err != nil { // of an earlier try
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, removeSubvolume(r.dir, temp))
		}
	}()
	sub, err := stamp(seg, r.dir, temp, uuid.MustParse(string(to.ID))) // checkStep parsed it
	if err != nil {
		return err
	}
	defer sub.Close()
	failpoint.Hit("publish-stamped")
	if err := commit(r.dir); err != nil { // the identity, before the name
		return spaceError(r.dir, fmt.Errorf("commit %s: %w", sub.Name(), err))
	}
	failpoint.Hit("publish-committed")
	return renameIn(r.dir, temp, to.Name)
}

// syncName makes a rename in dir durable. With a subvolume in it, fsync becomes
// a commit; commit says so where it does not.
func syncName(dir *os.File) error {
	if err := dir.Sync(); err != nil {
		return spaceError(dir, fmt.Errorf("sync %s: %w", dir.Name(), err))
	}
	if err := commit(dir); err != nil {
		return spaceError(dir, fmt.Errorf("commit %s: %w", dir.Name(), err))
	}
	return nil
}

// confirm reads the published snapshot back from the disk.
func (r *replica) confirm(to dataset.Snapshot, ctransid uint64) (dataset.Snapshot, error) {
	sub, err := openSnapshot(r.dir, to)
	if err != nil {
		return dataset.Snapshot{}, fmt.Errorf("read back what was published: %w", err)
	}
	defer sub.Close()
	if sub.stransid != ctransid {
		return dataset.Snapshot{}, fmt.Errorf("read back %s: it is of transaction %d, announced was %d: %w",
			sub.Name(), sub.stransid, ctransid, dataset.ErrChanged)
	}
	list, err := r.snapshots()
	if err != nil {
		return dataset.Snapshot{}, err
	}
	for _, s := range list {
		if s.ID == to.ID {
			return s, nil
		}
	}
	return dataset.Snapshot{}, fmt.Errorf("read back %s: it is not listed: %w", sub.Name(), dataset.ErrNotFound)
}
