package source

import (
	"context"
	"time"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/cli"
	"antipode/fsdrivers/zfs/listing"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/pool"
)

var _ fsdrivers.ManyComparer = (*Source)(nil)

// comparing is a dataset that is compared with a snapshot.
type comparing struct {
	at   int // its place in the question
	name string
	snap dataset.Snapshot
}

// AreUnchanged implements fsdrivers.ManyComparer by the property written, which
// counts from the newest snapshot, whoever made it: one look at all, one push of the
// open transaction group of each pool in which something may be as it was, and another
// look. Where the newest snapshot is not the one that is asked about, or not known to
// be, that dataset is looked at by itself.
func (s *Source) AreUnchanged(ctx context.Context, ds []dataset.Path, snaps []dataset.Snapshot) (same []bool, errs []error) {
	same, errs = make([]bool, len(ds)), make([]error, len(ds))
	byPool := make(map[string][]comparing)
	for i, d := range ds {
		name, err := s.name(d)
		if err != nil || s.now == nil {
			same[i], errs[i] = s.IsUnchanged(ctx, d, snaps[i])
			continue
		}
		byPool[naming.PoolOf(name)] = append(byPool[naming.PoolOf(name)], comparing{i, name, snaps[i]})
	}
	for pool, some := range byPool {
		maybe, alone, err := s.asTheyWere(ctx, some)
		if err == nil && len(maybe) > 0 {
			if err = s.zfs.Sync(ctx, pool); err != nil {
				s.log.Debug().Err(err).Str("pool", pool).Msg("cannot tell whether something was written")
				maybe, err = nil, cli.Unless(err, dataset.ErrRefused, dataset.ErrToolMissing)
			}
		}
		var more []comparing
		if err == nil && len(maybe) > 0 {
			maybe, more, err = s.asTheyWere(ctx, maybe)
		}
		if err != nil {
			for _, c := range some {
				errs[c.at] = err
			}
			continue
		}
		for _, c := range maybe {
			same[c.at] = true
		}
		for _, c := range append(alone, more...) {
			same[c.at], errs[c.at] = s.IsUnchanged(ctx, dataset.Path(c.name), c.snap)
		}
	}
	return same, errs
}

// asTheyWere looks at all and picks those in which nothing was written since the
// snapshot, as far as what is on the disk tells, and those that have to be looked at
// alone.
func (s *Source) asTheyWere(ctx context.Context, some []comparing) (same, alone []comparing, err error) {
	names := make([]string, len(some))
	for i, c := range some {
		names[i] = c.name
	}
	f, seen, err := s.readMany(ctx, names, datasetProps+",written")
	if err != nil {
		return nil, nil, err
	}
	for _, c := range some {
		switch {
		case f[c.name] == nil:
			alone = append(alone, c) // it says what is wrong
		case f[c.name]["written"] != "0":
		case s.isNewest(ctx, c, f, seen):
			same = append(same, c)
		default:
			alone = append(alone, c)
		}
	}
	return same, alone, nil
}

// isNewest reports whether the snapshot is known to be the newest of all in its
// dataset, anybody's.
func (s *Source) isNewest(ctx context.Context, c comparing, f pool.Facts, seen time.Time) bool {
	if c.snap.Bookmark {
		return false
	}
	g := listing.GuardOf(f, c.name, seen)
	if _, ok := s.lists.Get(c.name, g); !ok {
		if _, err := s.snapshotsBy(ctx, c.name, f, seen); err != nil {
			return false
		}
	}
	newest, ok := s.lists.Newest(c.name, g)
	return ok && newest.Short() == c.snap.Name && newest.ID() == c.snap.ID
}
