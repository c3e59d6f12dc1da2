package activate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/internal/command"
	"antipode/fsdrivers/zfs/cli"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/pool"
	"antipode/fsdrivers/zfs/prop"
	"antipode/fsdrivers/zfs/standby"
	"antipode/fsdrivers/zfs/stream"
)

// Adopt makes a former primary on this host a standby of what took over from it, so
// that only an increment travels back. at is the dataset here, d what the new
// primary calls it, base the newest point that both have. What was written here
// after base is set aside as AT.ASIDE, with all its snapshots, and never destroyed.
// Datasets below at are adopted before it. Doing it again is success. Errors:
// ErrNotFound, ErrBaseMissing, ErrExists (the name to set aside, or a replica of
// d), ErrHeld (there are datasets below), ErrBusy (it is in use).
func (a *Activator) Adopt(ctx context.Context, d dataset.Dataset, at dataset.Path, base dataset.Snapshot, aside string) error {
	err := a.into.Alone(ctx, d.Path, func() error { return a.adoptOne(ctx, d, at, base, aside) })
	if err != nil {
		return fmt.Errorf("adopt %s as the replica of %s: %w", at, d.Path, err)
	}
	return nil
}

func (a *Activator) adoptOne(ctx context.Context, d dataset.Dataset, at dataset.Path, base dataset.Snapshot, aside string) error {
	name, err := naming.Dataset(at)
	if err != nil {
		return err
	}
	if naming.CheckPart(aside) != "" || strings.HasPrefix(aside, naming.Prefix) {
		return fmt.Errorf("cannot set aside as %q: want one part of a ZFS name that does not begin with %q: %w", aside, naming.Prefix, dataset.ErrRefused)
	}
	if what := naming.Check(name + "." + aside); what != "" || naming.PoolOf(name) != naming.PoolOf(a.into.Name) {
		return fmt.Errorf("%s.%s cannot be beside %s: %s (both are on one pool): %w", name, aside, a.into.Name, what, dataset.ErrRefused)
	}
	r, err := a.into.Replica(ctx, d.Path)
	if err != nil {
		return err
	}
	if len(r.Lineages) > 0 {
		if _, err := a.into.LineageOf(ctx, d.Path, base); err != nil {
			return fmt.Errorf("there is another replica of it: %w: %w", dataset.ErrExists, err)
		}
		return nil
	}
	one := adoption{by: a, d: d, at: name, fresh: name + "." + freshName, aside: name + "." + aside, base: base}
	if err := one.prepare(ctx); err != nil {
		return err
	}
	if err := one.register(ctx); err != nil {
		return err
	}
	if _, err = a.into.Settle(ctx, d.Path, one.fresh); err != nil {
		return err
	}
	return nil
}

// adoption goes by the names of three datasets, so that it is gone on from after a
// crash: what was there, what becomes the replica, and what is set aside.
type adoption struct {
	by               *Activator
	d                dataset.Dataset
	at, fresh, aside string
	base             dataset.Snapshot

	kind stream.Kind
	mark string
	raw  bool
}

// prepare brings about that fresh ends with the base, and is inert.
func (a *adoption) prepare(ctx context.Context) error {
	z := a.by.zfs
	f, err := z.Get(ctx, prop.List("guid", "type", "encryption", "written", prop.Mark), []string{a.at, a.fresh, a.aside}, "-d", "1", "-t", "filesystem,volume")
	if err != nil {
		return err
	}
	for name := range f {
		if naming.IsBelow(a.at, name) {
			return fmt.Errorf("%s is below it; adopt that first: %w", name, dataset.ErrHeld)
		}
	}
	from := a.at // where the mark is, and what kind of dataset it is
	for _, name := range []string{a.aside, a.fresh} {
		if f[from] == nil {
			from = name
		}
	}
	a.mark, a.raw = f[from][prop.Mark], f.IsEncrypted(from)
	a.kind = (&standby.Lineage{Name: from, Facts: f}).Kind()
	if f[a.at] == nil { // it was renamed before
		return nil
	}
	if f[a.fresh] == nil {
		if err := a.begin(ctx, f); err != nil || f[a.fresh] != nil {
			return err
		}
	}
	return a.split(ctx, f)
}

// begin unmounts the dataset and, if it ends with the base, renames it; else it
// makes the copy that ends there.
func (a *adoption) begin(ctx context.Context, f pool.Facts) error {
	z := a.by.zfs
	if f[a.aside] != nil {
		return fmt.Errorf("%s is there; choose another name to set aside, or rename it: %w", a.aside, dataset.ErrExists)
	}
	l := &standby.Lineage{Name: a.at, Facts: f}
	var err error
	if l.List, err = z.List(ctx, a.at); err != nil {
		return err
	}
	all := l.Snapshots()
	i := slices.IndexFunc(all, func(e pool.Entry) bool { return e.ID() == a.base.ID })
	if i < 0 {
		return fmt.Errorf("%s has no snapshot %s (%s): %w", a.at, a.base.Name, a.base.ID, dataset.ErrBaseMissing)
	}
	if err := a.by.settleDown(ctx, l); err != nil {
		return err
	}
	if mustEndAt(l, a.base.ID) == nil {
		f[a.fresh] = f[a.at]
		return z.Rename(ctx, a.at, a.fresh)
	}
	// What was written last is in no snapshot yet.
	short := a.aside[len(a.at)+1:]
	if _, err := z.Run(ctx, a.at, "snapshot", a.at+"@"+short); cli.Unless(err, dataset.ErrExists) != nil {
		return err
	}
	args := []string{"clone"}
	for _, p := range standby.Inert(a.kind) {
		args = append(args, "-o", p)
	}
	_, err = z.Run(ctx, a.fresh, append(args, all[i].Name, a.fresh)...)
	return err
}

// split gives the copy all that came before the base, and sets the rest aside.
func (a *adoption) split(ctx context.Context, f pool.Facts) error {
	z := a.by.zfs
	all, err := z.List(ctx, a.fresh)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(all, func(e pool.Entry) bool { return e.IsSnapshot() && e.ID() == a.base.ID }) {
		if _, err := z.Run(ctx, a.fresh, "promote", a.fresh); err != nil {
			return fmt.Errorf("promote %s: %w", a.fresh, err)
		}
	}
	if f[a.aside] != nil {
		return fmt.Errorf("%s is there; rename it: %w", a.aside, dataset.ErrExists)
	}
	return z.Rename(ctx, a.at, a.aside)
}

// register writes down whose replica it is, and when its points came.
func (a *adoption) register(ctx context.Context) error {
	z := a.by.zfs
	all, err := z.List(ctx, a.fresh)
	if err != nil {
		return err
	}
	points := pool.Names(pool.Ours(all, false))
	received := prop.Received + "=" + prop.TextOf(a.by.now())
	err = cli.InBatches(points, func(some []string) error {
		_, err := z.Run(ctx, a.fresh, append([]string{"set", received}, some...)...)
		return err
	})
	if err != nil {
		return err
	}
	props := []string{prop.Path, string(a.d.Path), prop.Source, string(a.d.ID)}
	if a.mark != "" {
		props = append(props, prop.Mark, a.mark)
	}
	if a.raw {
		key, err := a.key(ctx, all)
		if err != nil {
			return err
		}
		props = append(props, prop.Key, key.String())
	}
	return z.Set(ctx, a.fresh, props...)
}

// key is the wrapped key that the dataset has here, as a raw stream shows it: a
// step with another one is refused from the first.
func (a *adoption) key(ctx context.Context, all []pool.Entry) (stream.Key, error) {
	i := slices.IndexFunc(all, func(e pool.Entry) bool { return e.IsSnapshot() && e.ID() == a.base.ID })
	if i < 0 {
		return stream.Key{}, fmt.Errorf("%s has no snapshot %s: %w", a.fresh, a.base.Name, dataset.ErrBaseMissing)
	}
	c, err := a.by.zfs.Start(ctx, a.fresh, command.Spec{Args: []string{"send", "-w", all[i].Name}})
	if err != nil {
		return stream.Key{}, err
	}
	head, err := stream.Head(stream.NewReader(c.Output()))
	return head.Key, errors.Join(err, a.by.zfs.End(c, a.fresh, nil))
}
