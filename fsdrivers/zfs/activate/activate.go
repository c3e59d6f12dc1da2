// Package activate makes a replica live, as a clone or in place, and takes what was live back: an
// activated one becomes a standby again, a former primary a replica of what took over from it.
package activate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/cli"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/pool"
	"antipode/fsdrivers/zfs/prop"
	"antipode/fsdrivers/zfs/standby"
	"antipode/fsdrivers/zfs/stream"
)

// Activator makes replicas live and takes what was live back.
type Activator struct {
	into *standby.Into
	zfs  *pool.Host
	now  func() time.Time
}

// New makes one for replicas of in; now is the clock that points are stamped with.
func New(in *standby.Into, zfs *pool.Host, now func() time.Time) Activator {
	return Activator{into: in, zfs: zfs, now: now}
}

// activation is what the newest activation of a replica wants, and how far it
// came. It makes a repeated call recognise its own work.
type activation struct {
	Snapshot dataset.ID `json:"snapshot"`
	Aside    string     `json:"aside"`
	// Copy is the identity of the clone; zero until it is made.
	Copy dataset.ID `json:"copy,omitzero"`
}

// Activate implements fsdrivers.Activator with a clone of the point, so that the
// replica stays what it is: inert, and the base of what may still come. The clone
// gets a bookmark of the point, which makes it an ordinary source for the way
// back: an increment from its origin itself would be a stream that asks to be
// received as a clone.
//
// What was live is renamed, with all that is below it: activate an outer dataset
// before the ones in it.
func (a *Activator) Activate(ctx context.Context, d dataset.Path, snap dataset.Snapshot, aside string) (fsdrivers.Activated, error) {
	done, err := a.activate(ctx, d, snap, aside)
	if err != nil {
		return fsdrivers.Activated{}, fmt.Errorf("activate %s of %s: %w", snap.Name, d, err)
	}
	return done, nil
}

func (a *Activator) activate(ctx context.Context, d dataset.Path, snap dataset.Snapshot, aside string) (done fsdrivers.Activated, err error) {
	if _, err := dataset.ParseName(aside); err != nil || naming.CheckPart(aside) != "" || strings.HasPrefix(aside, naming.Prefix) {
		return done, fmt.Errorf("cannot set aside as %q: want one part of a ZFS name that does not begin with %q: %w", aside, naming.Prefix, dataset.ErrRefused)
	}
	if _, err := a.into.Home(d); err != nil {
		return done, err
	}
	live := a.into.Live + "/" + a.into.Relative(d)
	if what := naming.Check(live + "." + aside); what != "" {
		return done, fmt.Errorf("%s.%s: %s: %w", live, aside, what, dataset.ErrRefused)
	}
	a.into.Places.Lock()
	defer a.into.Places.Unlock()
	defer a.into.Changed(d)()
	l, err := a.into.LineageOf(ctx, d, snap)
	if err != nil {
		if _, gerr := naming.GUIDOf(snap.ID); gerr != nil {
			err = errors.Join(dataset.ErrNotFound, err)
		}
		return done, err
	}
	r, err := a.into.Replica(ctx, d)
	if err != nil {
		return done, err
	}
	if l := r.Live(); l != nil {
		return done, fmt.Errorf("%s was activated in place; a copy would have its mount point: %w", l.Name, dataset.ErrExists)
	}
	p := &place{by: a, from: l, replica: r, snap: snap, live: live}
	p.aside = p.live + "." + aside
	p.fresh = p.live + "." + freshName
	if err := p.activate(ctx, activation{Snapshot: snap.ID, Aside: aside}); err != nil {
		return done, err
	}
	return p.result(ctx)
}

// freshName is behind the name of a clone that is not live yet.
const freshName = "antipode_fresh"

// place is where a dataset goes live.
type place struct {
	by      *Activator
	from    *standby.Lineage
	replica *standby.Replica
	snap    dataset.Snapshot

	live, aside, fresh string // names of datasets
}

// activate brings the record, the clone and the renaming about, each unless it was
// done before.
func (p *place) activate(ctx context.Context, want activation) error {
	have, on := p.recorded()
	if have.Snapshot != want.Snapshot || have.Aside != want.Aside {
		if err := p.begin(ctx, want); err != nil {
			return err
		}
		have, on = want, p.from.Name
	}
	if have.Copy.IsZero() {
		var err error
		if have.Copy, err = p.clone(ctx); err != nil {
			return err
		}
		if err := p.write(ctx, on, have); err != nil {
			return err
		}
	}
	now, err := p.identities(ctx)
	if err != nil {
		return err
	}
	switch {
	case now[p.live] == have.Copy:
	case now[p.fresh] == have.Copy:
		if err := p.exchange(ctx, now); err != nil {
			return err
		}
	default:
		return fmt.Errorf("neither %s nor %s is the clone that was made; look at both, and activate again with another name to set aside: %w",
			p.live, p.fresh, dataset.ErrExists)
	}
	return p.mount(ctx)
}

// recorded is the activation that was written down last, and where.
func (p *place) recorded() (a activation, on string) {
	for _, l := range p.replica.Lineages {
		if text := l.Prop(prop.Activation); text != "" && json.Unmarshal([]byte(text), &a) == nil {
			return a, l.Name
		}
	}
	return activation{}, ""
}

// write puts the record on one lineage and takes it off the others.
func (p *place) write(ctx context.Context, on string, a activation) error {
	text, err := json.Marshal(a)
	if err != nil {
		return err
	}
	if err := p.by.zfs.Set(ctx, on, prop.Activation, string(text)); err != nil {
		return err
	}
	for _, l := range p.replica.Lineages {
		if l.Name != on && l.Prop(prop.Activation) != "" {
			if err := p.by.zfs.Unset(ctx, l.Name, prop.Activation); err != nil {
				return err
			}
		}
	}
	return nil
}

// begin records what is wanted, while nothing has the names that it will use.
func (p *place) begin(ctx context.Context, want activation) error {
	now, err := p.identities(ctx)
	if err != nil {
		return err
	}
	for _, name := range []string{p.aside, p.fresh} {
		if now[name] != "" {
			return fmt.Errorf("%s is there; choose another name to set aside, or rename it: %w", name, dataset.ErrExists)
		}
	}
	return p.write(ctx, p.from.Name, want)
}

// identities tells what is at the three names.
func (p *place) identities(ctx context.Context) (map[string]dataset.ID, error) {
	found := make(map[string]dataset.ID)
	f, err := p.by.zfs.Get(ctx, "guid", []string{p.live, p.aside, p.fresh}, "-t", "filesystem,volume")
	for name := range f {
		found[name] = naming.IDOf(f.Number(name, "guid"))
	}
	return found, cli.Unless(err, dataset.ErrNotFound)
}

// clone makes the writable copy, with the base for the way back in it.
func (p *place) clone(ctx context.Context) (dataset.ID, error) {
	if err := p.by.makeLive(ctx, p.live); err != nil {
		return "", err
	}
	e, err := p.by.zfs.Find(ctx, p.from.Name, p.snap)
	if err != nil {
		return "", err
	}
	args := []string{"clone", "-o", "readonly=off"}
	if p.from.Kind() == stream.Filesystem {
		args = append(args, "-o", "canmount=noauto")
	} else {
		args = append(args, "-o", "volmode=default")
	}
	if _, err := p.by.zfs.Run(ctx, p.fresh, append(args, e.Name, p.fresh)...); err != nil && !errors.Is(err, dataset.ErrExists) {
		return "", fmt.Errorf("clone %s: %w", e.Name, err)
	}
	f, err := p.by.zfs.Get(ctx, "guid,origin", []string{p.fresh})
	if err != nil {
		return "", err
	}
	if f[p.fresh]["origin"] != e.Name {
		return "", fmt.Errorf("%s is no clone of %s: %w", p.fresh, e.Name, dataset.ErrExists)
	}
	if err := p.by.zfs.Bookmark(ctx, e, p.fresh); err != nil {
		return "", fmt.Errorf("keep %s for the way back: %w", e.Name, err)
	}
	return naming.IDOf(f.Number(p.fresh, "guid")), nil
}

// makeLive makes what is above an activated dataset.
func (a *Activator) makeLive(ctx context.Context, live string) error {
	_, err := a.zfs.Get(ctx, "guid", []string{a.into.Live})
	if errors.Is(err, dataset.ErrNotFound) {
		// Where Live is Into's own, nothing above it has a mount point to inherit.
		err = a.zfs.Create(ctx, a.into.Live, "-p", "-o", "canmount=off", "-o", "readonly=off", "-o", "mountpoint=/"+a.into.Live, "-o", prop.Placeholder+"="+prop.On)
	}
	if err != nil {
		return err
	}
	return a.zfs.MakeParents(ctx, a.into.Live, live, []string{"-o", "canmount=off", "-o", prop.Placeholder + "=" + prop.On})
}

// exchange sets aside what is live and gives the clone its name. Between the two
// nothing is live; a crash there is gone on from.
func (p *place) exchange(ctx context.Context, now map[string]dataset.ID) error {
	if now[p.live] != "" {
		if now[p.aside] != "" {
			return fmt.Errorf("%s is there; rename it: %w", p.aside, dataset.ErrExists)
		}
		// Not -u: it goes on being mounted, under its new name.
		if _, err := p.by.zfs.Run(ctx, p.live, "rename", p.live, p.aside); err != nil {
			return fmt.Errorf("set aside %s: %w", p.live, err)
		}
	}
	return p.by.zfs.Rename(ctx, p.fresh, p.live)
}

// mount makes the live dataset appear. A volume appears by itself, once its key is
// loaded.
func (p *place) mount(ctx context.Context) error {
	if p.from.Kind() == stream.Filesystem {
		if err := p.by.zfs.Set(ctx, p.live, "canmount", prop.On); err != nil {
			return err
		}
	}
	return p.by.zfs.Open(ctx, p.from.Name, func() error { return p.by.zfs.Appear(ctx, p.live) })
}

func (p *place) result(ctx context.Context) (fsdrivers.Activated, error) {
	now, err := p.identities(ctx)
	if err != nil {
		return fsdrivers.Activated{}, err
	}
	done := fsdrivers.Activated{Live: p.live}
	if now[p.aside] != "" {
		done.SetAside = p.aside
	}
	return done, nil
}
