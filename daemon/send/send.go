// Package send is the source's side of one step: it holds what the step needs,
// opens the stream, hands it to the transport, and moves the holds when the far
// side has answered from its disk. It knows nothing of planning, retention or
// sockets.
package send

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/transport/wire"
)

// Driver is what a step needs of the source's file system.
type Driver interface {
	fsdrivers.Sender
	fsdrivers.Holder
	fsdrivers.Estimator
}

// Transport carries one stream to the target and asks it what it holds.
type Transport interface {
	// Send returns when the target has published the step or it failed.
	Send(ctx context.Context, open wire.Open, src io.Reader) (wire.Committed, error)
}

// Sender executes steps of one job to one peer. Its methods may be called
// concurrently for different datasets.
type Sender struct {
	Driver    Driver
	Transport Transport
	Kind      string // the driver's name on the wire
	Job       string
	Peer      string
	// ChunkBytes is the largest chunk to announce.
	ChunkBytes int
	// Estimated is told how many bytes a step will send, once that is known
	// and if the step still runs then.
	Estimated func(s dataset.Step, bytes int64)
	// Rereading is told how many of how many bytes that the target has were read
	// again, to prove that they are the same; see fsdrivers.Rereader.
	Rereading func(done, of int64)
	// Begins is told at which byte the stream begins, before it is sent.
	Begins func(at int64)
}

// ErrMisanswered means that the target says that it published something else than
// what was sent. Nothing is released.
var ErrMisanswered = errors.New("the target's answer does not match the step")

// Execute sends one step and returns the snapshot as it is on the target.
//
// From and To carry a durable hold before the first byte leaves, and keep it
// until the target has answered that To is published or another step takes this
// one's place (G1): a crash at any point leaves one hold too many, never one too
// few. Errors: those of the driver's Send and of the transport; ErrMisanswered.
func (s *Sender) Execute(ctx context.Context, step dataset.Step, from dataset.Checkpoint) (dataset.Snapshot, error) {
	if err := s.holdStep(ctx, step); err != nil {
		return dataset.Snapshot{}, err
	}
	defer s.estimate(ctx, step)()
	stream, from, err := s.open(ctx, step, from)
	if err != nil {
		return dataset.Snapshot{}, fmt.Errorf("send %s@%s: %w", step.Dataset.Path, step.To.Name, err)
	}
	defer stream.Close()
	s.Begins(from.Done)
	committed, err := s.Transport.Send(ctx, wire.Open{
		Step: step.Abroad(), Driver: s.Kind, Incarnation: newIncarnation(), Checkpoint: from, ChunkBytes: s.ChunkBytes,
	}, stream)
	if err != nil {
		return dataset.Snapshot{}, fmt.Errorf("replicate %s@%s to %s: %w", step.Dataset.Path, step.To.Name, s.Peer, err)
	}
	if !committed.Published || committed.Snapshot.ID != step.To.ID {
		return dataset.Snapshot{}, fmt.Errorf("replicate %s@%s to %s: %w: it names %q, published %t",
			step.Dataset.Path, step.To.Name, s.Peer, ErrMisanswered, committed.Snapshot.ID, committed.Published)
	}
	return committed.Snapshot, s.Settle(ctx, step.Dataset.Path, step.To)
}

// open opens the stream from the checkpoint on, or from the newest one before it
// that still fits, and tells from which. The target hears nothing of it until then:
// reading again what it has may take hours, and costs no link.
func (s *Sender) open(ctx context.Context, step dataset.Step, from dataset.Checkpoint) (io.ReadCloser, dataset.Checkpoint, error) {
	for {
		r, err := s.openAt(ctx, step, from)
		var stale *dataset.StaleCheckpointError
		if !errors.As(err, &stale) || stale.Fits.IsZero() || stale.Fits.Done >= from.Done {
			return r, from, err
		}
		from = stale.Fits
	}
}

func (s *Sender) openAt(ctx context.Context, step dataset.Step, from dataset.Checkpoint) (io.ReadCloser, error) {
	if again, ok := s.Driver.(fsdrivers.Rereader); ok {
		return again.SendAgain(ctx, step, from, s.Rereading)
	}
	return s.Driver.Send(ctx, step, from)
}

// estimateAfter is how long a step runs before its size is worth asking for:
// the answer walks all metadata, and a small step is over by then.
const estimateAfter = 2 * time.Second

// estimate asks for the step's size beside the transfer. The function that it
// returns ends the question and waits for it.
func (s *Sender) estimate(ctx context.Context, step dataset.Step) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-ctx.Done():
			return
		case <-time.After(estimateAfter):
		}
		// A hint: if it fails, the send itself says what is wrong.
		if bytes, err := s.Driver.Estimate(ctx, step); err == nil {
			s.Estimated(step, bytes)
		}
	}()
	return func() { cancel(); <-done }
}

// Settle makes base the held common base with the peer and drops the holds of
// steps that are done. It is called after a step, and when planning finds a base
// that a crash left without its hold.
func (s *Sender) Settle(ctx context.Context, d dataset.Path, base dataset.Snapshot) error {
	if err := s.Driver.Hold(ctx, d, base, s.baseTag()); err != nil {
		return fmt.Errorf("hold base %s@%s: %w", d, base.Name, err)
	}
	if err := s.Driver.Release(ctx, d, s.baseTag(), base.ID); err != nil {
		return fmt.Errorf("release earlier bases of %s: %w", d, err)
	}
	if err := s.Driver.Release(ctx, d, s.stepTag()); err != nil {
		return fmt.Errorf("release finished steps of %s: %w", d, err)
	}
	return nil
}

// holdStep holds both ends of the step, then lets go of what an abandoned step
// held.
func (s *Sender) holdStep(ctx context.Context, step dataset.Step) error {
	keep := []dataset.ID{step.To.ID}
	ends := []dataset.Snapshot{step.To}
	if !step.IsFull() {
		keep, ends = append(keep, step.From.ID), append(ends, step.From)
	}
	for _, end := range ends {
		if err := s.Driver.Hold(ctx, step.Dataset.Path, end, s.stepTag()); err != nil {
			return fmt.Errorf("hold %s@%s for its step: %w", step.Dataset.Path, end.Name, err)
		}
	}
	if err := s.Driver.Release(ctx, step.Dataset.Path, s.stepTag(), keep...); err != nil {
		return fmt.Errorf("release abandoned steps of %s: %w", step.Dataset.Path, err)
	}
	return nil
}

func (s *Sender) stepTag() dataset.Tag { return StepTag(s.Job, s.Peer) }
func (s *Sender) baseTag() dataset.Tag { return BaseTag(s.Job, s.Peer) }

// StepTag is the hold on both ends of the unfinished step of a job to a peer.
func StepTag(job, peer string) dataset.Tag { return dataset.Tag("step." + job + "." + peer) }

// BaseTag is the hold on the newest snapshot that a peer is known to have.
func BaseTag(job, peer string) dataset.Tag { return dataset.Tag("base." + job + "." + peer) }

// newIncarnation names one run of send: 128 random bits.
func newIncarnation() string {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand, Go 1.24)
	return hex.EncodeToString(b[:])
}
