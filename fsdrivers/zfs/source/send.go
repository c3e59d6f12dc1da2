package source

import (
	"context"
	"fmt"
	"io"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/send"
)

// Send implements fsdrivers.Sender.
func (s *Source) Send(ctx context.Context, step dataset.Step, from dataset.Checkpoint) (io.ReadCloser, error) {
	p, err := s.planSend(ctx, step)
	if err != nil {
		return nil, fmt.Errorf("send %s: %w", step.To.Name, err)
	}
	r, err := p.Start(ctx, s.zfs, step, from)
	if err != nil {
		return nil, fmt.Errorf("send %s: %w", step.To.Name, err)
	}
	return r, nil
}

// Estimate implements fsdrivers.Estimator.
func (s *Source) Estimate(ctx context.Context, step dataset.Step) (int64, error) {
	p, err := s.planSend(ctx, step)
	if err != nil {
		return 0, fmt.Errorf("estimate %s: %w", step.To.Name, err)
	}
	bytes, err := p.Estimate(ctx, s.zfs)
	if err != nil {
		return 0, fmt.Errorf("estimate %s: %w", step.To.Name, err)
	}
	return bytes, nil
}

// planSend makes sure that the dataset is still the one that was meant.
func (s *Source) planSend(ctx context.Context, step dataset.Step) (send.Plan, error) {
	ds, err := s.name(step.Dataset.Path)
	if err != nil {
		return send.Plan{}, err
	}
	f, err := s.zfs.Get(ctx, "guid,encryption", []string{ds})
	if err != nil {
		return send.Plan{}, err
	}
	if id := naming.IDOf(f.Number(ds, "guid")); id != step.Dataset.ID {
		return send.Plan{}, fmt.Errorf("%s is now dataset %s, planned was %s: %w", ds, id, step.Dataset.ID, dataset.ErrNotFound)
	}
	raw, err := send.IsRaw(step.Flags, f.IsEncrypted(ds))
	if err != nil {
		return send.Plan{}, err
	}
	if f.IsEncrypted(ds) {
		if err := s.zfs.MustCrypt(ctx); err != nil {
			return send.Plan{}, err
		}
	}
	all, err := s.zfs.List(ctx, ds)
	if err != nil {
		return send.Plan{}, err
	}
	return send.New(ds, all, step, raw)
}
