package target

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/pool"
	"antipode/fsdrivers/zfs/prop"
	"antipode/fsdrivers/zfs/standby"
)

var _ fsdrivers.Disowner = (*Target)(nil)

// Disown implements fsdrivers.Disowner by the property that says what a lineage was
// received from. Of several lineages a crash leaves some that say so already: the
// same call goes on with the identity that these have.
func (t *Target) Disown(ctx context.Context, d dataset.Dataset) (id dataset.ID, err error) {
	if _, err := t.into.Home(d.Path); err != nil {
		return "", fmt.Errorf("disown the replica of %s: %w: %w", d.Path, dataset.ErrNotFound, err)
	}
	defer t.into.Changed("")()
	err = t.into.Alone(ctx, d.Path, func() error {
		id, err = t.disown(ctx, d)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("disown the replica of %s (%s): %w", d.Path, d.ID, err)
	}
	return id, nil
}

func (t *Target) disown(ctx context.Context, d dataset.Dataset) (dataset.ID, error) {
	all, err := t.into.Lineages(ctx, "")
	if err != nil {
		return "", err
	}
	there := slices.DeleteFunc(all, func(l *standby.Lineage) bool { return l.Path != d.Path })
	var id dataset.ID
	var mine []*standby.Lineage
	for _, l := range there {
		switch {
		case l.Prop(prop.Live) == prop.On:
			return "", fmt.Errorf("%s was activated in place, and is live: %w", l.Name, dataset.ErrRefused)
		case l.Prop(prop.Move) != "":
			return "", fmt.Errorf("%s is on its way to another path: %w", l.Name, dataset.ErrBusy)
		case l.Source == d.ID:
			mine = append(mine, l)
		case !l.IsPartial():
			id = l.Source
		}
	}
	if mine, err = t.giveUp(ctx, mine); err != nil {
		return "", err
	}
	if len(mine) == 0 {
		return "", dataset.ErrNotFound
	}
	if id.IsZero() {
		if id, err = t.strangerOf(ctx, d, mine); err != nil {
			return "", err
		}
	}
	for _, l := range mine {
		if err := t.zfs.Set(ctx, l.Name, prop.Source, string(id)); err != nil {
			return "", err
		}
	}
	return id, nil
}

// strangerOf is the identity that the replica gets: one that follows from its own and
// its newest point, so that no two of one dataset get the same.
func (t *Target) strangerOf(ctx context.Context, d dataset.Dataset, mine []*standby.Lineage) (dataset.ID, error) {
	var newest pool.Entry
	for _, l := range mine {
		list, err := t.zfs.List(ctx, l.Name)
		if err != nil {
			return "", err
		}
		for _, e := range pool.Ours(list, false) {
			if e.TXG >= newest.TXG {
				newest = e
			}
		}
	}
	if newest.GUID == 0 {
		return "", fmt.Errorf("it holds no points: %w", dataset.ErrNotFound)
	}
	sum := sha256.Sum256([]byte(string(d.ID) + " " + string(newest.ID())))
	return naming.IDOf(binary.BigEndian.Uint64(sum[:]) | 1), nil // not 0, which is no identity
}
