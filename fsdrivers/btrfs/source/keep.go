package source

import (
	"context"
	"errors"
	"fmt"

	"antipode/fsdrivers"
	"antipode/fsdrivers/btrfs/facts"
	"antipode/fsdrivers/btrfs/send"
	"antipode/fsdrivers/btrfs/subvol"
	"antipode/fsdrivers/dataset"
)

// Hold implements fsdrivers.Holder.
func (s *Source) Hold(_ context.Context, d dataset.Path, snap dataset.Snapshot, tag dataset.Tag) error {
	o, err := s.openAll(d, true)
	if err != nil {
		return err
	}
	defer o.close()
	return o.facts.HoldSnapshot(o.dir, snap, tag)
}

// Release implements fsdrivers.Holder.
func (s *Source) Release(_ context.Context, d dataset.Path, tag dataset.Tag, keep ...dataset.ID) error {
	o, err := s.openAll(d, false)
	if errors.Is(err, dataset.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer o.close()
	if err := o.facts.Release(tag, keep); err != nil {
		return fmt.Errorf("release %s of %s: %w", tag, d, err)
	}
	return nil
}

// Mark implements fsdrivers.Marker.
func (s *Source) Mark(_ context.Context, d dataset.Path) (dataset.Mark, error) {
	o, err := s.openAll(d, false)
	if err != nil {
		return dataset.Mark{}, err
	}
	defer o.close()
	return o.facts.Mark()
}

// SwapMark implements fsdrivers.Marker.
func (s *Source) SwapMark(_ context.Context, d dataset.Path, old, next dataset.Mark) error {
	o, err := s.openAll(d, true)
	if err != nil {
		return err
	}
	defer o.close()
	return o.facts.SwapMark(old, next)
}

// Space implements fsdrivers.Space.
func (s *Source) Space(_ context.Context, d dataset.Path) (fsdrivers.Usage, error) {
	l, err := s.open(d)
	if err != nil {
		return fsdrivers.Usage{}, err
	}
	defer l.Close()
	return subvol.UsageOf(l.File)
}

// Sweep implements fsdrivers.Sweeper for the datasets that this Source was asked
// about before: a source has no list of them. A send that outlived its daemon
// has lost its pipe and mostly ends by itself.
func (s *Source) Sweep(ctx context.Context) error {
	var all []error
	for _, d := range s.datasets() {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := s.sweep(ctx, d); err != nil && !errors.Is(err, dataset.ErrNotFound) {
			all = append(all, fmt.Errorf("sweep %s: %w", d, err))
		}
	}
	return errors.Join(all...)
}

func (s *Source) sweep(ctx context.Context, d dataset.Path) error {
	o, err := s.openAll(d, false)
	if err != nil {
		return err
	}
	defer o.close()
	if err := send.Sweep(ctx, o.facts); err != nil {
		return err
	}
	return o.facts.Sweep(func() (map[string]bool, error) {
		list, err := subvol.Names(o.dir)
		keep := make(map[string]bool, len(list))
		for _, name := range list {
			keep[name] = true
		}
		return keep, err
	})
}

// Pin implements fsdrivers.Pinner.
func (s *Source) Pin(_ context.Context, d dataset.Path, snap dataset.Snapshot, p dataset.Pin) error {
	return s.setPin(d, snap, &p)
}

// Unpin implements fsdrivers.Pinner.
func (s *Source) Unpin(_ context.Context, d dataset.Path, snap dataset.Snapshot) error {
	return s.setPin(d, snap, nil)
}

func (s *Source) setPin(d dataset.Path, snap dataset.Snapshot, p *dataset.Pin) error {
	o, err := s.openAll(d, true)
	if err != nil {
		return err
	}
	defer o.close()
	return o.facts.PinSnapshot(o.dir, snap, snap.Name, p)
}

// Holds implements fsdrivers.HoldLister.
func (s *Source) Holds(_ context.Context, d dataset.Path) ([]fsdrivers.Hold, error) {
	o, err := s.openAll(d, false)
	if errors.Is(err, dataset.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer o.close()
	return o.facts.ListHolds()
}

// Destroy implements fsdrivers.Destroyer.
func (s *Source) Destroy(ctx context.Context, d dataset.Path, snap dataset.Snapshot) error {
	return s.DestroyAll(ctx, d, []dataset.Snapshot{snap})[0]
}

// DestroyAll implements fsdrivers.ManyDestroyer: one look at the holds and one wait
// for the disk, however many there are.
func (s *Source) DestroyAll(ctx context.Context, d dataset.Path, list []dataset.Snapshot) []error {
	o, err := s.openAll(d, false)
	if errors.Is(err, dataset.ErrNotFound) || err == nil && o.dir == nil {
		if err == nil {
			o.close()
		}
		return make([]error, len(list)) // its snapshots went with it
	}
	if err != nil {
		return facts.AnswerAll(list, err)
	}
	defer o.close()
	return o.facts.DestroyAll(ctx, o.dir, list, func(snap dataset.Snapshot) string { return snap.Name })
}
