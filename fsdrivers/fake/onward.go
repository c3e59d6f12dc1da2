package fake

import (
	"context"
	"fmt"
	"io"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

var _ fsdrivers.Forwarder = (*Target)(nil)

// onward sends what a Target has published.
type onward struct{ t *Target }

// Onward implements fsdrivers.Forwarder.
func (t *Target) Onward() fsdrivers.Onward { return onward{t} }

// Send implements fsdrivers.Sender.
func (o onward) Send(ctx context.Context, step dataset.Step, from dataset.Checkpoint) (io.ReadCloser, error) {
	shelf, leave, err := o.open(ctx, step)
	if err != nil {
		return nil, fmt.Errorf("send %s of %s: %w", step.To.Name, step.Dataset.Path, err)
	}
	defer leave()
	return o.t.disk.send(ctx, shelf, step, from)
}

// Estimate implements fsdrivers.Estimator.
func (o onward) Estimate(ctx context.Context, step dataset.Step) (int64, error) {
	shelf, leave, err := o.open(ctx, step)
	if err != nil {
		return 0, fmt.Errorf("estimate %s of %s: %w", step.To.Name, step.Dataset.Path, err)
	}
	defer leave()
	enc, _, err := shelf.encode(step)
	if err != nil {
		return 0, fmt.Errorf("estimate %s of %s: %w", step.To.Name, step.Dataset.Path, err)
	}
	return enc.size(), nil
}

func (o onward) open(ctx context.Context, step dataset.Step) (*shelf, func(), error) {
	leave, err := o.t.disk.enter(ctx)
	if err != nil {
		return nil, nil, err
	}
	k, err := o.t.key(step.Dataset.Path)
	r := o.t.disk.replicas[k]
	if err == nil && (r == nil || r.ID != step.Dataset.ID) {
		err = fmt.Errorf("replica of %s: %w", step.Dataset.ID, dataset.ErrNotFound)
	}
	if err != nil {
		leave()
		return nil, nil, err
	}
	return r.shelf, leave, nil
}
