package target

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers/btrfs/facts"
	"antipode/fsdrivers/btrfs/sidecar"
	"antipode/fsdrivers/btrfs/standby"
	"antipode/fsdrivers/btrfs/subvol"
	"antipode/fsdrivers/dataset"
)

const (
	moveFile               = "move"   // sidecar: where the replica goes, until it is there
	movingDir              = "moving" // what is on its way: first its points, then what was in their new place
	kindMove  sidecar.Kind = "move"
	moveCure               = "remove the file, if the directory " + movingDir + " beside it is missing"
)

// move is what is written down before a replica is moved.
type move struct {
	To dataset.Path `json:"to"`
}

// Move implements fsdrivers.Mover. A read-only subvolume cannot leave its directory,
// so the directory goes, and what is in it of others, which are plain directories,
// comes back. What is on its way is in the replica's own place, so that a crash
// leaves nothing that could be taken for another replica's; Sweep finishes it.
func (t *Target) Move(ctx context.Context, d dataset.Dataset, to dataset.Path) error {
	in, err := t.shelf.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	if _, err := dataset.ParsePath(string(to)); err != nil || in.Relative(to) == "" || in.Relative(d.Path) == "" {
		return fmt.Errorf("move the replica of %s to %q: want two paths below %s: %w", d.Path, to, t.opts.Into, dataset.ErrRefused)
	}
	if err := t.shelf.MustTake(to); err != nil {
		return fmt.Errorf("move the replica of %s: %w", d.Path, err)
	}
	bound, found, err := standby.ReadBinding(in, string(d.ID))
	switch {
	case err != nil:
		return err
	case !found || bound.Path != d.Path && bound.Path != to:
		return fmt.Errorf("move the replica of %s (%s): it is not there: %w", d.Path, d.ID, dataset.ErrNotFound)
	}
	if err := t.moveBound(ctx, in, bound, to); err != nil {
		return fmt.Errorf("move the replica of %s to %s: %w", d.Path, to, err)
	}
	return nil
}

// moveBound moves what no receive works on.
func (t *Target) moveBound(ctx context.Context, in *standby.Into, bound dataset.Dataset, to dataset.Path) error {
	release, err := t.shelf.Claim(bound)
	if err != nil {
		return err
	}
	defer release()
	if bound.Path != to {
		// Whoever binds the new path claims it too; it has no identity yet.
		releaseTo, err := t.shelf.Claim(dataset.Dataset{ID: dataset.ID(to), Path: to})
		if err != nil {
			return err
		}
		defer releaseTo()
		if err := t.freePath(in, to); err != nil {
			return err
		}
		if err := mustHoldNoSubvolume(in, to); err != nil {
			return err
		}
		f, err := facts.Open(in.Own, bound.ID)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := t.DropWork(ctx, in, bound.ID); err != nil { // its steps are for the old path
			return err
		}
		if err := sidecar.Write(f.Dir, moveFile, kindMove, move{to}); err != nil {
			return err
		}
	}
	return t.finishMove(in, bound)
}

// freePath makes sure that a path has no replica with points. The binding of one
// without is let go.
func (t *Target) freePath(in *standby.Into, to dataset.Path) error {
	other, err := t.shelf.OpenReplica(in, to)
	if other == nil || err != nil {
		return err
	}
	defer other.Close()
	points, err := other.Published()
	if err != nil {
		return err
	}
	if len(points) > 0 {
		return fmt.Errorf("%s holds %d points of dataset %s: %w", to, len(points), other.ID, dataset.ErrExists)
	}
	return sidecar.Remove(other.Facts.Dir, standby.ReplicaFile)
}

// mustHoldNoSubvolume refuses a path in whose directory somebody's subvolumes are,
// such as live data: they could not leave it.
func mustHoldNoSubvolume(in *standby.Into, to dataset.Path) error {
	dir, err := standby.OpenPublished(in, to)
	if errors.Is(err, dataset.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	there, _, err := sorted(dir)
	if len(there) > 0 {
		return fmt.Errorf("%s holds %s and %d more subvolumes: %w", dir.Name(), there[0], len(there)-1, dataset.ErrExists)
	}
	return err
}

// finishMove does what is left to do of a move, if one was begun.
func (t *Target) finishMove(in *standby.Into, bound dataset.Dataset) error {
	f, err := facts.Open(in.Own, bound.ID)
	if err != nil || f.AreNone() {
		return err
	}
	defer f.Close()
	m, found, err := sidecar.Read[move](f.Dir, moveFile, kindMove, moveCure)
	if !found || err != nil {
		return err
	}
	if bound.Path != m.To {
		if err := carry(in, f.Dir, bound.Path, m.To); err != nil {
			return err
		}
		if err := sidecar.Write(f.Dir, standby.ReplicaFile, sidecar.Replica, dataset.Dataset{Path: m.To, ID: bound.ID}); err != nil {
			return err
		}
		t.shelf.Forget()
	}
	return sidecar.Remove(f.Dir, moveFile)
}

// carry moves the points from one path to another by way of facts/moving. Each step
// leaves something by which the next call knows where to go on.
func carry(in *standby.Into, facts *os.File, from, to dataset.Path) error {
	way, err := subvol.OpenDirBelow(facts, movingDir)
	if errors.Is(err, dataset.ErrNotFound) {
		if way, err = takeOut(in, facts, from); way == nil || err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	defer way.Close()
	points, others, err := sorted(way)
	if err != nil {
		return err
	}
	if len(points) > 0 { // with what is below the old path, and belongs there
		if err := putAll(in, way, others, from); err != nil {
			return err
		}
		if err := putDown(in, facts, to); err != nil {
			return err
		}
	} else if err := putAll(in, way, others, to); err != nil { // what was in the new path
		return err
	}
	left, err := subvol.OpenDirBelow(facts, movingDir)
	if errors.Is(err, dataset.ErrNotFound) {
		return subvol.Commit(in.File)
	}
	if err != nil {
		return err
	}
	defer left.Close()
	if _, others, err = sorted(left); err == nil {
		err = putAll(in, left, others, to)
	}
	if err == nil {
		err = unix.Unlinkat(int(facts.Fd()), movingDir, unix.AT_REMOVEDIR)
	}
	if err != nil {
		return fmt.Errorf("empty %s: %w", left.Name(), err)
	}
	return subvol.Commit(in.File)
}

// takeOut moves the directory of the points to facts/moving; nil if there are none.
func takeOut(in *standby.Into, facts *os.File, from dataset.Path) (*os.File, error) {
	dir, err := standby.OpenPublished(in, from)
	if errors.Is(err, dataset.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	points, _, err := sorted(dir)
	dir.Close()
	if len(points) == 0 || err != nil {
		return nil, err
	}
	rel := in.Relative(from)
	parent, err := subvol.OpenDirBelow(in.File, parentOf(rel))
	if err != nil {
		return nil, err
	}
	defer parent.Close()
	if err := renameTo(parent, filepath.Base(rel), facts, movingDir, unix.RENAME_NOREPLACE); err != nil {
		return nil, err
	}
	return subvol.OpenDirBelow(facts, movingDir)
}

// putDown moves facts/moving to its new path. What is there already is exchanged
// with it.
func putDown(in *standby.Into, facts *os.File, to dataset.Path) error {
	rel := in.Relative(to)
	parent, err := standby.MakePlace(in, parentOf(rel))
	if err != nil {
		return err
	}
	defer parent.Close()
	name := filepath.Base(rel)
	err = renameTo(facts, movingDir, parent, name, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EEXIST) {
		err = renameTo(facts, movingDir, parent, name, unix.RENAME_EXCHANGE)
	}
	return err
}

// putAll moves directories of others from way to below a path.
func putAll(in *standby.Into, way *os.File, names []string, path dataset.Path) error {
	if len(names) == 0 {
		return nil
	}
	home, err := standby.MakePlace(in, in.Relative(path))
	if err != nil {
		return err
	}
	defer home.Close()
	for _, name := range names {
		if err := renameTo(way, name, home, name, unix.RENAME_NOREPLACE); err != nil {
			return err
		}
	}
	return nil
}

// sorted tells the subvolumes in a directory from what else is in it.
func sorted(dir *os.File) (subvolumes, others []string, err error) {
	list, err := subvol.Names(dir)
	if err != nil {
		return nil, nil, err
	}
	for _, name := range list {
		sub, err := subvol.OpenBelow(dir, name)
		switch {
		case err == nil:
			sub.Close()
			subvolumes = append(subvolumes, name)
		case errors.Is(err, dataset.ErrNotDataset):
			others = append(others, name)
		default:
			return nil, nil, err
		}
	}
	return subvolumes, others, nil
}

func renameTo(from *os.File, name string, to *os.File, as string, flags uint) error {
	if err := unix.Renameat2(int(from.Fd()), name, int(to.Fd()), as, flags); err != nil {
		return subvol.SpaceError(to, fmt.Errorf("move %s to %s: %w", filepath.Join(from.Name(), name), filepath.Join(to.Name(), as), err))
	}
	return nil
}

// parentOf is the place above; "" for Into itself.
func parentOf(rel string) string {
	return rel[:max(strings.LastIndexByte(rel, '/'), 0)]
}

// finishMoves goes on with moves that a daemon did not come to the end of, before
// anything takes a replica's points for gone.
func (t *Target) finishMoves(in *standby.Into, replicas []dataset.Dataset) error {
	var all []error
	for _, d := range replicas {
		release, err := t.shelf.Claim(d)
		if errors.Is(err, dataset.ErrBusy) {
			continue // it is being moved, or received into, which a move comes before
		}
		if err == nil {
			err = t.finishMove(in, d)
			release()
		}
		if err != nil {
			all = append(all, fmt.Errorf("finish moving the replica of %s: %w", d.Path, err))
		}
	}
	return errors.Join(all...)
}
