package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync/atomic"

	"antipode/daemon/activate"
	"antipode/daemon/board"
	"antipode/daemon/policy"
	"antipode/daemon/receive"
	"antipode/daemon/status"
	"antipode/daemon/watch"
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/transport/wire"
)

// target answers what peers ask for (server.Backend). A peer reaches only the
// rooms that an [[accept]] opens for it (G5, G8): the room is looked up by the
// authenticated name, and the driver under it is bound to one `into`.
type target struct{ d *Daemon }

// roomKey names an [[accept]]: there is one for each peer and driver.
type roomKey struct {
	from   string
	driver string
}

func roomOf(a policy.Accept) roomKey { return roomKey{a.From, string(a.Driver)} }

// room is one [[accept]] with the driver below it. It lives as long as the
// [[accept]] keeps its places; a reload changes its policy, for what runs too.
type room struct {
	receive.Room
	policy    atomic.Pointer[policy.Accept] // see receive.Room.Accept
	driver    fsdrivers.Target
	known     known
	tending   turn         // of retention and promotions
	surveying turn         // of looks at all replicas by a policy that is new; see tendAnew
	promoting atomic.Int32 // promotions that run or wait for tending
	last      atomic.Pointer[tended]
}

// turn lets one work at a time. Unlike a mutex, who waits for it gives up with ctx.
type turn chan struct{}

func newTurn() turn { return make(turn, 1) }

func (t turn) take(ctx context.Context) error {
	select {
	case t <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (t turn) give() { <-t }

func (t target) room(from, driver string) (*room, error) {
	if r, ok := t.d.site().rooms[roomKey{from, driver}]; ok {
		return r, nil
	}
	return nil, fmt.Errorf("%w: %s accepts no %s datasets from %s", dataset.ErrRefused, t.d.node(), driver, from)
}

// Hello tells who this node is and what it would take in.
func (t target) Hello(ctx context.Context, from string) (wire.Hello, error) {
	t.d.heard(from)
	h := wire.Hello{Version: wire.Version, Software: t.d.Version, Node: t.d.node(), Now: t.d.Now()}
	for key, r := range t.d.site().rooms {
		if key.from == from {
			h.Offers = append(h.Offers, r.offer(ctx))
		}
	}
	h.Pulled = t.d.site().pulledBy(from)
	return h, nil
}

func (r *room) offer(ctx context.Context) wire.Offer {
	accept := r.Accept()
	o := wire.Offer{Driver: string(accept.Driver), MaxBytes: accept.MaxBytes, AllowDevices: accept.AllowDevices, Strip: string(accept.Strip)}
	if !accept.Pull.IsZero() {
		o.Pull = accept.Pull.String()
	}
	usage, err := r.driver.Space(ctx, "/")
	if err != nil {
		o.Problem = err.Error()
		return o
	}
	o.Usage = wire.Usage{Free: usage.Free, Size: usage.Size}
	o.MinFree = accept.MinFree.Of(usage.Size)
	if lack := receive.Lack(usage, o.MinFree); lack != nil {
		o.Problem = lack.Error()
	}
	return o
}

// Inventory tells what this node holds of the datasets that a job asks about.
func (t target) Inventory(ctx context.Context, from string, q wire.InventoryRequest) (wire.Inventory, error) {
	t.d.heard(from)
	r, err := t.room(from, q.Driver)
	if err != nil {
		return wire.Inventory{}, err
	}
	answer := wire.Inventory{Now: t.d.Now(), Replicas: make([]wire.Replica, 0, len(q.Datasets))}
	if usage, err := r.driver.Space(ctx, "/"); err == nil {
		answer.Usage = wire.Usage{Free: usage.Free, Size: usage.Size}
	}
	ids, err := r.held(ctx)
	if err != nil {
		return wire.Inventory{}, err
	}
	places, notes := r.foresee(ctx, q.Datasets, ids)
	for _, ask := range q.Datasets {
		id, isHeld := ids[ask.Dataset.Path]
		at, moves := places[ask.Dataset.Path]
		if !moves {
			at = dataset.Dataset{Path: ask.Dataset.Path, ID: id}
		}
		replica := r.replica(ctx, at)
		replica.Path, replica.Note = ask.Dataset.Path, notes[ask.Dataset.Path]
		if isHeld && replica.Problem == nil { // else any name would raise an alarm
			t.d.judgeSource(ctx, board.ReplicaKey{From: from, Dataset: ask.Dataset.Path}, r, replica.Mark, ask.Mark)
		}
		answer.Replicas = append(answer.Replicas, replica)
	}
	return answer, nil
}

// replica reads one dataset's facts from the disk; what cannot be read is said
// in the answer, so that it holds back no other dataset.
func (r *room) replica(ctx context.Context, at dataset.Dataset) wire.Replica {
	path := at.Path
	if path.IsZero() { // another dataset's replica has its place, and will give way
		return wire.Replica{}
	}
	answer := wire.Replica{Path: path, ID: at.ID}
	var err error
	if answer.Snapshots, err = r.driver.Snapshots(ctx, path); err != nil {
		return wire.Replica{Path: path, Problem: wire.FromError(fmt.Errorf("list points of %s: %w", path, err))}
	}
	answer.Snapshots = unpinned(answer.Snapshots)
	if answer.Checkpoint, err = r.driver.Pending(ctx, path); err != nil {
		return wire.Replica{Path: path, Problem: wire.FromError(fmt.Errorf("look for a checkpoint of %s: %w", path, err))}
	}
	if answer.Mark, err = r.driver.Mark(ctx, path); err != nil {
		return wire.Replica{Path: path, Problem: wire.FromError(fmt.Errorf("read mark of %s: %w", path, err))}
	}
	return answer
}

// unpinned is the list without this side's pins: what its operators wish to keep, and
// why, is no peer's business.
func unpinned(list []dataset.Snapshot) []dataset.Snapshot {
	list = slices.Clone(list) // a driver may remember it
	for i := range list {
		list[i].Pin = nil
	}
	return list
}

// judgeSource compares the mark that a source shows with that of the replica. A standby
// takes over its source's, so that a promotion goes on from there and the source steps
// down. Two activations of one generation are split brain: the source sends nothing then,
// and both sides tell their operators.
func (d *Daemon) judgeSource(ctx context.Context, key board.ReplicaKey, r *room, ours, theirs dataset.Mark) {
	next, err := d.weigh(key.From, ours, theirs)
	if err == nil && !next.Same(ours) {
		d.learn(ctx, key, r, ours, next)
	}
	var split *activate.SplitBrain
	d.mu.Lock()
	delete(d.rivals, key)
	if errors.As(err, &split) {
		d.rivals[key] = theirs
	}
	d.mu.Unlock()
	switch {
	case split != nil:
		d.watch.Alarm(watch.SplitBrain, string(key.Dataset), err.Error())
	case err != nil:
		d.watch.Alarm(watch.MarkRefused, string(key.Dataset), err.Error())
	default:
		d.watch.Clear(string(key.Dataset))
	}
}

// weigh is the mark that a replica should carry, its source's mark known.
func (d *Daemon) weigh(from string, ours, theirs dataset.Mark) (dataset.Mark, error) {
	if ours.IsZero() && !theirs.IsZero() {
		return theirs, activate.Learn(theirs, d.node())
	}
	was := activate.State{Role: activate.TargetRole(ours, d.node(), true), Node: d.node(), Mark: ours}
	now, _, err := activate.Step(was, activate.Seen{Peer: from, Mark: theirs, MayPromote: was.Role != activate.Primary})
	return now.Mark, err
}

// learn writes the mark of a replica's source. Where that cannot be, nothing complete is
// there yet or somebody was faster; the next exchange shows it again.
func (d *Daemon) learn(ctx context.Context, key board.ReplicaKey, r *room, ours, theirs dataset.Mark) {
	if d.isClosed(key) { // it is being promoted
		return
	}
	err := r.driver.SwapMark(ctx, key.Dataset, ours, theirs)
	if err != nil && !errors.Is(err, dataset.ErrNotFound) && !errors.Is(err, dataset.ErrChanged) {
		d.Log.Warn().Err(err).Str("peer", key.From).Stringer("dataset", key.Dataset).Msg("the mark of the source could not be written")
	}
}

// Receive takes one step in, and prunes the replica afterwards by this side's
// own policy.
func (t target) Receive(ctx context.Context, from string, open wire.Open, r io.Reader) (wire.Committed, error) {
	t.d.heard(from)
	room, err := t.room(from, open.Driver)
	if err != nil {
		return wire.Committed{}, err
	}
	path := open.Step.Dataset.Path
	if t.d.isClosed(board.ReplicaKey{From: from, Dataset: path}) {
		return wire.Committed{}, fmt.Errorf("%w: %w", dataset.ErrBusy, errPromoted)
	}
	log := t.d.Log.With().Str("peer", from).Stringer("dataset", path).Str("step", string(open.Step.ID())).Logger()
	log.Info().Str("snapshot", open.Step.To.Name).Bool("full", open.Step.IsFull()).Msg("receive begins")
	t.d.expect(from, path, room)
	point, err := room.Receive(ctx, open.Step, open.Checkpoint, r)
	if err != nil {
		log.Error().Err(err).Msg("receive failed")
		t.d.receiveFailed(from, path, err)
		return wire.Committed{}, err
	}
	log.Info().Str("snapshot", point.Name).Msg("point is durable and published")
	if !open.Mark.IsZero() { // before the first point it had no place; reading ours costs ZFS a process
		if ours, err := room.driver.Mark(ctx, path); err == nil && !ours.Same(open.Mark) {
			t.d.judgeSource(ctx, board.ReplicaKey{From: from, Dataset: path}, room, ours, open.Mark)
		}
	}
	t.d.arrived(from, path, room, point)
	return wire.Committed{Published: true, Snapshot: point}, nil
}

// expect puts a replica on the board before its first point is there, so that a
// first copy of two weeks is seen on this side too.
func (d *Daemon) expect(from string, path dataset.Path, r *room) {
	d.Board.Replica(board.ReplicaKey{From: from, Dataset: path}, func(line *status.Replica) {
		line.RPO = r.Accept().RPO
		if line.Role == "" {
			line.Role = activate.Seeding.String()
		}
	})
}

// Committed answers from the disk whether a step is published.
func (t target) Committed(ctx context.Context, from string, q wire.CommitQuery) (wire.Committed, error) {
	room, err := t.room(from, q.Driver)
	if err != nil {
		return wire.Committed{}, err
	}
	point, published, err := room.Committed(ctx, q.Step)
	return wire.Committed{Published: published, Snapshot: point}, err
}

// arrived notes a new point, and lets the replica's retention run beside the
// answer.
func (d *Daemon) arrived(from string, path dataset.Path, r *room, point dataset.Snapshot) {
	d.Board.Replica(board.ReplicaKey{From: from, Dataset: path}, func(line *status.Replica) {
		line.LastPoint = status.Point{Name: point.Name, Time: point.Retain}
		line.LastError = nil
		line.Points++
	})
	d.sendOn(from, path)
	d.background(func(ctx context.Context) { d.tendReplica(ctx, from, path, r) })
}

func (d *Daemon) receiveFailed(from string, path dataset.Path, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	d.Board.Replica(board.ReplicaKey{From: from, Dataset: path}, func(line *status.Replica) {
		line.LastError = d.problem(err)
	})
}

// receiving lists the ends of the steps that come in now.
func (d *Daemon) receiving(a policy.Accept) []dataset.ID {
	var ids []dataset.ID
	for _, t := range d.server.Transfers() {
		if t.Peer == a.From && t.Open.Driver == string(a.Driver) {
			ids = append(ids, t.Open.Step.To.ID)
			if !t.Open.Step.IsFull() {
				ids = append(ids, t.Open.Step.From.ID)
			}
		}
	}
	return ids
}
