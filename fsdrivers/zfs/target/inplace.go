package target

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
	"antipode/fsdrivers/zfs/stream"
)

// inert are the properties that keep a replica from acting by itself.
func inert(kind stream.Kind) []string {
	if kind == stream.Volume {
		return []string{"readonly=on", "volmode=none", "snapdev=hidden"}
	}
	return []string{
		"readonly=on", "canmount=noauto", "mountpoint=none", "setuid=off", "devices=off", "exec=off",
		"sharenfs=off", "sharesmb=off", "snapdir=hidden",
	}
}

// ActivateInPlace makes a replica itself live: nothing is copied, and what is
// written goes on from its newest point. Where Activate keeps a standby, this keeps
// none: nothing is received until Rest makes it one again. snap must be the newest
// point. Doing it again is success. Errors: ErrNotFound, ErrChanged, ErrDiverged
// (it is not the newest, or somebody wrote), ErrBusy.
func (t *Target) ActivateInPlace(ctx context.Context, d dataset.Path, snap dataset.Snapshot) (live fsdrivers.Activated, err error) {
	err = t.alone(ctx, d, func() error {
		l, err := t.lineageOf(ctx, d, snap)
		if err != nil {
			return err
		}
		if l.prop(prop.Live) != prop.On {
			err = t.mayGoLive(ctx, l, snap)
		}
		if err != nil {
			return err
		}
		live.Live = l.name
		return t.goLive(ctx, l)
	})
	if err != nil {
		return fsdrivers.Activated{}, fmt.Errorf("activate %s of %s in place: %w", snap.Name, d, err)
	}
	return live, nil
}

// alone keeps receives, sweeps and other daemons away from a replica.
func (t *Target) alone(ctx context.Context, d dataset.Path, do func() error) error {
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
	return errors.Join(do(), lock.Close())
}

// mayGoLive refuses a lineage that does not end with the snapshot, and drops what an
// unfinished receive left in it.
func (t *Target) mayGoLive(ctx context.Context, l *lineage, snap dataset.Snapshot) error {
	home, err := t.targetName(l.path)
	if err != nil {
		return err
	}
	if l.name != home {
		return fmt.Errorf("%s is not at its place, where another copy is: %w", l.name, dataset.ErrBusy)
	}
	if err := l.mustEndAt(snap.ID); err != nil {
		return err
	}
	if l.token() == "" {
		return nil
	}
	return t.abort(ctx, l.name)
}

// goLive takes away what keeps a lineage inert, and opens it.
func (t *Target) goLive(ctx context.Context, l *lineage) error {
	if err := t.wake(ctx, l); err != nil {
		return err
	}
	return t.zfs.Open(ctx, l.name, func() error { return t.zfs.Appear(ctx, l.name) })
}

func (t *Target) wake(ctx context.Context, l *lineage) error {
	if err := t.zfs.Set(ctx, l.name, prop.Live, prop.On, "readonly", "off"); err != nil {
		return err
	}
	if l.kind() == stream.Volume {
		return t.zfs.Set(ctx, l.name, "volmode", "default")
	}
	if err := t.zfs.Set(ctx, l.name, "mountpoint", "/"+t.live+"/"+t.relative(l.path)); err != nil {
		return err
	}
	return t.zfs.Set(ctx, l.name, "canmount", prop.On)
}

// mustEndAt refuses a lineage that holds anything after that point.
func (l *lineage) mustEndAt(id dataset.ID) error {
	all := l.snapshots()
	switch {
	case len(all) == 0 || all[len(all)-1].ID() != id:
		return fmt.Errorf("%s does not end with the snapshot %s: %w", l.name, id, dataset.ErrDiverged)
	case l.prop("written") != "0":
		return fmt.Errorf("something was written to %s after %s; look at `zfs diff`: %w", l.name, all[len(all)-1].Name, dataset.ErrDiverged)
	}
	return nil
}

// Rest makes a dataset that was activated in place a standby again. One that is
// none is success. Errors: ErrDiverged where something was written after its newest
// snapshot, ErrBusy while it is in use.
func (t *Target) Rest(ctx context.Context, d dataset.Path) error {
	err := t.alone(ctx, d, func() error {
		r, err := t.replica(ctx, d)
		if err == nil {
			err = t.listAll(ctx, r)
		}
		l := r.live()
		if err != nil || l == nil {
			return err
		}
		all := l.snapshots()
		if len(all) == 0 {
			return fmt.Errorf("%s has no snapshot: %w", l.name, dataset.ErrDiverged)
		}
		last := all[len(all)-1]
		if err := l.mustEndAt(last.ID()); err != nil && !l.writesWhenMounted() {
			return err
		}
		if err := t.rest(ctx, l, last); err != nil {
			return errors.Join(err, t.goLive(ctx, l)) // as it was
		}
		return t.zfs.Unset(ctx, l.name, prop.Live)
	})
	if err != nil {
		return fmt.Errorf("make %s a standby again: %w", d, err)
	}
	return nil
}

// rest makes a lineage inert that ends with last. Where an error comes back it may be
// half so.
func (t *Target) rest(ctx context.Context, l *lineage, last pool.Entry) error {
	if l.writesWhenMounted() {
		if err := t.mustBeSame(ctx, l, last); err != nil {
			return err
		}
		return t.settleDown(ctx, l)
	}
	if err := t.settleDown(ctx, l); err != nil {
		return err
	}
	return l.mustEndAt(last.ID())
}

// writesWhenMounted reports whether ZFS itself writes when the lineage is mounted: it
// does where it was received raw; presumably it counts only then what each user has.
func (l *lineage) writesWhenMounted() bool {
	return l.kind() == stream.Filesystem && l.prop(prop.Key) != ""
}

// mustBeSame keeps everybody from writing and compares files: other than the property
// written, that leaves out what ZFS counts for itself.
func (t *Target) mustBeSame(ctx context.Context, l *lineage, last pool.Entry) error {
	if err := t.zfs.Set(ctx, l.name, "readonly", prop.On); err != nil {
		return err
	}
	out, err := t.zfs.Run(ctx, l.name, "diff", "-H", last.Name, l.name)
	if err != nil {
		return fmt.Errorf("compare %s with %s: %w", l.name, last.Name, err)
	}
	if first, _, _ := strings.Cut(out, "\n"); first != "" {
		return fmt.Errorf("something was written to %s after %s (%s); look at `zfs diff`: %w", l.name, last.Name, strings.TrimSpace(first), dataset.ErrDiverged)
	}
	return nil
}

// live is the lineage that was activated in place, or nil.
func (r *replica) live() *lineage {
	if r == nil {
		return nil
	}
	for _, l := range r.lineages {
		if l.prop(prop.Live) == prop.On {
			return l
		}
	}
	return nil
}

// settleDown unmounts a lineage and makes it inert. What was written just before is
// known only then.
func (t *Target) settleDown(ctx context.Context, l *lineage) error {
	if l.kind() == stream.Filesystem {
		if _, err := t.zfs.Run(ctx, l.name, "unmount", l.name); cli.Unless(err, cli.ErrNothing) != nil {
			return err
		}
	}
	if _, err := t.zfs.Run(ctx, l.name, append(append([]string{"set"}, inert(l.kind())...), l.name)...); err != nil {
		return err
	}
	f, err := t.zfs.Get(ctx, "written", []string{l.name})
	if err != nil {
		return err
	}
	written := maps.Clone(l.facts[l.name])
	written["written"] = f[l.name]["written"]
	l.facts = pool.Facts{l.name: written}
	return nil
}
