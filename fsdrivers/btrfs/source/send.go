package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"antipode/fsdrivers/btrfs/send"
	"antipode/fsdrivers/dataset"
)

// Send implements fsdrivers.Sender with `btrfs send [-p parent] snapshot`: never
// -c, whose sources the receiver could not vouch for, and never -e.
func (s *Source) Send(ctx context.Context, step dataset.Step, from dataset.Checkpoint) (io.ReadCloser, error) {
	return s.SendAgain(ctx, step, from, func(int64, int64) {})
}

// SendAgain implements fsdrivers.Rereader.
func (s *Source) SendAgain(ctx context.Context, step dataset.Step, from dataset.Checkpoint, tell func(done, of int64)) (io.ReadCloser, error) {
	return send.Start(ctx, s.binary, s.prepareSend, step, from, tell)
}

// prepareSend looks both ends up by identity; their names may have changed.
func (s *Source) prepareSend(step dataset.Step) (*send.Outgoing, error) {
	o, err := s.openAll(step.Dataset.Path, false)
	if err != nil {
		return nil, err
	}
	out := &send.Outgoing{File: o.File, Facts: o.facts, End: o.close}
	if step.Dataset.ID != o.id {
		err = fmt.Errorf("%s is now subvolume %s, planned was %s: %w", o.Name(), o.id, step.Dataset.ID, dataset.ErrNotFound)
	} else {
		out.Args, err = send.Args(step, o.where)
	}
	if err != nil {
		o.close()
		return nil, err
	}
	return out, nil
}

// where is the path of a listed snapshot; "" if there is none of that identity.
func (o *opened) where(want dataset.Snapshot) (string, error) {
	s, err := o.find(want)
	if errors.Is(err, dataset.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return filepath.Join(o.dir.Name(), s.Name), nil
}

// Estimate implements fsdrivers.Estimator: it reads the metadata of the step and
// no data (FIELD-NOTES B.6: within 0.1 %).
func (s *Source) Estimate(ctx context.Context, step dataset.Step) (int64, error) {
	return send.Estimate(ctx, s.binary, s.prepareSend, step)
}
