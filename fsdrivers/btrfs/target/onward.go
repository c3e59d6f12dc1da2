package target

import (
	"context"
	"fmt"
	"io"
	"path/filepath"

	"antipode/fsdrivers"
	"antipode/fsdrivers/btrfs/send"
	"antipode/fsdrivers/btrfs/standby"
	"antipode/fsdrivers/dataset"
)

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
	return send.Start(ctx, o.t.opts.Binary, o.prepare, step, from, tell)
}

// Estimate implements fsdrivers.Estimator.
func (o onward) Estimate(ctx context.Context, step dataset.Step) (int64, error) {
	return send.Estimate(ctx, o.t.opts.Binary, o.prepare, step)
}

// prepare looks both ends up by identity.
func (o onward) prepare(step dataset.Step) (_ *send.Outgoing, err error) {
	in, err := o.t.shelf.Open()
	if err != nil {
		return nil, err
	}
	r, err := o.t.shelf.OpenReplica(in, step.Dataset.Path)
	out := &send.Outgoing{File: in.File, End: func() {
		if r != nil {
			r.Close()
		}
		in.Close()
	}}
	defer func() {
		if err != nil {
			out.End()
		}
	}()
	if err != nil {
		return nil, err
	}
	if r == nil || r.ID != step.Dataset.ID {
		return nil, fmt.Errorf("%s holds no replica of dataset %s: %w", step.Dataset.Path, step.Dataset.ID, dataset.ErrNotFound)
	}
	out.Facts = r.Facts
	out.Args, err = send.Args(step, func(want dataset.Snapshot) (string, error) { return where(r, want) })
	return out, err
}

// where is the path of a published point; "" if there is none of that identity.
func where(r *standby.Replica, want dataset.Snapshot) (string, error) {
	entries, err := r.Published()
	if err != nil {
		return "", err
	}
	for _, e := range entries {
		if e.ID == want.ID {
			return filepath.Join(r.Dir.Name(), e.Name), nil
		}
	}
	return "", nil
}
