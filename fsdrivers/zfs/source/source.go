// Package source is the driver's side that has the live datasets of this host: what there is,
// snapshots, sends, what they cost and whether anything was written. It does not know what
// becomes of a stream.
package source

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
	"antipode/fsdrivers/zfs/listing"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/pool"
	"antipode/fsdrivers/zfs/prop"
)

// Options of a Source.
type Options struct {
	Log zerolog.Logger
	// Host is how zfs is run, and knows what hangs: one for all drivers of a process.
	// Nil is one of its own.
	Host *pool.Host
	// Now is the clock of this host, or nil: then no listing is kept.
	Now func() time.Time
	// Include names the snapshots of others that are listed beside ours; nil: none.
	Include func(name string) bool
}

// Source works on live datasets of this host. It implements fsdrivers.Source;
// its methods may be called concurrently.
type Source struct {
	log     zerolog.Logger
	zfs     *pool.Host
	now     func() time.Time
	include func(name string) bool

	sights *sights
	lists  *listing.Lists

	marks sync.Mutex // held from reading a mark to writing it

	mu    sync.Mutex // guards pools
	pools map[string]bool
}

var (
	_ fsdrivers.Source    = (*Source)(nil)
	_ fsdrivers.Foreigner = (*Source)(nil)
)

// New makes a source. It touches nothing.
func New(o Options) *Source {
	if o.Host == nil {
		o.Host = pool.NewHost("", 0)
	}
	return &Source{
		log: o.Log, zfs: o.Host, now: o.Now, include: o.Include, sights: newSights(o.Now), lists: listing.NewLists(), pools: make(map[string]bool),
	}
}

// datasetProps are what tells which datasets are a source's. The guard of the
// lists comes with them.
var datasetProps = prop.List("guid", "readonly", "snapshots_changed", prop.Placeholder, prop.Path, prop.Live, prop.Into, prop.Mark)

// name checks a path and remembers its pool for Probe.
func (s *Source) name(d dataset.Path) (string, error) {
	name, err := naming.Dataset(d)
	if err == nil {
		s.mu.Lock()
		s.pools[naming.PoolOf(name)] = true
		s.mu.Unlock()
	}
	return name, err
}

// Find implements fsdrivers.Lister with one zfs. Datasets that are read-only,
// that are replicas, or placeholders of Antipode's, are left out.
func (s *Source) Find(ctx context.Context, root dataset.Path, deep bool) ([]dataset.Dataset, error) {
	name, err := s.name(root)
	if err != nil {
		return nil, fmt.Errorf("find: %w", err)
	}
	var f pool.Facts
	if deep {
		f, _, err = s.read(ctx, name, true)
	} else {
		f, _, err = s.look(ctx, name)
	}
	if err != nil {
		return nil, fmt.Errorf("find: %w", err)
	}
	s.sights.asked(name, deep)
	if !deep {
		if f.IsPlaceholder(name) {
			return nil, fmt.Errorf("find: %s only holds others: %w", name, dataset.ErrNotDataset)
		}
		f = pool.Facts{name: f[name]}
	}
	return sourcesOf(f), nil
}

// sourcesOf are the datasets among them that can be a source's, sorted.
func sourcesOf(f pool.Facts) []dataset.Dataset {
	found := make([]dataset.Dataset, 0, len(f))
	for name := range f {
		path, err := dataset.ParsePath(name)
		switch {
		case err != nil: // ours: below .antipode
		case f[name]["readonly"] == prop.On || f.IsPlaceholder(name) || f[name][prop.Into] != "":
		case f[name][prop.Path] != "" && f[name][prop.Live] != prop.On: // a replica
		case f.Number(name, "guid") == 0:
		default:
			found = append(found, dataset.Dataset{Path: path, ID: naming.IDOf(f.Number(name, "guid"))})
		}
	}
	slices.SortFunc(found, func(a, b dataset.Dataset) int { return cmp.Compare(a.Path, b.Path) })
	return found
}

// Snapshots implements fsdrivers.Lister. Those of Antipode have names that begin
// with NamePrefix; a bookmark of ours stands for a snapshot that is gone.
func (s *Source) Snapshots(ctx context.Context, d dataset.Path) ([]dataset.Snapshot, error) {
	name, err := s.name(d)
	if err != nil {
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	list, err := s.snapshots(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("snapshots: %w", err)
	}
	return list, nil
}

func (s *Source) snapshots(ctx context.Context, name string) ([]dataset.Snapshot, error) {
	if s.now == nil {
		all, err := s.snapshotsBy(ctx, name, nil, time.Time{})
		if len(all) == 0 && err == nil {
			err = s.mustBeDatasets(ctx, []string{name})
		}
		return all, err
	}
	f, seen, err := s.look(ctx, name)
	if err != nil {
		return nil, err
	}
	if f.IsPlaceholder(name) {
		return nil, fmt.Errorf("%s only holds others: %w", name, dataset.ErrNotDataset)
	}
	return s.snapshotsBy(ctx, name, f, seen)
}

// listed are the entries that Snapshots tells of.
func (s *Source) listed(all []pool.Entry) []pool.Entry { return pool.Including(all, true, s.include) }

// Foreign implements fsdrivers.Foreigner.
func (s *Source) Foreign(ctx context.Context, d dataset.Path) ([]dataset.Snapshot, error) {
	name, err := s.name(d)
	if err != nil {
		return nil, fmt.Errorf("snapshots of others: %w", err)
	}
	all, err := s.zfs.List(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("snapshots of others: %w", err)
	}
	all = slices.DeleteFunc(all, func(e pool.Entry) bool { return !e.IsSnapshot() || e.IsOurs() || naming.Foreign(e.Short()) != nil })
	list, err := listing.Describe(ctx, s.zfs, all, nil)
	if err != nil {
		return nil, fmt.Errorf("snapshots of others: %w", err)
	}
	return list, nil
}

// mustBeDatasets refuses placeholders and what is not there.
func (s *Source) mustBeDatasets(ctx context.Context, names []string) error {
	f, err := s.zfs.Get(ctx, prop.List("guid", prop.Placeholder), names)
	if err != nil {
		return err
	}
	for _, name := range names {
		if f.Number(name, "guid") == 0 {
			return fmt.Errorf("%s: %w", name, dataset.ErrNotFound)
		}
		if f.IsPlaceholder(name) {
			return fmt.Errorf("%s only holds others: %w", name, dataset.ErrNotDataset)
		}
	}
	return nil
}

// Snapshot implements fsdrivers.Snapshotter: all datasets of one pool at one
// instant, in one transaction.
func (s *Source) Snapshot(ctx context.Context, name string, created time.Time, ds []dataset.Path) ([]dataset.Snapshot, error) {
	if err := naming.Own(name); err != nil {
		return nil, err
	}
	full := make(map[string]string, len(ds)) // by dataset
	byPool := make(map[string][]string)      // datasets
	var misfit dataset.MisfitError
	for _, d := range ds {
		in, err := s.name(d)
		if err != nil {
			return nil, fmt.Errorf("snapshot %s: %w", name, err)
		}
		if full[in], err = naming.Snapshot(in, name); err != nil {
			misfit.Datasets, misfit.Err = append(misfit.Datasets, d), errors.Join(misfit.Err, err)
		}
		if !slices.Contains(byPool[naming.PoolOf(in)], in) {
			byPool[naming.PoolOf(in)] = append(byPool[naming.PoolOf(in)], in)
		}
	}
	if misfit.Err != nil {
		return nil, &misfit
	}
	anew := true
	for _, in := range byPool {
		all, err := s.take(ctx, in, name, created)
		if err != nil {
			return nil, fmt.Errorf("snapshot %s of %s: %w", name, in[0], err)
		}
		anew = anew && all
	}
	return s.taken(ctx, full, ds, anew)
}

// take makes the snapshots of datasets of one pool that are not there yet, and
// reports whether it made all of them.
func (s *Source) take(ctx context.Context, in []string, name string, created time.Time) (all bool, err error) {
	if err := s.mustBeDatasets(ctx, in); err != nil {
		return false, err
	}
	full := make([]string, len(in))
	for i, d := range in {
		full[i] = d + "@" + name
		s.changed(d, false)
	}
	err = s.zfs.Snapshot(ctx, full, created)
	if !errors.Is(err, dataset.ErrExists) {
		return err == nil, err
	}
	there, err := s.zfs.Get(ctx, "guid", full)
	if err != nil {
		return false, err
	}
	full = slices.DeleteFunc(full, func(f string) bool { return there[f] != nil })
	return false, s.zfs.Snapshot(ctx, full, created)
}

// taken reads what was made, in the order of ds. Nobody holds what was made anew.
func (s *Source) taken(ctx context.Context, full map[string]string, ds []dataset.Path, anew bool) ([]dataset.Snapshot, error) {
	var list []string
	for _, f := range full {
		list = append(list, f)
	}
	if len(list) == 0 {
		return nil, nil
	}
	props, err := s.zfs.Get(ctx, prop.List("guid", "createtxg", listing.PointProps), list)
	if err != nil {
		return nil, err
	}
	var holds map[string][]dataset.Tag
	if !anew {
		if holds, _, err = s.zfs.Holds(ctx, list); err != nil {
			return nil, err
		}
	}
	all := make([]dataset.Snapshot, 0, len(ds))
	for _, d := range ds {
		f := full[string(d)]
		e := pool.Entry{Name: f, GUID: props.Number(f, "guid"), TXG: props.Number(f, "createtxg")}
		if e.GUID == 0 {
			return nil, fmt.Errorf("%s was destroyed as soon as it was made: %w", f, dataset.ErrNotFound)
		}
		all = append(all, listing.SnapshotOf(e, props, holds[f]))
	}
	return all, nil
}

// Fence implements fsdrivers.Fencer.
func (s *Source) Fence(ctx context.Context, d dataset.Path) error {
	name, err := s.name(d)
	if err != nil {
		return fmt.Errorf("fence: %w", err)
	}
	defer s.changed(name, true)
	if err := s.zfs.Set(ctx, name, "readonly", prop.On); err != nil {
		return fmt.Errorf("fence: %w", err)
	}
	return nil
}
