package target

import (
	"context"
	"fmt"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// Pin implements fsdrivers.Pinner.
func (t *Target) Pin(ctx context.Context, d dataset.Path, snap dataset.Snapshot, p dataset.Pin) error {
	return t.setPin(ctx, d, snap, &p)
}

// Unpin implements fsdrivers.Pinner.
func (t *Target) Unpin(ctx context.Context, d dataset.Path, snap dataset.Snapshot) error {
	return t.setPin(ctx, d, snap, nil)
}

func (t *Target) setPin(ctx context.Context, d dataset.Path, snap dataset.Snapshot, p *dataset.Pin) error {
	t.into.Places.RLock()
	defer t.into.Places.RUnlock()
	defer t.into.Changed(d)()
	l, err := t.into.LineageOf(ctx, d, snap)
	if err == nil {
		err = t.zfs.SetPin(ctx, l.Name, snap, p)
	}
	if err != nil {
		return fmt.Errorf("pin %s of %s: %w", snap.Name, d, err)
	}
	return nil
}

// Holds implements fsdrivers.HoldLister.
func (t *Target) Holds(ctx context.Context, d dataset.Path) ([]fsdrivers.Hold, error) {
	t.into.Places.RLock()
	defer t.into.Places.RUnlock()
	r, err := t.into.Replica(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("holds of %s: %w", d, err)
	}
	var all []fsdrivers.Hold
	for _, l := range r.Lineages {
		list, err := t.zfs.AllHolds(ctx, l.Name)
		if err != nil {
			return nil, fmt.Errorf("holds of %s: %w", d, err)
		}
		all = append(all, list...)
	}
	return all, nil
}
