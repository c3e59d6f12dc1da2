package target

import (
	"context"
	"errors"
	"fmt"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/cli"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/prop"
	"antipode/fsdrivers/zfs/standby"
)

// Sweep implements fsdrivers.Sweeper. It ends receives that outlived their daemon,
// writes the times of points that a crash left without, finishes what Destroy
// began, drops partial state that nothing can go on from, and moves lineages to
// their place. It goes on after an error, and answers all.
func (t *Target) Sweep(ctx context.Context) error {
	all, err := t.into.Lineages(ctx, "")
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	var errs []error
	switch moved, err := t.finishMoves(ctx, all); {
	case err != nil:
		errs = append(errs, fmt.Errorf("sweep: %w", err))
		fallthrough
	case moved:
		if all, err = t.into.Lineages(ctx, ""); err != nil {
			return errors.Join(append(errs, fmt.Errorf("sweep: %w", err))...)
		}
	}
	done := make(map[dataset.Path]bool)
	for _, l := range all {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if done[l.Path] {
			continue
		}
		done[l.Path] = true
		if err := t.sweepReplica(ctx, l.Path); err != nil && !errors.Is(err, dataset.ErrBusy) {
			errs = append(errs, fmt.Errorf("sweep %s: %w", l.Path, err))
		}
	}
	return errors.Join(errs...)
}

func (t *Target) sweepReplica(ctx context.Context, d dataset.Path) error {
	release, err := t.into.Claim(d)
	if err != nil {
		return err
	}
	defer release()
	defer t.into.Changed(d)()
	lock, err := t.into.Lock(ctx, d)
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	r, err := t.into.Replica(ctx, d)
	if err != nil {
		return err
	}
	for _, l := range r.Lineages {
		if err := t.sweepLineage(ctx, l); err != nil {
			return err
		}
	}
	return t.settleAny(ctx, r)
}

func (t *Target) sweepLineage(ctx context.Context, l *standby.Lineage) error {
	if to := l.Prop(prop.Rewind); to != "" {
		if err := t.zfs.Rewind(ctx, l.Name, to); err != nil {
			return err
		}
	}
	if (l.Token() != "" || l.IsPartial()) && l.Checkpoint().IsZero() {
		t.log.Info().Str("dataset", l.Name).Msg("dropping partial state that nothing can go on from")
		return t.zfs.Abort(ctx, l.Name)
	}
	return t.adopt(ctx, l)
}

// adopt writes the times of a point that was complete when the daemon died.
func (t *Target) adopt(ctx context.Context, l *standby.Lineage) error {
	in := l.Incoming()
	if l.IsPartial() || l.Token() != "" || naming.Own(in.Name) != nil {
		return nil
	}
	full := l.Name + "@" + in.Name
	f, err := t.zfs.Get(ctx, prop.List("guid", prop.Received), []string{full})
	if err != nil {
		return cli.Unless(err, dataset.ErrNotFound)
	}
	if naming.IDOf(f.Number(full, "guid")) != in.To || f[full][prop.Received] != "" {
		return nil
	}
	return t.zfs.Set(ctx, full, prop.Created, prop.TextOf(in.Created), prop.Received, prop.TextOf(in.Begun), prop.Retain, prop.TextOf(in.Retain))
}

// settleAny moves a complete lineage of a replica that has none at its place.
func (t *Target) settleAny(ctx context.Context, r *standby.Replica) error {
	for _, l := range r.Lineages {
		if l.Name == r.Home {
			return nil
		}
		if !l.IsPartial() && l.Token() == "" {
			_, err := t.into.Settle(ctx, r.Path, l.Name)
			return err
		}
	}
	return nil
}
