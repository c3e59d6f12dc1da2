package source

import (
	"context"
	"errors"
	"fmt"
	"time"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/cli"
	"antipode/fsdrivers/zfs/listing"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/pool"
	"antipode/fsdrivers/zfs/prop"
)

var _ fsdrivers.Versioner = (*Source)(nil)

// Versions implements fsdrivers.Versioner, pool by pool: those on one that does not answer are
// told by nothing, and if none answers, by the error.
func (s *Source) Versions(ctx context.Context, ds []dataset.Path) ([]string, error) {
	byPool := make(map[string][]string)
	for _, d := range ds {
		if name, err := s.name(d); err == nil {
			byPool[naming.PoolOf(name)] = append(byPool[naming.PoolOf(name)], name)
		}
	}
	known := make(map[string]string, len(ds))
	var silent []error
	for _, names := range byPool {
		f, seen, err := s.readMany(ctx, names, datasetProps)
		if err != nil {
			silent = append(silent, err)
		}
		for _, name := range names {
			p := f[name]
			if p == nil || f.IsPlaceholder(name) {
				continue
			}
			if list, err := s.snapshotsBy(ctx, name, f, seen); err == nil {
				known[name] = listing.Digest(list, p["guid"], p["readonly"], p[prop.Path], p[prop.Live], p[prop.Into], p[prop.Mark])
			}
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	if len(silent) > 0 && len(silent) == len(byPool) {
		return nil, fmt.Errorf("versions: %w", errors.Join(silent...))
	}
	all := make([]string, len(ds))
	for i, d := range ds {
		all[i] = known[string(d)]
	}
	return all, nil
}

// readMany reads facts of datasets: all of a root that many of them are below at once,
// and the others together. Those that do not exist are left out.
func (s *Source) readMany(ctx context.Context, names []string, props string) (pool.Facts, time.Time, error) {
	roots, all := make(map[string][]string), make(pool.Facts)
	for _, name := range names {
		root, deep := s.sights.root(name)
		if !deep {
			root = ""
		}
		roots[root] = append(roots[root], name)
	}
	at := time.Time{}
	if s.sights.now != nil {
		at = s.sights.now()
	}
	for root, some := range roots {
		args := []string{"-t", "filesystem,volume"}
		if root != "" {
			some, args = []string{root}, append(args, "-r")
		}
		f, err := s.zfs.Get(ctx, props, some, args...)
		if cli.Unless(err, dataset.ErrNotFound) != nil {
			return nil, at, err
		}
		for name, p := range f {
			all[name] = p
		}
	}
	if s.sights.now != nil {
		s.sights.take(all, at)
	}
	return all, at, nil
}

// snapshotsBy lists the snapshots of a dataset of which the facts were read.
func (s *Source) snapshotsBy(ctx context.Context, name string, f pool.Facts, seen time.Time) ([]dataset.Snapshot, error) {
	if s.now == nil {
		all, err := s.zfs.List(ctx, name)
		if err != nil {
			return nil, err
		}
		return listing.Describe(ctx, s.zfs, s.listed(all), nil)
	}
	return s.lists.Snapshots(ctx, s.zfs, s.now, dataset.Path(name), name, listing.GuardOf(f, name, seen), s.listed)
}
