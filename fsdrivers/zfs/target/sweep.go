package target

import (
	"context"
	"errors"
	"fmt"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/cli"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/prop"
)

// Sweep implements fsdrivers.Sweeper. It ends receives that outlived their daemon,
// writes the times of points that a crash left without, finishes what Destroy
// began, drops partial state that nothing can go on from, and moves lineages to
// their place. It goes on after an error, and answers all.
func (t *Target) Sweep(ctx context.Context) error {
	all, err := t.lineages(ctx, "")
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	var errs []error
	switch moved, err := t.finishMoves(ctx, all); {
	case err != nil:
		errs = append(errs, fmt.Errorf("sweep: %w", err))
		fallthrough
	case moved:
		if all, err = t.lineages(ctx, ""); err != nil {
			return errors.Join(append(errs, fmt.Errorf("sweep: %w", err))...)
		}
	}
	done := make(map[dataset.Path]bool)
	for _, l := range all {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if done[l.path] {
			continue
		}
		done[l.path] = true
		if err := t.sweepReplica(ctx, l.path); err != nil && !errors.Is(err, dataset.ErrBusy) {
			errs = append(errs, fmt.Errorf("sweep %s: %w", l.path, err))
		}
	}
	return errors.Join(errs...)
}

func (t *Target) sweepReplica(ctx context.Context, d dataset.Path) error {
	release, err := t.claim(d)
	if err != nil {
		return err
	}
	defer release()
	defer t.changed(d)()
	lock, err := t.lock(ctx, d)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	r, err := t.replica(ctx, d)
	if err != nil {
		return err
	}
	for _, l := range r.lineages {
		if err := t.sweepLineage(ctx, l); err != nil {
			return err
		}
	}
	return t.settleAny(ctx, r)
}

func (t *Target) sweepLineage(ctx context.Context, l *lineage) error {
	if to := l.prop(prop.Rewind); to != "" {
		if err := t.rewind(ctx, l.name, to); err != nil {
			return err
		}
	}
	if (l.token() != "" || l.isPartial()) && l.checkpoint().IsZero() {
		t.opts.Log.Info().Str("dataset", l.name).Msg("dropping partial state that nothing can go on from")
		return t.abort(ctx, l.name)
	}
	return t.adopt(ctx, l)
}

// adopt writes the times of a point that was complete when the daemon died.
func (t *Target) adopt(ctx context.Context, l *lineage) error {
	in := l.incoming()
	if l.isPartial() || l.token() != "" || naming.Own(in.Name) != nil {
		return nil
	}
	full := l.name + "@" + in.Name
	f, err := t.zfs.Get(ctx, prop.List("guid", prop.Received), []string{full})
	if err != nil {
		return cli.Unless(err, dataset.ErrNotFound)
	}
	if naming.IDOf(f.Number(full, "guid")) != in.To || f[full][prop.Received] != "" {
		return nil
	}
	return t.zfs.Set(ctx, full, prop.Created, prop.TextOf(in.Created), prop.Received, prop.TextOf(in.Begun), prop.Retain, prop.TextOf(in.Retain))
}

// settle moves the lineage name of d to its place, if that is free or only a
// placeholder is there, and returns where it is then. It does nothing while
// something below is changing, but what the caller has claimed itself.
func (t *Target) settle(ctx context.Context, d dataset.Path, name string, claimed ...dataset.Path) (string, error) {
	t.places.Lock()
	defer t.places.Unlock()
	home, err := t.targetName(d)
	if err != nil || t.isBusyBelow(d, claimed...) {
		return name, err
	}
	defer t.changed("")() // what is below a placeholder moves too
	if free, err := t.clear(ctx, home, name); !free || err != nil {
		return name, err
	}
	if err := t.zfs.MakeParents(ctx, t.opts.Into, home, holderProps("-o", prop.Placeholder+"="+prop.On)); err != nil {
		return name, err
	}
	if err := t.zfs.Rename(ctx, name, home); err != nil {
		return name, err
	}
	return home, nil
}

// settleAny moves a complete lineage of a replica that has none at its place.
func (t *Target) settleAny(ctx context.Context, r *replica) error {
	for _, l := range r.lineages {
		if l.name == r.home {
			return nil
		}
		if !l.isPartial() && l.token() == "" {
			_, err := t.settle(ctx, r.path, l.name)
			return err
		}
	}
	return nil
}

// clear makes sure that nothing is at home: what is in a placeholder there moves
// to below to, and it is removed. It reports false where something else is there.
func (t *Target) clear(ctx context.Context, home, to string) (free bool, err error) {
	f, err := t.zfs.Get(ctx, prop.List("guid", prop.Placeholder), []string{home}, "-d", "1", "-t", "filesystem,volume")
	if err != nil {
		err = cli.Unless(err, dataset.ErrNotFound)
		return err == nil, err
	}
	if !f.IsPlaceholder(home) {
		return false, nil
	}
	for name := range f {
		if !naming.IsBelow(home, name) {
			continue
		}
		if err := t.zfs.Rename(ctx, name, to+"/"+naming.LeafOf(name)); err != nil {
			return false, err
		}
	}
	// Without -r: it fails if anything is left in it.
	if _, err := t.zfs.Run(ctx, home, "destroy", home); cli.Unless(err, dataset.ErrNotFound) != nil {
		return false, fmt.Errorf("remove the placeholder %s: %w", home, err)
	}
	return true, nil
}
