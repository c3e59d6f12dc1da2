package target

import (
	"context"
	"fmt"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/listing"
	"antipode/fsdrivers/zfs/prop"
	"antipode/fsdrivers/zfs/standby"
)

var _ fsdrivers.Versioner = (*Target)(nil)

// Versions implements fsdrivers.Versioner. A dataset of which nothing was received has
// one too.
func (t *Target) Versions(ctx context.Context, ds []dataset.Path) ([]string, error) {
	t.into.Places.RLock()
	defer t.into.Places.RUnlock()
	read, err := t.into.ReadAll(ctx)
	if err != nil {
		return nil, fmt.Errorf("versions: %w", err)
	}
	byPath := make(map[dataset.Path][]*standby.Lineage)
	for _, l := range read {
		byPath[l.Path] = append(byPath[l.Path], l)
	}
	all := make([]string, len(ds))
	for i, d := range ds {
		home, err := t.into.Home(d)
		if err != nil {
			continue
		}
		r := standby.NewReplica(d, home, byPath[d])
		list, err := t.into.Points(ctx, r)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err == nil {
			all[i] = listing.Digest(list, factsOf(r)...)
		}
	}
	return all, nil
}

// factsOf are what Find, Mark and Pending answer from.
func factsOf(r *standby.Replica) []string {
	var all []string
	for _, l := range r.Lineages {
		c := l.Checkpoint()
		all = append(all, string(l.Source), l.Prop("inconsistent"), l.Prop(prop.Mark), string(c.Step), string(c.Opaque))
	}
	return all
}
