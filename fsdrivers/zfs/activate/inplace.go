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

var _ fsdrivers.InPlacer = (*Activator)(nil)

// MayActivateInPlace implements fsdrivers.InPlacer.
func (a *Activator) MayActivateInPlace(ctx context.Context, d dataset.Path, snap dataset.Snapshot) error {
	a.into.Places.RLock()
	defer a.into.Places.RUnlock()
	l, err := a.into.LineageOf(ctx, d, snap)
	if err == nil && l.Prop(prop.Live) != prop.On {
		err = a.mayGoLive(ctx, l, snap)
	}
	if err != nil {
		return fmt.Errorf("activate %s of %s in place: %w", snap.Name, d, err)
	}
	return nil
}

// ActivateInPlace implements fsdrivers.InPlacer: nothing is copied, and what is
// written goes on from the newest point. Where Activate keeps a standby, this keeps
// none. What an unfinished receive left is given up.
func (a *Activator) ActivateInPlace(ctx context.Context, d dataset.Path, snap dataset.Snapshot) (live fsdrivers.Activated, err error) {
	err = a.into.Alone(ctx, d, func() error {
		l, err := a.into.LineageOf(ctx, d, snap)
		if err != nil {
			return err
		}
		if l.Prop(prop.Live) != prop.On {
			err = a.mayGoLive(ctx, l, snap)
		}
		if err == nil && l.Token() != "" {
			err = a.zfs.Abort(ctx, l.Name)
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

// mayGoLive refuses a lineage that does not end with the snapshot, is not at its
// place, or would be mounted over a copy that went live.
func (a *Activator) mayGoLive(ctx context.Context, l *standby.Lineage, snap dataset.Snapshot) error {
	home, err := a.into.Home(l.Path)
	if err != nil {
		return err
	}
	if l.Name != home {
		return fmt.Errorf("%s is not at its place %s: another copy is there, or it could not be moved, and the log says why: %w", l.Name, home, dataset.ErrBusy)
	}
	if err := mustEndAt(l, snap.ID); err != nil {
		return err
	}
	copied := a.into.Live + "/" + a.into.Relative(l.Path)
	f, err := a.zfs.Get(ctx, prop.List("guid", prop.Placeholder), []string{copied})
	if cli.Unless(err, dataset.ErrNotFound) != nil {
		return err
	}
	if f[copied] != nil && !f.IsPlaceholder(copied) {
		return fmt.Errorf("%s went live before as a copy, and would be hidden; rename it: %w", copied, dataset.ErrExists)
	}
	return nil
}

// goLive takes away what keeps a lineage inert, and opens it.
func (a *Activator) goLive(ctx context.Context, l *standby.Lineage) error {
	if err := a.wake(ctx, l); err != nil {
		return err
	}
	return a.zfs.Open(ctx, l.Name, func() error { return a.zfs.Appear(ctx, l.Name) })
}

// wake takes away what inert set. What shows that it was done comes last: from then on
// where it is mounted is the operator's affair, and a restart leaves that alone.
func (a *Activator) wake(ctx context.Context, l *standby.Lineage) error {
	f, err := a.zfs.Get(ctx, "canmount,volmode,readonly", []string{l.Name})
	if err != nil {
		return err
	}
	isVolume := l.Kind() == stream.Volume
	if l.Prop(prop.Live) == prop.On && (f[l.Name]["canmount"] == prop.On || isVolume && f[l.Name]["volmode"] != "none") {
		if f[l.Name]["readonly"] != prop.On {
			return nil
		}
		return a.zfs.Set(ctx, l.Name, "readonly", "off") // a Rest did not come to its end
	}
	if isVolume {
		if err := a.zfs.Set(ctx, l.Name, prop.Live, prop.On, "readonly", "off"); err != nil {
			return err
		}
		return a.zfs.Set(ctx, l.Name, "volmode", "default")
	}
	if err := a.zfs.Set(ctx, l.Name, prop.Live, prop.On, "readonly", "off", "exec", prop.On, "setuid", prop.On, "devices", prop.On); err != nil {
		return err
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

// Rest implements fsdrivers.InPlacer.
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
		return a.restRaw(ctx, l, last)
	}
	if l.Kind() == stream.Filesystem { // where it is mounted is kept, if it has to go on
		if err := a.unmount(ctx, l); err != nil {
			return err
		}
		if err := mustEndAt(l, last.ID()); err != nil {
			return err
		}
	}
	if err := a.settleDown(ctx, l); err != nil {
		return err
	}
	return mustEndAt(l, last.ID())
}

// restRaw goes by the files, and then takes back what ZFS wrote for itself: else the
// lineage would count as written to.
func (a *Activator) restRaw(ctx context.Context, l *standby.Lineage, last pool.Entry) error {
	if err := a.mustBeSame(ctx, l, last); err != nil {
		return err
	}
	if err := a.settleDown(ctx, l); err != nil || l.Prop("written") == "0" {
		return err
	}
	_, err := a.zfs.Run(ctx, l.Name, "rollback", last.Name)
	return err
}

// writesWhenMounted reports whether ZFS itself writes when the lineage is mounted: it
// does where it was received raw; presumably it counts only then what each user has.
func writesWhenMounted(l *standby.Lineage) bool {
	return l.Kind() == stream.Filesystem && l.Prop(prop.Key) != ""
}

// mustBeSame keeps everybody from writing and compares files: other than the property
// written, that leaves out what ZFS counts for itself. It is mounted anew in between,
// read-only: what a program has mapped into its memory is written at an unmount.
func (a *Activator) mustBeSame(ctx context.Context, l *standby.Lineage, last pool.Entry) error {
	if err := a.zfs.Set(ctx, l.Name, "readonly", prop.On); err != nil {
		return err
	}
	if err := a.unmount(ctx, l); err != nil {
		return err
	}
	if err := a.zfs.Appear(ctx, l.Name); err != nil {
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

// settleDown unmounts a lineage and makes it inert.
func (a *Activator) settleDown(ctx context.Context, l *standby.Lineage) error {
	if l.Kind() == stream.Filesystem {
		if err := a.unmount(ctx, l); err != nil {
			return err
		}
	}
	if _, err := a.zfs.Run(ctx, l.Name, append(append([]string{"set"}, standby.Inert(l.Kind())...), l.Name)...); err != nil {
		return err
	}
	return a.readWritten(ctx, l)
}

// unmount has all that was written go to the pool: what was written last is known only
// then.
func (a *Activator) unmount(ctx context.Context, l *standby.Lineage) error {
	if _, err := a.zfs.Run(ctx, l.Name, "unmount", l.Name); cli.Unless(err, cli.ErrNothing) != nil {
		return err
	}
	return a.readWritten(ctx, l)
}

func (a *Activator) readWritten(ctx context.Context, l *standby.Lineage) error {
	f, err := a.zfs.Get(ctx, "written", []string{l.Name})
	if err != nil {
		return err
	}
	written := maps.Clone(l.Facts[l.Name])
	written["written"] = f[l.Name]["written"]
	l.Facts = pool.Facts{l.Name: written}
	return nil
}
