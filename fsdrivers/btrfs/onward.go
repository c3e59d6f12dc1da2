package btrfs

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

var _ fsdrivers.Forwarder = (*Target)(nil)

// onward sends the published points of a Target. `btrfs send` tells of a received
// subvolume the UUID that it was received with, of the base too (send.c,
// send_subvol_begin), so that the stream says what its first source would.
type onward struct{ t *Target }

var _ fsdrivers.Rereader = onward{}

// Onward implements fsdrivers.Forwarder.
func (t *Target) Onward() fsdrivers.Onward { return onward{t} }

// Send implements fsdrivers.Sender.
func (o onward) Send(ctx context.Context, step dataset.Step, from dataset.Checkpoint) (io.ReadCloser, error) {
	return o.SendAgain(ctx, step, from, func(int64, int64) {})
}

// SendAgain implements fsdrivers.Rereader.
func (o onward) SendAgain(ctx context.Context, step dataset.Step, from dataset.Checkpoint, tell func(done, of int64)) (io.ReadCloser, error) {
	return sendAgain(ctx, o.t.opts.Binary, o.prepare, step, from, tell)
}

// Estimate implements fsdrivers.Estimator.
func (o onward) Estimate(ctx context.Context, step dataset.Step) (int64, error) {
	return estimate(ctx, o.t.opts.Binary, o.prepare, step)
}

// prepare looks both ends up by identity.
func (o onward) prepare(step dataset.Step) (_ *outgoing, err error) {
	in, err := o.t.open()
	if err != nil {
		return nil, err
	}
	r, err := o.t.openReplica(in, step.Dataset.Path)
	out := &outgoing{file: in.File, end: func() {
		if r != nil {
			r.close()
		}
		in.close()
	}}
	defer func() {
		if err != nil {
			out.end()
		}
	}()
	if err != nil {
		return nil, err
	}
	if r == nil || r.ID != step.Dataset.ID {
		return nil, fmt.Errorf("%s holds no replica of dataset %s: %w", step.Dataset.Path, step.Dataset.ID, dataset.ErrNotFound)
	}
	out.facts = r.facts
	out.args, err = sendArgs(step, r.where)
	return out, err
}

// where is the path of a published point; "" if there is none of that identity.
func (r *replica) where(want dataset.Snapshot) (string, error) {
	entries, err := r.published()
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if e.id == want.ID {
			return filepath.Join(r.dir.Name(), e.name), nil
		}
	}
	return "", nil
}
