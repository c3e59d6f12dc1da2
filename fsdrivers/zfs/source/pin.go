package source

import (
	"context"
	"fmt"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/cli"
)

// Pin implements fsdrivers.Pinner.
func (s *Source) Pin(ctx context.Context, d dataset.Path, snap dataset.Snapshot, p dataset.Pin) error {
	return s.setPin(ctx, d, snap, &p)
}

// Unpin implements fsdrivers.Pinner.
func (s *Source) Unpin(ctx context.Context, d dataset.Path, snap dataset.Snapshot) error {
	return s.setPin(ctx, d, snap, nil)
}

func (s *Source) setPin(ctx context.Context, d dataset.Path, snap dataset.Snapshot, p *dataset.Pin) error {
	name, err := s.name(d)
	if err == nil {
		defer s.changed(name, false)
		err = s.zfs.SetPin(ctx, name, snap, p)
	}
	if err != nil {
		return fmt.Errorf("pin %s of %s: %w", snap.Name, d, err)
	}
	return nil
}

// Holds implements fsdrivers.HoldLister.
func (s *Source) Holds(ctx context.Context, d dataset.Path) ([]fsdrivers.Hold, error) {
	name, err := s.name(d)
	if err != nil {
		return nil, cli.Unless(err, dataset.ErrNotFound)
	}
	list, err := s.zfs.AllHolds(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("holds of %s: %w", d, err)
	}
	return list, nil
}
