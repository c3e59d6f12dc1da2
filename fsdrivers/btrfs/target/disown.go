package target

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"antipode/fsdrivers/btrfs/facts"
	"antipode/fsdrivers/btrfs/sidecar"
	"antipode/fsdrivers/btrfs/standby"
	"antipode/fsdrivers/btrfs/subvol"
	"antipode/fsdrivers/dataset"
)

// Disown implements fsdrivers.Disowner. What a replica is known by is the name of its
// directory of sidecars; the binding in it is written first, and by that Sweep
// finishes what a crash cut off.
func (t *Target) Disown(ctx context.Context, d dataset.Dataset) (dataset.ID, error) {
	in, err := t.shelf.Open()
	if err != nil {
		return "", err
	}
	defer in.Close()
	bound, found, err := standby.ReadBinding(in, string(d.ID))
	if err == nil && (!found || bound.Path != d.Path) {
		err = dataset.ErrNotFound
	}
	var id dataset.ID
	if err == nil {
		id, err = t.disown(ctx, in, bound)
	}
	if err != nil {
		return "", fmt.Errorf("disown the replica of %s (%s): %w", d.Path, d.ID, err)
	}
	return id, nil
}

// disown works on what no receive works on, and no move.
func (t *Target) disown(ctx context.Context, in *standby.Into, bound dataset.Dataset) (dataset.ID, error) {
	release, err := t.shelf.Claim(bound)
	if err != nil {
		return "", err
	}
	defer release()
	if err := t.finishMove(in, bound); err != nil {
		return "", err
	}
	id, err := t.strangerOf(in, bound)
	if err != nil {
		return "", err
	}
	if err := t.DropWork(ctx, in, bound.ID); err != nil {
		return "", err
	}
	f, err := facts.Open(in.Own, bound.ID)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := sidecar.Write(f.Dir, standby.ReplicaFile, sidecar.Replica, dataset.Dataset{Path: bound.Path, ID: id}); err != nil {
		return "", err
	}
	return id, t.rename(in, bound.ID, id)
}

// strangerOf is the identity that the replica gets: one that follows from its own and
// its newest point, so that no two of one dataset get the same.
func (t *Target) strangerOf(in *standby.Into, bound dataset.Dataset) (dataset.ID, error) {
	r, err := t.shelf.OpenReplica(in, bound.Path)
	if err != nil {
		return "", err
	}
	if r == nil {
		return "", dataset.ErrNotFound
	}
	defer r.Close()
	points, err := r.Published()
	if err != nil {
		return "", err
	}
	if len(points) == 0 {
		return "", fmt.Errorf("it holds no points: %w", dataset.ErrNotFound)
	}
	space, err := uuid.Parse(string(bound.ID))
	if err != nil {
		return "", err
	}
	return dataset.ID(uuid.NewSHA1(space, []byte(points[len(points)-1].ID)).String()), nil
}

// rename gives the sidecars of a replica the name that their binding says.
func (t *Target) rename(in *standby.Into, from, to dataset.ID) error {
	if err := renameTo(in.Own, string(from), in.Own, string(to), unix.RENAME_NOREPLACE); err != nil {
		return err
	}
	t.shelf.Forget()
	return subvol.Commit(in.Own)
}

// finishDisowning goes on where a daemon did not come to the end of it.
func (t *Target) finishDisowning(in *standby.Into) error {
	list, err := subvol.Names(in.Own)
	if err != nil {
		return err
	}
	var all []error
	for _, name := range list {
		if _, err := uuid.Parse(name); err != nil {
			continue
		}
		f, err := facts.Open(in.Own, dataset.ID(name))
		if err != nil || f.AreNone() {
			continue
		}
		bound, found, err := sidecar.Read[dataset.Dataset](f.Dir, standby.ReplicaFile, sidecar.Replica, standby.ReplicaCure)
		f.Close()
		if err != nil || !found || string(bound.ID) == name {
			continue // what is damaged is told by who reads it
		}
		if _, err := uuid.Parse(string(bound.ID)); err != nil {
			continue
		}
		if err := t.rename(in, dataset.ID(name), bound.ID); err != nil {
			all = append(all, fmt.Errorf("finish disowning the replica of %s: %w", bound.Path, err))
		}
	}
	return errors.Join(all...)
}
