package fake

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"antipode/fsdrivers/dataset"
)

// partial is an unfinished receive.
type partial struct {
	step    dataset.StepID
	running bool
	dec     *decoder
}

// running reports whether a receive owns the replica.
func (r *replica) running() bool { return r.partial != nil && r.partial.running }

// Receive implements fsdrivers.Receiver. Like a driver that feeds a child it
// waits for r, which its owner has to end when ctx ends or the host crashes.
//
// Case: "a receive ends with its context".
func (t *Target) Receive(ctx context.Context, in dataset.Incoming, r io.Reader) (dataset.Snapshot, error) {
	done, rep, crash, err := t.begin(ctx, in)
	if err != nil || !done.ID.IsZero() {
		return done, wrapReceive(in, err)
	}
	err = t.consume(ctx, in, rep.partial, crash, bufio.NewReaderSize(r, blockSize))
	snap, err := t.finish(in, rep, crash, err)
	return snap, wrapReceive(in, err)
}

func wrapReceive(in dataset.Incoming, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("receive %s of %s: %w", in.Step.To.Name, in.Step.Dataset.Path, err)
}

// begin judges the step and takes the replica, or returns what is published.
//
// Cases: "a step that is published is answered without reading", "a name that
// another identity has is refused", "a second receive on a replica is busy",
// "without its base nothing is received", "a dataset made anew under an old path
// has diverged", "a checkpoint that does not fit is stale, and the step is received
// anew", "without its checkpoint a step is received from its first byte".
func (t *Target) begin(ctx context.Context, in dataset.Incoming) (dataset.Snapshot, *replica, <-chan struct{}, error) {
	var none dataset.Snapshot
	leave, err := t.disk.enter(ctx)
	if err != nil {
		return none, nil, nil, err
	}
	defer leave()
	k, err := t.key(in.Step.Dataset.Path)
	if err != nil {
		return none, nil, nil, err
	}
	if _, err := dataset.ParseName(in.Step.To.Name); err != nil {
		return none, nil, nil, fmt.Errorf("%w: %w", err, dataset.ErrRefused)
	}
	rep := t.disk.replicas[k]
	if rep == nil || rep.ID != in.Step.Dataset.ID && len(rep.snaps) == 0 && !rep.running() {
		rep = &replica{shelf: &shelf{}, Dataset: in.Step.Dataset}
		t.disk.replicas[k] = rep
	}
	to, base := rep.byID(in.Step.To.ID), rep.byID(in.Step.From.ID)
	switch {
	case rep.ID != in.Step.Dataset.ID:
		return none, nil, nil, fmt.Errorf("dataset %s has points here, not %s: %w", rep.ID, in.Step.Dataset.ID, dataset.ErrDiverged)
	case to != nil:
		return to.view(), nil, nil, nil
	case rep.live != nil: // case: "nothing is received into what is live itself"
		return none, nil, nil, fmt.Errorf("it is live itself: %w", dataset.ErrDiverged)
	case rep.running():
		return none, nil, nil, dataset.ErrBusy
	case rep.snaps[in.Step.To.Name] != nil:
		return none, nil, nil, fmt.Errorf("it is %s here, not %s: %w", rep.snaps[in.Step.To.Name].ID, in.Step.To.ID, dataset.ErrExists)
	case !in.Step.IsFull() && base == nil:
		return none, nil, nil, fmt.Errorf("base %s: %w", in.Step.From.ID, dataset.ErrBaseMissing)
	}
	return none, rep, t.disk.crash, t.take(rep, base, in)
}

// take starts a receive: a new one, or the one that was broken off.
func (t *Target) take(rep *replica, base *snapshot, in dataset.Incoming) error {
	if c := in.Checkpoint; !c.IsZero() {
		p := rep.partial
		if p == nil || !t.disk.resumable || c.Kind != checkpointKind || p.step != c.Step || p.step != in.Step.ID() || p.dec.off != c.Done {
			return &dataset.StaleCheckpointError{Why: "nothing was received here up to there"}
		}
		p.running = true
		return nil
	}
	var files content
	if base != nil {
		files = base.files
	}
	rep.partial = &partial{step: in.Step.ID(), running: true, dec: newDecoder(files)}
	t.disk.next()
	return nil
}

// newDecoder builds on the files of the base.
func newDecoder(base content) *decoder { return &decoder{base: base, files: base.clone()} }

// consume takes the stream in to its end of file.
//
// Cases: "a stream of another snapshot is refused", "a failure after the last
// byte is not a success", "nothing may follow the end mark".
func (t *Target) consume(ctx context.Context, in dataset.Incoming, p *partial, crash <-chan struct{}, r *bufio.Reader) error {
	for !p.dec.ended {
		before := p.dec.off
		rec, err := t.step(ctx, p, crash, r)
		switch {
		case err != nil:
			return err
		case before == 0 && (rec.from != in.Step.From.ID || rec.to != in.Step.To.ID):
			return refuse("it goes from %q to %q", rec.from, rec.to)
		case in.MaxBytes > 0 && p.dec.off > in.MaxBytes:
			return refuse("it has more than the %d bytes that are accepted", in.MaxBytes)
		}
	}
	switch _, err := r.ReadByte(); {
	case err == nil:
		return refuse("something follows the end mark")
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("%w: after the end mark: %w", dataset.ErrCut, err)
	}
	return nil
}

// step takes in one record.
func (t *Target) step(ctx context.Context, p *partial, crash <-chan struct{}, r io.Reader) (record, error) {
	dec := *p.dec // a record that is refused must not advance what a checkpoint names
	rec, err := dec.read(r)
	if err == nil {
		err = t.disk.pace(ctx, crash, len(rec.data))
	}
	if err != nil {
		return rec, err
	}
	t.disk.mu.Lock()
	defer t.disk.mu.Unlock()
	select {
	case <-crash:
		return rec, errCrashed // somebody else may own the partial by now
	default:
	}
	if err := t.disk.reserve(int64(len(rec.data))); err != nil {
		return rec, err
	}
	if err := dec.apply(rec); err != nil {
		return rec, err
	}
	if t.disk.used >= 0 {
		t.disk.used += int64(len(rec.data))
	}
	*p.dec = dec
	return rec, nil
}

// finish publishes what is whole, and cleans up what is not.
//
// Cases: "a received snapshot has the announced identity and times", "a cut
// stream leaves nothing published".
func (t *Target) finish(in dataset.Incoming, rep *replica, crash <-chan struct{}, err error) (dataset.Snapshot, error) {
	t.disk.mu.Lock()
	defer t.disk.mu.Unlock()
	select {
	case <-crash:
		return dataset.Snapshot{}, errCrashed // leaves its litter, as a kill does
	default:
	}
	p := rep.partial
	p.running = false
	if err != nil {
		if !t.disk.resumable || p.dec.off == 0 || errors.Is(err, dataset.ErrRefused) {
			rep.partial = nil
		}
		t.disk.next()
		return dataset.Snapshot{}, err
	}
	rep.partial = nil
	to := in.Step.To
	snap := &snapshot{
		Snapshot: dataset.Snapshot{
			Name: to.Name, ID: to.ID, Order: t.disk.next(), Created: to.Created.UTC(),
			Received: t.now().UTC(), Retain: in.Retain.UTC(),
		},
		files: p.dec.files, holds: map[dataset.Tag]bool{},
	}
	rep.put(snap)
	return snap.view(), nil
}
