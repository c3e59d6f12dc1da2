package receive

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"antipode/fsdrivers/btrfs/facts"
	"antipode/fsdrivers/btrfs/standby"
	"antipode/fsdrivers/btrfs/stream"
	"antipode/fsdrivers/btrfs/subvol"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/failpoint"
)

// seedling is a received subvolume whose data are durable.
type seedling struct {
	sub      *subvol.Handle
	ctransid uint64 // of the snapshot on its source, as the stream announced it
	// root are the times that the root directory has there; see stream.Position.
	root stream.Times
}

// stamp makes a read-only snapshot of a seedling in dir and gives it an identity,
// and the root the times of the seedling, if it has any.
func stamp(seg seedling, dir *os.File, name string, id uuid.UUID) (*subvol.Handle, error) {
	path := filepath.Join(dir.Name(), name)
	if err := subvol.Snapshot(seg.sub.File, dir, name, false); err != nil {
		return nil, subvol.SpaceError(dir, fmt.Errorf("snapshot %s as %s: %w", seg.sub.Name(), path, err))
	}
	sub, err := subvol.OpenBelow(dir, name)
	if err != nil {
		return nil, err
	}
	if !seg.root.IsZero() {
		err = setTimes(sub.File, seg.root)
	}
	if err == nil {
		err = subvol.SetReceived(sub.File, id, seg.ctransid)
	}
	if err == nil {
		err = subvol.SetReadOnly(sub.File)
	}
	if err != nil {
		sub.Close()
		return nil, subvol.SpaceError(dir, fmt.Errorf("give %s its identity: %w", path, err))
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
func publish(r *standby.Replica, step dataset.StepID, seg seedling, in dataset.Incoming, now time.Time) (s dataset.Snapshot, err error) {
	to := in.Step.To
	err = r.Facts.Locked(func() error {
		p := facts.Point{ID: to.ID, Name: to.Name, Created: to.Created.UTC(), Received: now, Retain: in.Retain.UTC()}
		if err := r.Facts.SetPoint(string(to.ID), p); err != nil {
			return err
		}
		failpoint.Hit("publish-point")
		if err := giveName(r, tempSnapshot+string(step), to, seg); err != nil {
			return errors.Join(err, r.Facts.RemovePoints(string(to.ID)))
		}
		failpoint.Hit("publish-named")
		return subvol.SyncName(r.Dir) // if that fails the name is there, and keeps its point
	})
	if err != nil {
		return dataset.Snapshot{}, fmt.Errorf("publish: %w", err)
	}
	failpoint.Hit("published")
	return confirm(r, to, seg.ctransid)
}

// giveName makes the snapshot under a temporary name and renames it, which is not yet
// durable.
func giveName(r *standby.Replica, temp string, to dataset.Snapshot, seg seedling) (err error) {
	if err := subvol.RemoveIn(r.Dir, temp); err != nil { // of an earlier try
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, subvol.RemoveIn(r.Dir, temp))
		}
	}()
	sub, err := stamp(seg, r.Dir, temp, uuid.MustParse(string(to.ID))) // checkStep parsed it
	if err != nil {
		return err
	}
	defer sub.Close()
	failpoint.Hit("publish-stamped")
	if err := subvol.Commit(r.Dir); err != nil { // the identity, before the name
		return subvol.SpaceError(r.Dir, fmt.Errorf("commit %s: %w", sub.Name(), err))
	}
	failpoint.Hit("publish-committed")
	return subvol.RenameIn(r.Dir, temp, to.Name)
}

// confirm reads the published snapshot back from the disk.
func confirm(r *standby.Replica, to dataset.Snapshot, ctransid uint64) (dataset.Snapshot, error) {
	sub, err := subvol.OpenSnapshot(r.Dir, to)
	if err != nil {
		return dataset.Snapshot{}, fmt.Errorf("read back what was published: %w", err)
	}
	defer sub.Close()
	if sub.Stransid != ctransid {
		return dataset.Snapshot{}, fmt.Errorf("read back %s: it is of transaction %d, announced was %d: %w",
			sub.Name(), sub.Stransid, ctransid, dataset.ErrChanged)
	}
	list, err := r.Snapshots()
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
