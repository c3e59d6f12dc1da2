package fake

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

var _ fsdrivers.InPlacer = (*Target)(nil)

// Snapshots implements fsdrivers.Lister.
//
// Case: "what is made on what is live itself is no point".
func (t *Target) Snapshots(ctx context.Context, d dataset.Path) ([]dataset.Snapshot, error) {
	all, err := t.side.Snapshots(ctx, d)
	if err != nil {
		return nil, err
	}
	t.disk.mu.Lock()
	defer t.disk.mu.Unlock()
	if k, err := t.key(d); err != nil || t.disk.replicas[k] == nil || t.disk.replicas[k].live == nil {
		return all, err
	}
	return slices.DeleteFunc(all, func(s dataset.Snapshot) bool { return s.Received.IsZero() || s.Bookmark }), nil
}

// MayActivateInPlace implements fsdrivers.InPlacer.
func (t *Target) MayActivateInPlace(ctx context.Context, d dataset.Path, s dataset.Snapshot) error {
	leave, err := t.disk.enter(ctx)
	if err != nil {
		return fmt.Errorf("activate %s in place: %w", d, err)
	}
	defer leave()
	if _, _, err := t.mayGoLive(d, s); err != nil {
		return fmt.Errorf("activate %s of %s in place: %w", s.Name, d, err)
	}
	return nil
}

// mayGoLive finds the replica, and its newest point.
//
// Cases: "only the newest point goes live itself", "what is not there cannot go live
// itself", "what is live as a copy is not hidden".
func (t *Target) mayGoLive(d dataset.Path, s dataset.Snapshot) (*replica, *snapshot, error) {
	k, err := t.key(d)
	if err != nil {
		return nil, nil, err
	}
	r, point := t.disk.replicas[k], t.disk.pointOf(k, s.ID)
	switch {
	case point == nil:
		return nil, nil, fmt.Errorf("snapshot %s: %w", s.ID, dataset.ErrNotFound)
	case r.live != nil:
		return r, point, nil
	case r.newest() != point:
		return nil, nil, fmt.Errorf("%s is not its newest point: %w", s.Name, dataset.ErrDiverged)
	case t.disk.live[t.home(d)+"/live"] != nil:
		return nil, nil, fmt.Errorf("a copy is live at %s/live: %w", t.home(d), dataset.ErrExists)
	}
	return r, point, nil
}

// home is where a replica is, for what can see it: what is live itself.
func (t *Target) home(d dataset.Path) dataset.Path {
	return dataset.Path(t.into + "/" + strings.TrimPrefix(string(d), "/"))
}

// newest is the last of all snapshots; nil for none.
func (s *shelf) newest() (last *snapshot) {
	for _, snap := range s.snaps {
		if last == nil || snap.Order > last.Order {
			last = snap
		}
	}
	return last
}

// ActivateInPlace implements fsdrivers.InPlacer.
//
// Cases: "a standby goes live itself and can be written", "going live itself again is
// success".
func (t *Target) ActivateInPlace(ctx context.Context, d dataset.Path, s dataset.Snapshot) (fsdrivers.Activated, error) {
	leave, err := t.disk.enter(ctx)
	if err != nil {
		return fsdrivers.Activated{}, fmt.Errorf("activate %s in place: %w", d, err)
	}
	defer leave()
	r, point, err := t.mayGoLive(d, s)
	if err == nil && r.running() {
		err = fmt.Errorf("a receive runs: %w", dataset.ErrBusy)
	}
	if err != nil {
		return fsdrivers.Activated{}, fmt.Errorf("activate %s of %s in place: %w", s.Name, d, err)
	}
	if r.live == nil {
		r.partial = nil
		r.live = &volume{
			shelf: r.shelf, Dataset: dataset.Dataset{Path: t.home(d), ID: t.disk.newID()},
			files: point.files.clone(), frozen: point.files, inPlace: true,
		}
		t.disk.live[r.live.Path] = r.live
		r.touch()
	}
	return fsdrivers.Activated{Live: string(r.live.Path)}, nil
}

// Rest implements fsdrivers.InPlacer.
//
// Cases: "what is live itself rests if nothing was written", "what was written keeps it
// live".
func (t *Target) Rest(ctx context.Context, d dataset.Path) error {
	leave, err := t.disk.enter(ctx)
	if err != nil {
		return fmt.Errorf("make %s a standby again: %w", d, err)
	}
	defer leave()
	k, err := t.key(d)
	if err != nil {
		return fmt.Errorf("make %s a standby again: %w", d, err)
	}
	r := t.disk.replicas[k]
	switch {
	case r == nil || r.live == nil:
		return nil
	case r.live.frozen == nil:
		return fmt.Errorf("make %s a standby again: something was written after its newest snapshot: %w", d, dataset.ErrDiverged)
	}
	delete(t.disk.live, r.live.Path)
	r.live = nil
	r.touch()
	return nil
}
