package source

import (
	"context"
	"maps"
	"slices"

	"antipode/fsdrivers"
)

// Probe implements fsdrivers.Prober: zfs, its module, and the pools of datasets
// that were asked about before.
func (s *Source) Probe(ctx context.Context) []fsdrivers.Finding {
	s.mu.Lock()
	pools := slices.Sorted(maps.Keys(s.pools))
	s.mu.Unlock()
	return append(s.zfs.Probe(ctx), s.zfs.ProbePools(ctx, pools)...)
}
