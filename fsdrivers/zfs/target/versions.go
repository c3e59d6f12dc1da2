package target

import (
	"context"
	"fmt"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/listing"
	"antipode/fsdrivers/zfs/prop"
)

var _ fsdrivers.Versioner = (*Target)(nil)

// Versions implements fsdrivers.Versioner. A dataset of which nothing was received has
// one too.
func (t *Target) Versions(ctx context.Context, ds []dataset.Path) ([]string, error) {
	t.places.RLock()
	defer t.places.RUnlock()
	read, err := t.readAll(ctx)
	if err != nil {
		return nil, fmt.Errorf("versions: %w", err)
	}
	byPath := make(map[dataset.Path][]*lineage)
	for _, l := range read {
		byPath[l.path] = append(byPath[l.path], l)
	}
	all := make([]string, len(ds))
	for i, d := range ds {
		home, err := t.targetName(d)
		if err != nil {
			continue
		}
		r := newReplica(d, home, byPath[d])
		list, err := t.points(ctx, r)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err == nil {
			all[i] = listing.Digest(list, r.facts()...)
		}
	}
	return all, nil
}

// facts are what Find, Mark and Pending answer from.
func (r *replica) facts() []string {
	var all []string
	for _, l := range r.lineages {
		c := l.checkpoint()
		all = append(all, string(l.source), l.prop("inconsistent"), l.prop(prop.Mark), string(c.Step), string(c.Opaque))
	}
	return all
}
