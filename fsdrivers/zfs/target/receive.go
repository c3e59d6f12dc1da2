package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/internal/command"
	"antipode/fsdrivers/zfs/cli"
	"antipode/fsdrivers/zfs/listing"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/pool"
	"antipode/fsdrivers/zfs/stream"
)

// How often, and how long apart, dropping partial state is tried while the receive
// that left it is still ending in the kernel.
const (
	busyTries = 20
	busyPause = 500 * time.Millisecond
	// saveGrace is how long a receive whose stream broke off may take to save its
	// partial state.
	saveGrace = 30 * time.Second
)

// Pending implements fsdrivers.Receiver: the resume token of the pool, if it is of
// a step that was written down before it began.
func (t *Target) Pending(ctx context.Context, d dataset.Path) (dataset.Checkpoint, error) {
	t.places.RLock()
	defer t.places.RUnlock()
	r, err := t.known(ctx, d)
	if err != nil {
		return dataset.Checkpoint{}, fmt.Errorf("pending: %w", err)
	}
	for _, l := range r.lineages {
		if c := l.checkpoint(); !c.IsZero() {
			return c, nil
		}
	}
	return dataset.Checkpoint{}, nil
}

// checkpoint is zero where there is no token, or one of another step than the
// lineage's: that state is good for nothing.
func (l *lineage) checkpoint() dataset.Checkpoint {
	in := l.incoming()
	token, err := stream.ParseToken(l.token())
	if err != nil || naming.IDOf(token.ToGUID) != in.To || len(l.token()) > dataset.MaxCheckpointBytes {
		return dataset.Checkpoint{}
	}
	if in.From.IsZero() != (token.FromGUID == 0) || token.FromGUID != 0 && naming.IDOf(token.FromGUID) != in.From {
		return dataset.Checkpoint{}
	}
	return dataset.Checkpoint{Kind: stream.CheckpointKind, Step: in.Step, Done: int64(min(token.Bytes, 1<<62)), Opaque: []byte(l.token())}
}

// Receive implements fsdrivers.Receiver: the stream passes the gate and goes to
// `zfs receive -s -u` on an exact name. A stream that goes on where the pool's
// partial state ends is taken in as what it is; any other takes the place of that
// state. What r still has to give is not waited for when ctx ends.
func (t *Target) Receive(ctx context.Context, in dataset.Incoming, r io.Reader) (dataset.Snapshot, error) {
	s, err := t.receive(ctx, in, r)
	if err != nil {
		return dataset.Snapshot{}, fmt.Errorf("receive %s of %s: %w", in.Step.To.Name, in.Step.Dataset.Path, err)
	}
	return s, nil
}

func (t *Target) receive(ctx context.Context, in dataset.Incoming, r io.Reader) (dataset.Snapshot, error) {
	if err := checkStep(in.Step); err != nil {
		return dataset.Snapshot{}, err
	}
	release, err := t.claim(in.Step.Dataset.Path)
	if err != nil {
		return dataset.Snapshot{}, err
	}
	defer release()
	defer t.changed(in.Step.Dataset.Path)()
	rep, err := t.replica(ctx, in.Step.Dataset.Path)
	if err != nil {
		return dataset.Snapshot{}, err
	}
	if err := t.listAll(ctx, rep); err != nil {
		return dataset.Snapshot{}, err
	}
	if done, err := t.arrived(ctx, rep, in.Step); !done.ID.IsZero() || err != nil {
		return done, err
	}
	lock, err := t.lock(ctx, in.Step.Dataset.Path)
	if err != nil {
		return dataset.Snapshot{}, err
	}
	defer func() { _ = lock.Close() }()
	w := &work{t: t, ctx: ctx, in: in, rep: rep, lock: lock}
	if err := w.choose(); err != nil {
		return dataset.Snapshot{}, err
	}
	if err := w.run(r); err != nil {
		return dataset.Snapshot{}, err
	}
	return w.publish()
}

// checkStep checks what a peer announced before any of it becomes a name.
func checkStep(s dataset.Step) error {
	if err := naming.Own(s.To.Name); err != nil {
		return err
	}
	ids := []dataset.ID{s.Dataset.ID, s.To.ID}
	if !s.IsFull() {
		ids = append(ids, s.From.ID)
	}
	for _, id := range ids {
		if _, err := naming.GUIDOf(id); err != nil {
			return fmt.Errorf("%w: %w", dataset.ErrRefused, err)
		}
	}
	if s.Flags != stream.FlagsAuto && s.Flags != stream.FlagsRaw && s.Flags != stream.FlagsPlain {
		return fmt.Errorf("send flags %q are unknown: %w", s.Flags, dataset.ErrRefused)
	}
	return nil
}

// arrived answers for a step that was done before. Errors: ErrExists if its name
// has another identity, ErrDiverged if the path holds another dataset's points.
func (t *Target) arrived(ctx context.Context, rep *replica, s dataset.Step) (dataset.Snapshot, error) {
	points := 0
	var stranger *lineage
	var taken error
	for _, l := range rep.lineages {
		for _, e := range pool.Ours(l.list, false) {
			points++
			switch {
			case e.ID() == s.To.ID:
				return t.point(ctx, l, e)
			case e.Short() == s.To.Name:
				taken = fmt.Errorf("%s is there with the identity %s: %w", e.Name, e.ID(), dataset.ErrExists)
			}
		}
		if l.source != s.Dataset.ID {
			stranger = l
		}
	}
	if stranger != nil && points > 0 {
		return dataset.Snapshot{}, fmt.Errorf("%s holds %d points of another dataset (%s); it was made anew on the source as %s. "+
			"Give the new one another path, or rename %s away: %w",
			rep.path, points, stranger.source, s.Dataset.ID, stranger.name, dataset.ErrDiverged)
	}
	return dataset.Snapshot{}, taken
}

// point is one that is published, with its times and holds.
func (t *Target) point(ctx context.Context, l *lineage, e pool.Entry) (dataset.Snapshot, error) {
	list, err := listing.Describe(ctx, t.zfs, []pool.Entry{e}, nil)
	if err != nil {
		return dataset.Snapshot{}, err
	}
	if len(list) == 0 {
		return dataset.Snapshot{}, fmt.Errorf("%s was destroyed just now: %w", e.Name, dataset.ErrBusy)
	}
	l.complete(&list[0])
	return list[0], nil
}

// lock keeps other processes away, and ends a receive that outlived its daemon.
func (t *Target) lock(ctx context.Context, d dataset.Path) (*command.Lock, error) {
	path := t.lockFile(d)
	err := command.EndOrphan(ctx, path)
	if err == nil {
		var lock *command.Lock
		if lock, err = command.TryLock(path); err == nil {
			return lock, nil
		}
	}
	switch {
	case errors.Is(err, command.ErrLocked):
		return nil, fmt.Errorf("%w: %w", dataset.ErrBusy, err)
	case errors.Is(err, command.ErrStuck):
		return nil, fmt.Errorf("%w: %w", dataset.ErrStuck, err)
	}
	return nil, err
}

// Abort implements fsdrivers.Receiver. A receive that still runs is ErrBusy: end
// it first.
func (t *Target) Abort(ctx context.Context, d dataset.Path) error {
	release, err := t.claim(d)
	if err != nil {
		return fmt.Errorf("abort receive of %s: %w", d, err)
	}
	defer release()
	defer t.changed(d)()
	r, err := t.replica(ctx, d)
	if err != nil {
		return fmt.Errorf("abort receive: %w", err)
	}
	if !slices.ContainsFunc(r.lineages, func(l *lineage) bool { return l.token() != "" || l.isPartial() }) {
		return nil
	}
	lock, err := t.lock(ctx, d)
	if err != nil {
		return fmt.Errorf("abort receive of %s: %w", d, err)
	}
	defer func() { _ = lock.Close() }()
	for _, l := range r.lineages {
		if l.token() == "" && !l.isPartial() {
			continue
		}
		if err := t.abort(ctx, l.name); err != nil {
			return fmt.Errorf("abort receive of %s: %w", d, err)
		}
	}
	return nil
}

// abort drops partial state. What holds a snapshot only for it, its hidden clone,
// goes with it. That there is none is success.
func (t *Target) abort(ctx context.Context, name string) error {
	for try := 1; ; try++ {
		_, err := t.zfs.Run(ctx, name, "receive", "-A", name)
		if !errors.Is(err, dataset.ErrBusy) || try == busyTries {
			if err = cli.Unless(err, cli.ErrNothing, dataset.ErrNotFound); err != nil {
				return fmt.Errorf("drop the partial state of %s: %w", name, err)
			}
			return nil
		}
		if err := pause(ctx, busyPause); err != nil { // a receive that is just ending
			return err
		}
	}
}
