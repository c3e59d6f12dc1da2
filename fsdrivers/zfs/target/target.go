// Package target is the driver's side that receives into one dataset, `into`: replicas and
// their lineages, receives, where they are moved to, what goes, what is made live.
package target

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/cli"
	"antipode/fsdrivers/zfs/listing"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/pool"
	"antipode/fsdrivers/zfs/prop"
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
	// Binary is zfs; "" is looked up in PATH.
	Binary string
	// GiveUp is how long a short command may take; 0 is 3 minutes.
	GiveUp time.Duration
}

// patientLook is how long a patient New looks at a pool that does not answer.
const patientLook = 10 * time.Second

// Target receives into one dataset. A dataset.Path is what the source calls the
// dataset; none reaches outside of Into (and Live). It implements
// fsdrivers.Target; its methods may be called concurrently.
type Target struct {
	opts Options
	zfs  *pool.Host
	live string

	marks sync.Mutex // held from reading a mark to writing it

	// places is held for writing while datasets are renamed, and for reading by who
	// finds some and works on them by name. A claim comes before it.
	places sync.RWMutex

	preparing sync.Mutex // guards prepared
	prepared  bool       // Into was ours, with our places in it

	mu   sync.Mutex // guards busy
	busy map[dataset.Path]bool

	shelf shelf
	lists *listing.Lists
}

var _ fsdrivers.Target = (*Target)(nil)

// New makes sure that Into is there and is ours. Errors: ErrNotDataset,
// ErrNotFound (no such pool), ErrStuck, ErrToolMissing.
func New(o Options) (*Target, error) {
	if o.Now == nil {
		return nil, errors.New("zfs target: no clock")
	}
	for _, name := range []string{o.Into, o.Live, string(o.Strip)} {
		if what := naming.Check(name); what != "" && (name != "" || o.Into == "") {
			return nil, fmt.Errorf("zfs target: %q is not the name of a ZFS dataset (such as tank/standby): %s", name, what)
		}
	}
	t := &Target{opts: o, zfs: pool.NewHost(o.Binary, o.GiveUp), live: o.Live, busy: make(map[dataset.Path]bool), lists: listing.NewLists()}
	t.shelf.changes = make(map[dataset.Path]int)
	if t.live == "" {
		t.live = o.Into + "/" + naming.Live
	}
	if naming.PoolOf(t.live) != naming.PoolOf(o.Into) {
		return nil, fmt.Errorf("zfs target %s: live data go below %s, which is on another pool; a clone cannot leave its pool", o.Into, t.live)
	}
	if t.opts.Locks == "" {
		t.opts.Locks = DefaultLocks
	}
	if err := os.MkdirAll(t.opts.Locks, 0o700); err != nil {
		return nil, fmt.Errorf("zfs target %s: %w", o.Into, err)
	}
	look := t.zfs.Patience()
	if o.Patient {
		look = min(look, patientLook)
	}
	ctx, stop := context.WithTimeoutCause(context.Background(), look, cli.ErrSlow)
	defer stop()
	if err := t.ensurePrepared(ctx); err != nil && !o.Patient {
		return nil, err
	}
	return t, nil
}

// ensurePrepared prepares once. An Into that is missing later is a pool that was
// exported, and not made anew.
func (t *Target) ensurePrepared(ctx context.Context) error {
	t.preparing.Lock()
	defer t.preparing.Unlock()
	if t.prepared {
		return nil
	}
	if err := t.prepare(ctx); err != nil {
		return fmt.Errorf("zfs target %s: %w", t.opts.Into, err)
	}
	t.prepared = true
	return nil
}

// holderProps are those of datasets that only hold others: nothing is ever
// mounted there, nor written.
func holderProps(more ...string) []string {
	return append([]string{"-o", "canmount=off", "-o", "mountpoint=none", "-o", "readonly=on"}, more...)
}

// prepare makes Into and the places in it, or makes sure that it is ours.
func (t *Target) prepare(ctx context.Context) error {
	own := t.own()
	f, err := t.zfs.Get(ctx, prop.List("type", prop.Into, prop.Strip), []string{t.opts.Into}, "-d", "1", "-t", "filesystem,volume")
	switch {
	case errors.Is(err, dataset.ErrNotFound):
		if err := t.zfs.Create(ctx, t.opts.Into, holderProps("-p", "-o", prop.Into+"="+prop.On)...); err != nil {
			return err
		}
	case err != nil:
		return err
	case f[t.opts.Into]["type"] != "filesystem":
		return fmt.Errorf("it is a %s; name a filesystem, which is made if it is missing: %w", f[t.opts.Into]["type"], dataset.ErrNotDataset)
	case f[t.opts.Into][prop.Into] != prop.On && len(f) > 1:
		return fmt.Errorf("it holds datasets that are not Antipode's; name one of its own, which is made: %w", dataset.ErrNotDataset)
	case f[t.opts.Into][prop.Into] != prop.On:
		if err := t.zfs.Set(ctx, t.opts.Into, prop.Into, prop.On, "canmount", "off", "readonly", prop.On); err != nil {
			return err
		}
	}
	if err := t.settleLayout(ctx, f[t.opts.Into][prop.Strip]); err != nil {
		return err
	}
	if _, there := f[own]; there {
		return nil
	}
	return t.zfs.Create(ctx, own, holderProps("-o", prop.Placeholder+"="+prop.On)...)
}

// own is where lineages are that have no place of their own.
func (t *Target) own() string { return t.opts.Into + "/" + dataset.Dir }

// targetName is where the replica of d goes. Nothing that a peer can name leads
// out of Into or to what is Antipode's own in it.
func (t *Target) targetName(d dataset.Path) (string, error) {
	if _, err := dataset.ParsePath(string(d)); err != nil {
		return "", fmt.Errorf("%w: %w", dataset.ErrRefused, err)
	}
	if err := t.mustTake(d); err != nil {
		return "", err
	}
	name := t.opts.Into + "/" + t.relative(d)
	if what := naming.Check(string(d)); what != "" {
		return "", fmt.Errorf("%q cannot be received into ZFS: %s: %w", d, what, dataset.ErrRefused)
	}
	if what := naming.Check(name); what != "" {
		return "", fmt.Errorf("%q cannot be received into %s: %s: %w", d, t.opts.Into, what, dataset.ErrRefused)
	}
	if name == t.live || strings.HasPrefix(name, t.live+"/") {
		return "", fmt.Errorf("%q would be among the live data in %s; the dataset needs another path on its source: %w", d, t.live, dataset.ErrRefused)
	}
	return name, nil
}

// claim makes the caller the only one that changes a replica.
func (t *Target) claim(d dataset.Path) (release func(), err error) {
	t.places.RLock() // who renames what is above has looked for claims
	defer t.places.RUnlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy[d] {
		return nil, fmt.Errorf("a receive into the replica of %s runs: %w", d, dataset.ErrBusy)
	}
	t.busy[d] = true
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.busy, d)
	}, nil
}

// isBusyBelow reports whether anything below d, but what the caller claimed itself,
// is being changed: it cannot be renamed then.
func (t *Target) isBusyBelow(d dataset.Path, claimed ...dataset.Path) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for b := range t.busy {
		if b != d && d.Contains(b) && !slices.Contains(claimed, b) {
			return true
		}
	}
	return false
}

// lockFile is the lock of receives into the replica of d.
func (t *Target) lockFile(d dataset.Path) string {
	return filepath.Join(t.opts.Locks, prop.Digest(t.opts.Into+" "+string(d))+".lock")
}

// Find implements fsdrivers.Lister: the replicas that Into holds.
func (t *Target) Find(ctx context.Context, _ dataset.Path, _ bool) ([]dataset.Dataset, error) {
	t.places.RLock()
	defer t.places.RUnlock()
	all, err := t.readAll(ctx)
	if err != nil {
		return nil, fmt.Errorf("find replicas: %w", err)
	}
	ids := make(map[dataset.Path]dataset.ID)
	for _, l := range all {
		if _, known := ids[l.path]; !known || l.name == t.opts.Into+"/"+t.relative(l.path) {
			ids[l.path] = l.source
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
	t.places.RLock()
	defer t.places.RUnlock()
	r, err := t.known(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	return t.points(ctx, r)
}

// Mark implements fsdrivers.Marker.
func (t *Target) Mark(ctx context.Context, d dataset.Path) (dataset.Mark, error) {
	t.places.RLock()
	defer t.places.RUnlock()
	r, err := t.known(ctx, d)
	if err != nil {
		return dataset.Mark{}, fmt.Errorf("mark: %w", err)
	}
	_, m, err := r.mark()
	return m, err
}

// mark is the highest of those that the lineages carry, and where it is. A new
// lineage has none; the older one keeps it.
func (r *replica) mark() (*lineage, dataset.Mark, error) {
	var best dataset.Mark
	var where *lineage
	for _, l := range r.lineages {
		if l.isPartial() {
			continue
		}
		m, err := l.facts.Mark(l.name)
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
	t.places.RLock()
	defer t.places.RUnlock()
	defer t.changed(d)()
	r, err := t.replica(ctx, d)
	if err != nil {
		return fmt.Errorf("mark: %w", err)
	}
	where, _, err := r.mark()
	if err != nil {
		return err
	}
	if where == nil {
		return fmt.Errorf("mark of %s: nothing was received of it: %w", d, dataset.ErrNotFound)
	}
	return t.zfs.SwapMark(ctx, where.name, old, next)
}

// Hold implements fsdrivers.Holder.
func (t *Target) Hold(ctx context.Context, d dataset.Path, snap dataset.Snapshot, tag dataset.Tag) error {
	t.places.RLock()
	defer t.places.RUnlock()
	defer t.changed(d)()
	l, err := t.lineageOf(ctx, d, snap)
	if err == nil {
		err = t.zfs.Hold(ctx, l.name, snap, tag)
	}
	if err != nil {
		return fmt.Errorf("hold %s of %s with %s: %w", snap.Name, d, tag, err)
	}
	return nil
}

// Release implements fsdrivers.Holder.
func (t *Target) Release(ctx context.Context, d dataset.Path, tag dataset.Tag, keep ...dataset.ID) error {
	t.places.RLock()
	defer t.places.RUnlock()
	defer t.changed(d)()
	r, err := t.replica(ctx, d)
	if err != nil {
		return fmt.Errorf("release: %w", err)
	}
	for _, l := range r.lineages {
		if err := t.zfs.Release(ctx, l.name, tag, keep); err != nil {
			return fmt.Errorf("release %s of %s: %w", tag, d, err)
		}
	}
	return nil
}

// Space implements fsdrivers.Space.
func (t *Target) Space(ctx context.Context, _ dataset.Path) (fsdrivers.Usage, error) {
	if err := t.ensurePrepared(ctx); err != nil {
		return fsdrivers.Usage{}, err
	}
	return t.zfs.Space(ctx, t.opts.Into)
}

// Probe implements fsdrivers.Prober: zfs, its module, the pool, and Into.
func (t *Target) Probe(ctx context.Context) []fsdrivers.Finding {
	found := append(t.zfs.Probe(ctx), t.zfs.ProbePools(ctx, []string{naming.PoolOf(t.opts.Into)})...)
	f, err := t.zfs.Get(ctx, prop.Into, []string{t.opts.Into})
	switch {
	case err != nil:
		return append(found, fsdrivers.Finding{
			Fatal: true, Object: t.opts.Into, What: err.Error(), Cure: "import its pool; if it was renamed, change `into`",
		})
	case f[t.opts.Into][prop.Into] != prop.On:
		found = append(found, fsdrivers.Finding{
			Fatal: true, Object: t.opts.Into, What: "it is not the dataset that Antipode made",
			Cure: "if the pool was imported under another name, change `into`; start the daemon again to use a new, empty dataset",
		})
	}
	return found
}
