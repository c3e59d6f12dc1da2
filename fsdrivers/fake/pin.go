package fake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// Pin implements fsdrivers.Pinner.
//
// Cases: "a pinned snapshot is not destroyed", "a pin outlives the driver", "what
// is gone or changed cannot be pinned".
func (s *side) Pin(ctx context.Context, d dataset.Path, snap dataset.Snapshot, p dataset.Pin) error {
	if err := p.Validate(); err != nil {
		return fmt.Errorf("pin %s of %s: %w", snap.Name, d, err)
	}
	if err := s.setPin(ctx, d, snap, &p); err != nil {
		return fmt.Errorf("pin %s of %s: %w", snap.Name, d, err)
	}
	return nil
}

// Unpin implements fsdrivers.Pinner.
//
// Case: "a pin can be set anew and taken off".
func (s *side) Unpin(ctx context.Context, d dataset.Path, snap dataset.Snapshot) error {
	if err := s.setPin(ctx, d, snap, nil); err != nil {
		return fmt.Errorf("unpin %s of %s: %w", snap.Name, d, err)
	}
	return nil
}

func (s *side) setPin(ctx context.Context, d dataset.Path, snap dataset.Snapshot, p *dataset.Pin) error {
	found, leave, err := s.open(ctx, d)
	if err != nil {
		return err
	}
	defer leave()
	if found == nil || found.snaps[snap.Name] == nil {
		return dataset.ErrNotFound
	}
	there := found.snaps[snap.Name]
	if there.ID != snap.ID {
		return fmt.Errorf("it is %s, not %s: %w", there.ID, snap.ID, dataset.ErrChanged)
	}
	there.pin = p
	return nil
}

// Holds implements fsdrivers.HoldLister.
//
// Case: "all holds are listed".
func (s *side) Holds(ctx context.Context, d dataset.Path) ([]fsdrivers.Hold, error) {
	found, leave, err := s.open(ctx, d)
	if errors.Is(err, dataset.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list holds of %s: %w", d, err)
	}
	defer leave()
	var all []fsdrivers.Hold
	if found == nil {
		return nil, nil
	}
	for name, snap := range found.snaps {
		for tag := range snap.holds {
			all = append(all, fsdrivers.Hold{Snapshot: name, Tag: string(tag), Ours: true})
		}
	}
	slices.SortFunc(all, func(a, b fsdrivers.Hold) int {
		return cmp.Or(cmp.Compare(a.Snapshot, b.Snapshot), cmp.Compare(a.Tag, b.Tag))
	})
	return all, nil
}
