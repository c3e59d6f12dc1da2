// Package receive takes one stream in: which lineage it belongs to, the gate in front of `zfs
// receive`, what a broken one leaves, and when a point is published.
package receive

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/rs/zerolog"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/listing"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/pool"
	"antipode/fsdrivers/zfs/standby"
	"antipode/fsdrivers/zfs/stream"
)

// saveGrace is how long a receive whose stream broke off may take to save its
// partial state.
const saveGrace = 30 * time.Second

// Receiver receives into the replicas of one into.
type Receiver struct {
	into *standby.Into
	zfs  *pool.Host
	now  func() time.Time
	log  zerolog.Logger
}

// New makes one for replicas of in; now is the clock that points are stamped with.
func New(in *standby.Into, zfs *pool.Host, now func() time.Time, log zerolog.Logger) Receiver {
	return Receiver{into: in, zfs: zfs, now: now, log: log}
}

// Pending implements fsdrivers.Receiver: the resume token of the pool, if it is of
// a step that was written down before it began.
func (rv *Receiver) Pending(ctx context.Context, d dataset.Path) (dataset.Checkpoint, error) {
	rv.into.Places.RLock()
	defer rv.into.Places.RUnlock()
	r, err := rv.into.Known(ctx, d)
	if err != nil {
		return dataset.Checkpoint{}, fmt.Errorf("pending: %w", err)
	}
	for _, l := range r.Lineages {
		if c := l.Checkpoint(); !c.IsZero() {
			return c, nil
		}
	}
	return dataset.Checkpoint{}, nil
}

// Receive implements fsdrivers.Receiver: the stream passes the gate and goes to
// `zfs receive -s -u` on an exact name. A stream that goes on where the pool's
// partial state ends is taken in as what it is; any other takes the place of that
// state. What r still has to give is not waited for when ctx ends.
func (rv *Receiver) Receive(ctx context.Context, in dataset.Incoming, r io.Reader) (dataset.Snapshot, error) {
	s, err := rv.receive(ctx, in, r)
	if err != nil {
		return dataset.Snapshot{}, fmt.Errorf("receive %s of %s: %w", in.Step.To.Name, in.Step.Dataset.Path, err)
	}
	return s, nil
}

func (rv *Receiver) receive(ctx context.Context, in dataset.Incoming, r io.Reader) (dataset.Snapshot, error) {
	if err := checkStep(in.Step); err != nil {
		return dataset.Snapshot{}, err
	}
	release, err := rv.into.Claim(in.Step.Dataset.Path)
	if err != nil {
		return dataset.Snapshot{}, err
	}
	defer release()
	defer rv.into.Changed(in.Step.Dataset.Path)()
	// Before anything is read: it ends a receive that outlived its daemon, whose token moves on,
	// or whose point appears, until it has ended.
	lock, err := rv.into.Lock(ctx, in.Step.Dataset.Path)
	if err != nil {
		return dataset.Snapshot{}, err
	}
	defer func() { _ = lock.Close() }()
	rep, err := rv.into.Replica(ctx, in.Step.Dataset.Path)
	if err != nil {
		return dataset.Snapshot{}, err
	}
	if err := rv.into.ListAll(ctx, rep); err != nil {
		return dataset.Snapshot{}, err
	}
	if done, err := rv.arrived(ctx, rep, in.Step); !done.ID.IsZero() || err != nil {
		return done, err
	}
	w := &work{by: rv, ctx: ctx, in: in, rep: rep, lock: lock}
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
func (rv *Receiver) arrived(ctx context.Context, rep *standby.Replica, s dataset.Step) (dataset.Snapshot, error) {
	points := 0
	var stranger *standby.Lineage
	var taken error
	for _, l := range rep.Lineages {
		for _, e := range pool.Ours(l.List, false) {
			points++
			switch {
			case e.ID() == s.To.ID:
				return rv.point(ctx, l, e)
			case e.Short() == s.To.Name:
				taken = fmt.Errorf("%s is there with the identity %s: %w", e.Name, e.ID(), dataset.ErrExists)
			}
		}
		if l.Source != s.Dataset.ID {
			stranger = l
		}
	}
	if stranger != nil && points > 0 {
		return dataset.Snapshot{}, fmt.Errorf("%s holds %d points of another dataset (%s); it was made anew on the source as %s. "+
			"Give the new one another path, or rename %s away: %w",
			rep.Path, points, stranger.Source, s.Dataset.ID, stranger.Name, dataset.ErrDiverged)
	}
	return dataset.Snapshot{}, taken
}

// point is one that is published, with its times and holds.
func (rv *Receiver) point(ctx context.Context, l *standby.Lineage, e pool.Entry) (dataset.Snapshot, error) {
	list, err := listing.Describe(ctx, rv.zfs, []pool.Entry{e}, nil)
	if err != nil {
		return dataset.Snapshot{}, err
	}
	if len(list) == 0 {
		return dataset.Snapshot{}, fmt.Errorf("%s was destroyed just now: %w", e.Name, dataset.ErrBusy)
	}
	l.Complete(&list[0])
	return list[0], nil
}

// Abort implements fsdrivers.Receiver. A receive that still runs is ErrBusy: end
// it first.
func (rv *Receiver) Abort(ctx context.Context, d dataset.Path) error {
	err := rv.into.Alone(ctx, d, func() error {
		r, err := rv.into.Replica(ctx, d)
		if err != nil {
			return err
		}
		for _, l := range r.Lineages {
			if l.Token() == "" && !l.IsPartial() {
				continue
			}
			if err := rv.zfs.Abort(ctx, l.Name); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("abort receive of %s: %w", d, err)
	}
	return nil
}
