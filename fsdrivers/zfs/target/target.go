// Package target is the driver's side that receives into one dataset, `into`: what it
// holds, which points are held, marked or go, where replicas are moved to. Receiving and
// activating are rooms below it.
package target

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/activate"
	"antipode/fsdrivers/zfs/cli"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/pool"
	"antipode/fsdrivers/zfs/prop"
	"antipode/fsdrivers/zfs/receive"
	"antipode/fsdrivers/zfs/standby"
)

// DefaultLocks is where the locks of running receives are.
const DefaultLocks = "/run/antipode/zfs"

// Options of a Target.
type Options struct {
	// Into is a dataset of its own ("tank/standby"). It is made if it is missing;
	// one that is there and has datasets in it that are not Antipode's is refused.
	Into string
	// Live is the dataset below which activated ones appear under the path that
	// they have on their source; "" is Into/antipode_live, mounted at its own name.
	// It must be on the same pool.
	Live string
	// Strip is left out in front of the source's paths ("tank"), below Into and below
	// Live; nothing but what is below it is taken. "" leaves nothing out.
	Strip dataset.Path
	// Locks is a directory that does not outlive a boot; "" is DefaultLocks.
	Locks string
	// Now is the clock that received points are stamped with.
	Now func() time.Time
	// Clock is the clock of this host, which says how old a listing is that is
	// kept; nil keeps none.
	Clock func() time.Time
	Log   zerolog.Logger
	// Patient lets New succeed with an Into that cannot be used yet, such
	// as one whose pool is not imported, or without zfs: every call looks again
	// until it can.
	Patient bool
	// Host is how zfs is run, and knows what hangs: one for all drivers of a process.
	// Nil is one of its own.
	Host *pool.Host
}

// patientLook is how long a patient New looks at a pool that does not answer.
const patientLook = 10 * time.Second

// Target receives into one dataset. A dataset.Path is what the source calls the
// dataset; none reaches outside of Into (and Live). It implements
// fsdrivers.Target; its methods may be called concurrently.
type Target struct {
	activate.Activator
	receive.Receiver

	into *standby.Into
	zfs  *pool.Host
	now  func() time.Time
	log  zerolog.Logger

	marks sync.Mutex // held from reading a mark to writing it
}

var (
	_ fsdrivers.Target   = (*Target)(nil)
	_ fsdrivers.InPlacer = (*Target)(nil)
)

// New makes sure that Into is there and is ours. Errors: ErrNotDataset,
// ErrNotFound (no such pool), ErrStuck, ErrToolMissing.
func New(o Options) (*Target, error) {
	if o.Now == nil {
		return nil, errors.New("zfs target: no clock")
	}
	if o.Locks == "" {
		o.Locks = DefaultLocks
	}
	zfs := o.Host
	if zfs == nil {
		zfs = pool.NewHost("", 0)
	}
	in, err := standby.New(zfs, standby.Options{Name: o.Into, Live: o.Live, Strip: o.Strip, Locks: o.Locks, Clock: o.Clock})
	if err != nil {
		return nil, err
	}
	t := &Target{
		Activator: activate.New(in, zfs, o.Now), Receiver: receive.New(in, zfs, o.Now, o.Log),
		into: in, zfs: zfs, now: o.Now, log: o.Log,
	}
	look := zfs.Patience()
	if o.Patient {
		look = min(look, patientLook)
	}
	ctx, stop := context.WithTimeoutCause(context.Background(), look, cli.ErrSlow)
	defer stop()
	if err := in.EnsurePrepared(ctx); err != nil && !o.Patient {
		return nil, err
	}
	return t, nil
}

// Find implements fsdrivers.Lister: the replicas that Into holds.
func (t *Target) Find(ctx context.Context, _ dataset.Path, _ bool) ([]dataset.Dataset, error) {
	t.into.Places.RLock()
	defer t.into.Places.RUnlock()
	all, err := t.into.ReadAll(ctx)
	if err != nil {
		return nil, fmt.Errorf("find replicas: %w", err)
	}
	ids := make(map[dataset.Path]dataset.ID)
	for _, l := range all {
		if _, known := ids[l.Path]; !known || l.Name == t.into.Name+"/"+t.into.Relative(l.Path) {
			ids[l.Path] = l.Source
		}
	}
	found := make([]dataset.Dataset, 0, len(ids))
	for path, id := range ids {
		found = append(found, dataset.Dataset{Path: path, ID: id})
	}
	slices.SortFunc(found, func(a, b dataset.Dataset) int { return cmp.Compare(a.Path, b.Path) })
	return found, nil
}

// Snapshots implements fsdrivers.Lister: what is complete, of all lineages.
func (t *Target) Snapshots(ctx context.Context, d dataset.Path) ([]dataset.Snapshot, error) {
	t.into.Places.RLock()
	defer t.into.Places.RUnlock()
	r, err := t.into.Known(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	return t.into.Points(ctx, r)
}

// Mark implements fsdrivers.Marker.
func (t *Target) Mark(ctx context.Context, d dataset.Path) (dataset.Mark, error) {
	t.into.Places.RLock()
	defer t.into.Places.RUnlock()
	r, err := t.into.Known(ctx, d)
	if err != nil {
		return dataset.Mark{}, fmt.Errorf("mark: %w", err)
	}
	_, m, err := markOf(r)
	return m, err
}

// markOf is the highest of those that the lineages carry, and where it is. A new
// lineage has none; the older one keeps it.
func markOf(r *standby.Replica) (*standby.Lineage, dataset.Mark, error) {
	var best dataset.Mark
	var where *standby.Lineage
	for _, l := range r.Lineages {
		if l.IsPartial() {
			continue
		}
		m, err := l.Facts.Mark(l.Name)
		if err != nil {
			return nil, best, err
		}
		if where == nil || m.Generation > best.Generation {
			where, best = l, m
		}
	}
	return where, best, nil
}

// SwapMark implements fsdrivers.Marker. A dataset of which nothing was received
// has no place for a mark: ErrNotFound.
func (t *Target) SwapMark(ctx context.Context, d dataset.Path, old, next dataset.Mark) error {
	t.marks.Lock()
	defer t.marks.Unlock()
	t.into.Places.RLock()
	defer t.into.Places.RUnlock()
	defer t.into.Changed(d)()
	r, err := t.into.Replica(ctx, d)
	if err != nil {
		return fmt.Errorf("mark: %w", err)
	}
	where, _, err := markOf(r)
	if err != nil {
		return err
	}
	if where == nil {
		return fmt.Errorf("mark of %s: nothing was received of it: %w", d, dataset.ErrNotFound)
	}
	return t.zfs.SwapMark(ctx, where.Name, old, next)
}

// Hold implements fsdrivers.Holder.
func (t *Target) Hold(ctx context.Context, d dataset.Path, snap dataset.Snapshot, tag dataset.Tag) error {
	t.into.Places.RLock()
	defer t.into.Places.RUnlock()
	defer t.into.Changed(d)()
	l, err := t.into.LineageOf(ctx, d, snap)
	if err == nil {
		err = t.zfs.Hold(ctx, l.Name, snap, tag)
	}
	if err != nil {
		return fmt.Errorf("hold %s of %s with %s: %w", snap.Name, d, tag, err)
	}
	return nil
}

// Release implements fsdrivers.Holder.
func (t *Target) Release(ctx context.Context, d dataset.Path, tag dataset.Tag, keep ...dataset.ID) error {
	t.into.Places.RLock()
	defer t.into.Places.RUnlock()
	defer t.into.Changed(d)()
	r, err := t.into.Replica(ctx, d)
	if err != nil {
		return fmt.Errorf("release: %w", err)
	}
	for _, l := range r.Lineages {
		if err := t.zfs.Release(ctx, l.Name, tag, keep); err != nil {
			return fmt.Errorf("release %s of %s: %w", tag, d, err)
		}
	}
	return nil
}

// Space implements fsdrivers.Space.
func (t *Target) Space(ctx context.Context, _ dataset.Path) (fsdrivers.Usage, error) {
	if err := t.into.EnsurePrepared(ctx); err != nil {
		return fsdrivers.Usage{}, err
	}
	return t.zfs.Space(ctx, t.into.Name)
}

// Probe implements fsdrivers.Prober: zfs, its module, the pool, and Into.
func (t *Target) Probe(ctx context.Context) []fsdrivers.Finding {
	found := append(t.zfs.Probe(ctx), t.zfs.ProbePools(ctx, []string{naming.PoolOf(t.into.Name)})...)
	f, err := t.zfs.Get(ctx, prop.Into, []string{t.into.Name})
	switch {
	case err != nil:
		return append(found, fsdrivers.Finding{
			Fatal: true, Object: t.into.Name, What: err.Error(), Cure: "import its pool; if it was renamed, change `into`",
		})
	case f[t.into.Name][prop.Into] != prop.On:
		found = append(found, fsdrivers.Finding{
			Fatal: true, Object: t.into.Name, What: "it is not the dataset that Antipode made",
			Cure: "if the pool was imported under another name, change `into`; start the daemon again to use a new, empty dataset",
		})
	}
	return found
}
