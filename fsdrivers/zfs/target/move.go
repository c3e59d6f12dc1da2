package target

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/cli"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/prop"
	"antipode/fsdrivers/zfs/standby"
)

var _ fsdrivers.Mover = (*Target)(nil)

// movedName begins the name, in Into.Own, of a lineage that left its place; the GUID of
// its dataset follows.
const movedName = "moved-"

// Move implements fsdrivers.Mover. Whose a lineage is follows from its properties, so
// a move is a matter of these: first where to, on one of the lineages, the anchor;
// then, when none is at the old place any more, the new path, the anchor's last. A
// crash leaves the replica whole under one of both paths once Sweep, which goes on
// from the anchor, has been.
func (t *Target) Move(ctx context.Context, d dataset.Dataset, to dataset.Path) error {
	for _, path := range []dataset.Path{d.Path, to} {
		if _, err := t.into.Home(path); err != nil {
			return fmt.Errorf("move the replica of %s: %w", d.Path, err)
		}
	}
	if err := t.aloneInBoth(ctx, d.Path, to, func() error { return t.move(ctx, d, to) }); err != nil {
		return fmt.Errorf("move the replica of %s to %s: %w", d.Path, to, err)
	}
	return nil
}

func (t *Target) aloneInBoth(ctx context.Context, from, to dataset.Path, do func() error) error {
	defer t.into.Changed("")()
	if from == to {
		return t.into.Alone(ctx, from, do)
	}
	return t.into.Alone(ctx, from, func() error { return t.into.Alone(ctx, to, do) })
}

func (t *Target) move(ctx context.Context, d dataset.Dataset, to dataset.Path) error {
	all, err := t.into.Lineages(ctx, "")
	if err != nil {
		return err
	}
	mine := slices.DeleteFunc(slices.Clone(all), func(l *standby.Lineage) bool { return l.Source != d.ID || l.Path != d.Path })
	switch there := slices.ContainsFunc(all, func(l *standby.Lineage) bool { return l.Source == d.ID && l.Path == to }); {
	case there && (len(mine) == 0 || d.Path == to):
		return nil
	case len(mine) == 0:
		return fmt.Errorf("nothing below %s was received of dataset %s under that path: %w", t.into.Name, d.ID, dataset.ErrNotFound)
	}
	for _, l := range mine {
		if l.Prop(prop.Live) == prop.On {
			return fmt.Errorf("%s was activated in place, and is live: %w", l.Name, dataset.ErrRefused)
		}
	}
	if t.into.IsBusyBelow(d.Path, to) {
		return fmt.Errorf("something below %s is being received: %w", d.Path, dataset.ErrBusy)
	}
	if err := t.vacant(ctx, all, d.ID, to); err != nil {
		return err
	}
	if mine, err = t.giveUp(ctx, mine); len(mine) == 0 || err != nil {
		return err
	}
	if err := t.zfs.Set(ctx, mine[0].Name, prop.Move, string(to)); err != nil {
		return err
	}
	return t.finishMove(ctx, mine, d.Path, to)
}

// vacant makes sure that no other dataset has a replica under a path. What was only
// begun of one is given up.
func (t *Target) vacant(ctx context.Context, all []*standby.Lineage, but dataset.ID, to dataset.Path) error {
	theirs := slices.DeleteFunc(slices.Clone(all), func(l *standby.Lineage) bool { return l.Path != to || l.Source == but })
	for _, l := range theirs {
		if !l.IsPartial() {
			return fmt.Errorf("%s is the replica of another dataset, %s: %w", l.Name, l.Source, dataset.ErrExists)
		}
	}
	_, err := t.giveUp(ctx, theirs)
	return err
}

// giveUp drops unfinished receives, and returns the lineages that have points.
func (t *Target) giveUp(ctx context.Context, some []*standby.Lineage) ([]*standby.Lineage, error) {
	var left []*standby.Lineage
	for _, l := range some {
		if l.Token() != "" || l.IsPartial() {
			if err := t.zfs.Abort(ctx, l.Name); err != nil {
				return nil, err
			}
		}
		if !l.IsPartial() {
			left = append(left, l)
		}
	}
	return left, nil
}

// finishMove goes on with a move that is written down on the first of the lineages.
func (t *Target) finishMove(ctx context.Context, mine []*standby.Lineage, from, to dataset.Path) error {
	names, err := t.changePath(ctx, mine, from, to)
	if err != nil {
		return err
	}
	if _, err := t.into.Settle(ctx, to, names[0], from); err != nil { // it is found where it is; the next sweep tries again
		t.log.Warn().Err(err).Str("dataset", names[0]).Msg("a replica is not at its place yet")
	}
	return nil
}

// changePath takes lineages out of the place of their old path, says on them what
// their new one is, and returns their names.
func (t *Target) changePath(ctx context.Context, mine []*standby.Lineage, from, to dataset.Path) ([]string, error) {
	t.into.Places.Lock()
	defer t.into.Places.Unlock()
	names := make([]string, len(mine))
	for i, l := range mine {
		var err error
		if names[i], err = t.takeOut(ctx, l, from, to); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Backward(names) { // the anchor's is the last
		if err := t.zfs.Set(ctx, name, prop.Path, string(to)); err != nil {
			return nil, err
		}
	}
	return names, t.zfs.Unset(ctx, names[0], prop.Move)
}

// takeOut moves a lineage that is at the place of its path to Into.Own. What is below that
// place, and goes with it, comes back.
func (t *Target) takeOut(ctx context.Context, l *standby.Lineage, from, to dataset.Path) (string, error) {
	home, err := t.into.Home(from)
	if err != nil {
		return "", err
	}
	out := t.into.Own() + "/" + movedName + fmt.Sprintf("%016x", l.Facts.Number(l.Name, "guid"))
	switch l.Name {
	case home:
		if t.into.IsBusyBelow(from, to) {
			return "", fmt.Errorf("something below %s is being received: %w", home, dataset.ErrBusy)
		}
		if err := t.zfs.Rename(ctx, home, out); err != nil {
			return "", err
		}
	case out: // a move was cut off
	default:
		return l.Name, nil
	}
	below, err := t.zfs.Get(ctx, "guid", []string{out}, "-d", "1", "-t", "filesystem,volume")
	if err != nil {
		return "", err
	}
	for name := range below {
		if name == out {
			continue
		}
		back := home + "/" + naming.LeafOf(name)
		if err := t.into.MakeParents(ctx, back); err != nil {
			return "", err
		}
		if err := t.zfs.Rename(ctx, name, back); err != nil {
			return "", err
		}
	}
	return out, nil
}

// finishMoves goes on with moves that a daemon did not come to the end of, before
// anything takes a replica's points for gone. It reports whether there were any.
func (t *Target) finishMoves(ctx context.Context, all []*standby.Lineage) (any bool, err error) {
	var errs []error
	for _, anchor := range all {
		to := dataset.Path(anchor.Prop(prop.Move))
		if to == "" {
			continue
		}
		if _, err := t.into.Home(to); err != nil {
			errs = append(errs, fmt.Errorf("%s of %s: %w", prop.Move, anchor.Name, err))
			continue
		}
		any = true
		err := t.aloneInBoth(ctx, anchor.Path, to, func() error {
			if anchor.Path == to {
				return t.zfs.Unset(ctx, anchor.Name, prop.Move)
			}
			mine := []*standby.Lineage{anchor}
			for _, l := range all {
				if l != anchor && l.Source == anchor.Source && l.Path == anchor.Path {
					mine = append(mine, l)
				}
			}
			return t.finishMove(ctx, mine, anchor.Path, to)
		})
		if cli.Unless(err, dataset.ErrBusy) != nil { // busy: it is being moved
			errs = append(errs, fmt.Errorf("finish moving the replica of %s to %s: %w", anchor.Path, to, err))
		}
	}
	return any, errors.Join(errs...)
}
