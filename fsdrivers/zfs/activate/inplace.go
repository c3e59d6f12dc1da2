package activate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/cli"
	"antipode/fsdrivers/zfs/pool"
	"antipode/fsdrivers/zfs/prop"
	"antipode/fsdrivers/zfs/standby"
	"antipode/fsdrivers/zfs/stream"
)

// ActivateInPlace makes a replica itself live: nothing is copied, and what is
// written goes on from its newest point. Where Activate keeps a standby, this keeps
// none: nothing is received until Rest makes it one again. snap must be the newest
// point. Doing it again is success. Errors: ErrNotFound, ErrChanged, ErrDiverged
// (it is not the newest, or somebody wrote), ErrBusy.
func (a *Activator) ActivateInPlace(ctx context.Context, d dataset.Path, snap dataset.Snapshot) (live fsdrivers.Activated, err error) {
	err = a.into.Alone(ctx, d, func() error {
		l, err := a.into.LineageOf(ctx, d, snap)
		if err != nil {
			return err
		}
		if l.Prop(prop.Live) != prop.On {
			err = a.mayGoLive(ctx, l, snap)
		}
		if err != nil {
			return err
		}
		live.Live = l.Name
		return a.goLive(ctx, l)
	})
	if err != nil {
		return fsdrivers.Activated{}, fmt.Errorf("activate %s of %s in place: %w", snap.Name, d, err)
	}
	return live, nil
}

// mayGoLive refuses a lineage that does not end with the snapshot, and drops what an
// unfinished receive left in it.
func (a *Activator) mayGoLive(ctx context.Context, l *standby.Lineage, snap dataset.Snapshot) error {
	home, err := a.into.Home(l.Path)
	if err != nil {
		return err
	}
	if l.Name != home {
		return fmt.Errorf("%s is not at its place, where another copy is: %w", l.Name, dataset.ErrBusy)
	}
	if err := mustEndAt(l, snap.ID); err != nil {
		return err
	}
	if l.Token() == "" {
		return nil
	}
	return a.zfs.Abort(ctx, l.Name)
}

// goLive takes away what keeps a lineage inert, and opens it.
func (a *Activator) goLive(ctx context.Context, l *standby.Lineage) error {
	if err := a.wake(ctx, l); err != nil {
		return err
	}
	return a.zfs.Open(ctx, l.Name, func() error { return a.zfs.Appear(ctx, l.Name) })
}

func (a *Activator) wake(ctx context.Context, l *standby.Lineage) error {
	if err := a.zfs.Set(ctx, l.Name, prop.Live, prop.On, "readonly", "off"); err != nil {
		return err
	}
	if l.Kind() == stream.Volume {
		return a.zfs.Set(ctx, l.Name, "volmode", "default")
	}
	if err := a.zfs.Set(ctx, l.Name, "mountpoint", "/"+a.into.Live+"/"+a.into.Relative(l.Path)); err != nil {
		return err
	}
	return a.zfs.Set(ctx, l.Name, "canmount", prop.On)
}

// mustEndAt refuses a lineage that holds anything after that point.
func mustEndAt(l *standby.Lineage, id dataset.ID) error {
	all := l.Snapshots()
	switch {
	case len(all) == 0 || all[len(all)-1].ID() != id:
		return fmt.Errorf("%s does not end with the snapshot %s: %w", l.Name, id, dataset.ErrDiverged)
	case l.Prop("written") != "0":
		return fmt.Errorf("something was written to %s after %s; look at `zfs diff`: %w", l.Name, all[len(all)-1].Name, dataset.ErrDiverged)
	}
	return nil
}

// Rest makes a dataset that was activated in place a standby again. One that is
// none is success. Errors: ErrDiverged where something was written after its newest
// snapshot, ErrBusy while it is in use.
func (a *Activator) Rest(ctx context.Context, d dataset.Path) error {
	err := a.into.Alone(ctx, d, func() error {
		r, err := a.into.Replica(ctx, d)
		if err == nil {
			err = a.into.ListAll(ctx, r)
		}
		l := r.Live()
		if err != nil || l == nil {
			return err
		}
		all := l.Snapshots()
		if len(all) == 0 {
			return fmt.Errorf("%s has no snapshot: %w", l.Name, dataset.ErrDiverged)
		}
		last := all[len(all)-1]
		if err := mustEndAt(l, last.ID()); err != nil && !writesWhenMounted(l) {
			return err
		}
		if err := a.rest(ctx, l, last); err != nil {
			return errors.Join(err, a.goLive(ctx, l)) // as it was
		}
		return a.zfs.Unset(ctx, l.Name, prop.Live)
	})
	if err != nil {
		return fmt.Errorf("make %s a standby again: %w", d, err)
	}
	return nil
}

// rest makes a lineage inert that ends with last. Where an error comes back it may be
// half so.
func (a *Activator) rest(ctx context.Context, l *standby.Lineage, last pool.Entry) error {
	if writesWhenMounted(l) {
		if err := a.mustBeSame(ctx, l, last); err != nil {
			return err
		}
		return a.settleDown(ctx, l)
	}
	if err := a.settleDown(ctx, l); err != nil {
		return err
	}
	return mustEndAt(l, last.ID())
}

// writesWhenMounted reports whether ZFS itself writes when the lineage is mounted: it
// does where it was received raw; presumably it counts only then what each user has.
func writesWhenMounted(l *standby.Lineage) bool {
	return l.Kind() == stream.Filesystem && l.Prop(prop.Key) != ""
}

// mustBeSame keeps everybody from writing and compares files: other than the property
// written, that leaves out what ZFS counts for itself.
func (a *Activator) mustBeSame(ctx context.Context, l *standby.Lineage, last pool.Entry) error {
	if err := a.zfs.Set(ctx, l.Name, "readonly", prop.On); err != nil {
		return err
	}
	out, err := a.zfs.Run(ctx, l.Name, "diff", "-H", last.Name, l.Name)
	if err != nil {
		return fmt.Errorf("compare %s with %s: %w", l.Name, last.Name, err)
	}
	if first, _, _ := strings.Cut(out, "\n"); first != "" {
		return fmt.Errorf("something was written to %s after %s (%s); look at `zfs diff`: %w", l.Name, last.Name, strings.TrimSpace(first), dataset.ErrDiverged)
	}
	return nil
}

// settleDown unmounts a lineage and makes it inert. What was written just before is
// known only then.
func (a *Activator) settleDown(ctx context.Context, l *standby.Lineage) error {
	if l.Kind() == stream.Filesystem {
		if _, err := a.zfs.Run(ctx, l.Name, "unmount", l.Name); cli.Unless(err, cli.ErrNothing) != nil {
			return err
		}
	}
	if _, err := a.zfs.Run(ctx, l.Name, append(append([]string{"set"}, standby.Inert(l.Kind())...), l.Name)...); err != nil {
		return err
	}
	f, err := a.zfs.Get(ctx, "written", []string{l.Name})
	if err != nil {
		return err
	}
	written := maps.Clone(l.Facts[l.Name])
	written["written"] = f[l.Name]["written"]
	l.Facts = pool.Facts{l.Name: written}
	return nil
}
