// Package forward makes a source of a target: what was received from one host is
// sent on to the next, with its identities. It takes no snapshots, is primary of
// nothing, and leaves retention to the target. It knows no file system.
package forward

import (
	"context"
	"fmt"
	"io"
	"time"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// Source offers the replicas of a target. Holds are those of the target's points, so
// that its retention keeps what the next host needs.
type Source struct {
	fsdrivers.Target
	onward fsdrivers.Onward
}

var (
	_ fsdrivers.Source    = (*Source)(nil)
	_ fsdrivers.Rereader  = (*Source)(nil)
	_ fsdrivers.Versioner = (*Source)(nil)
)

// New makes one; false if the target cannot send.
func New(t fsdrivers.Target) (*Source, bool) {
	f, ok := t.(fsdrivers.Forwarder)
	if !ok {
		return nil, false
	}
	return &Source{Target: t, onward: f.Onward()}, true
}

// Of reports whether the source offers the replicas of t.
func (s *Source) Of(t fsdrivers.Target) bool { return s.Target == t }

// Find implements fsdrivers.Lister: a replica that is not there yet is nothing, and
// no error, because it is for its source to begin.
func (s *Source) Find(ctx context.Context, root dataset.Path, deep bool) ([]dataset.Dataset, error) {
	all, err := s.Target.Find(ctx, "/", true)
	if err != nil {
		return nil, err
	}
	var found []dataset.Dataset
	for _, d := range all {
		if d.Path == root || deep && root.Contains(d.Path) {
			found = append(found, d)
		}
	}
	return found, nil
}

// Snapshots implements fsdrivers.Lister: what the target has published and can send.
func (s *Source) Snapshots(ctx context.Context, d dataset.Path) ([]dataset.Snapshot, error) {
	if o, ok := s.onward.(fsdrivers.Offerer); ok {
		return o.Offered(ctx, d)
	}
	return s.Target.Snapshots(ctx, d)
}

// Send implements fsdrivers.Sender.
func (s *Source) Send(ctx context.Context, step dataset.Step, from dataset.Checkpoint) (io.ReadCloser, error) {
	return s.onward.Send(ctx, step, from)
}

// SendAgain implements fsdrivers.Rereader.
func (s *Source) SendAgain(ctx context.Context, step dataset.Step, from dataset.Checkpoint, tell func(done, of int64)) (io.ReadCloser, error) {
	if r, ok := s.onward.(fsdrivers.Rereader); ok {
		return r.SendAgain(ctx, step, from, tell)
	}
	return s.onward.Send(ctx, step, from)
}

// Estimate implements fsdrivers.Estimator.
func (s *Source) Estimate(ctx context.Context, step dataset.Step) (int64, error) {
	return s.onward.Estimate(ctx, step)
}

// Versions implements fsdrivers.Versioner; nothing is told where the target cannot.
func (s *Source) Versions(ctx context.Context, ds []dataset.Path) ([]string, error) {
	if v, ok := s.Target.(fsdrivers.Versioner); ok {
		return v.Versions(ctx, ds)
	}
	return make([]string, len(ds)), nil
}

// Snapshot refuses: points come from the source.
func (s *Source) Snapshot(_ context.Context, name string, _ time.Time, ds []dataset.Path) ([]dataset.Snapshot, error) {
	return nil, fmt.Errorf("snapshot %s of %v: they are replicas: %w", name, ds, dataset.ErrRefused)
}

// Mark is none: whoever is primary, it is not this host.
func (s *Source) Mark(context.Context, dataset.Path) (dataset.Mark, error) {
	return dataset.Mark{}, nil
}

// SwapMark refuses: a promotion further on is not for the replica in between to fence.
func (s *Source) SwapMark(_ context.Context, d dataset.Path, _, _ dataset.Mark) error {
	return fmt.Errorf("write mark of %s: it is a replica: %w", d, dataset.ErrRefused)
}

// Fence refuses: nothing here is live.
func (s *Source) Fence(_ context.Context, d dataset.Path) error {
	return fmt.Errorf("fence %s: it is a replica: %w", d, dataset.ErrRefused)
}
