package fake

import (
	"context"
	"fmt"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

var (
	_ fsdrivers.Versioner = (*Source)(nil)
	_ fsdrivers.Versioner = (*Target)(nil)
)

// touch notes a change of what is on the shelf.
func (s *shelf) touch() { s.changes++ }

// Versions implements fsdrivers.Versioner.
//
// Cases: "a version stays while nothing happens", "a version changes with all
// that is listed".
func (s *Source) Versions(ctx context.Context, ds []dataset.Path) ([]string, error) {
	leave, err := s.disk.enter(ctx)
	if err != nil {
		return nil, fmt.Errorf("read versions: %w", err)
	}
	defer leave()
	all := make([]string, len(ds))
	for i, path := range ds {
		if v, err := s.disk.volume(path); err == nil {
			all[i] = fmt.Sprintf("%s %t %d", v.ID, v.readonly, v.changes)
		}
	}
	return all, nil
}

// Versions implements fsdrivers.Versioner. A dataset that was never received has
// one too.
func (t *Target) Versions(ctx context.Context, ds []dataset.Path) ([]string, error) {
	leave, err := t.disk.enter(ctx)
	if err != nil {
		return nil, fmt.Errorf("read versions: %w", err)
	}
	defer leave()
	all := make([]string, len(ds))
	for i, path := range ds {
		k, err := t.key(path)
		if err != nil {
			continue
		}
		r := t.disk.replicas[k]
		switch {
		case r == nil:
			all[i] = "none"
		case r.partial != nil:
			all[i] = fmt.Sprintf("%s %d %s %d %t", r.ID, r.changes, r.partial.step, r.partial.dec.off, t.disk.resumable)
		default:
			all[i] = fmt.Sprintf("%s %d", r.ID, r.changes)
		}
	}
	return all, nil
}
