package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"antipode/daemon/activate"
	"antipode/daemon/board"
	"antipode/daemon/ledger"
	"antipode/daemon/policy"
	"antipode/daemon/prune"
	"antipode/daemon/retain"
	"antipode/daemon/status"
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// tended is what the last look at all replicas of a room found out, for those that
// get a point before the next.
type tended struct {
	accept *policy.Accept // by which it was looked at
	groups *prune.Groups  // used under room.tending
	braked bool
}

// tendReplicas prunes every replica and reads it anew from the disk: at the start,
// and from time to time, so that what others did there is seen.
func (d *Daemon) tendReplicas(ctx context.Context) {
	for key, r := range d.site().rooms {
		d.tend(ctx, key.from, r)
	}
}

// tend is tendRoom where nobody waits for the outcome.
func (d *Daemon) tend(ctx context.Context, from string, r *room) {
	if _, _, err := d.tendRoom(ctx, from, r, false); err != nil && !errors.Is(err, errPromoted) {
		d.Log.Warn().Err(err).Str("peer", from).Msg("retention did not finish; it goes on later")
	}
}

// tendRoom applies the policy of an [[accept]] to all replicas in it. What is
// destroyed was decided on a second time just before, under the room's turn: a
// promotion may have begun meanwhile.
func (d *Daemon) tendRoom(ctx context.Context, from string, r *room, release bool) (destroyed int, frozen, err error) {
	accept := r.policy.Load()
	keep, err := d.targetRetention(ctx, from, r)
	if err != nil {
		return 0, nil, err
	}
	s := keep.Survey(ctx, false)
	brake := keep.Stopped(s, release)
	r.last.Store(&tended{accept: accept, groups: s.Groups, braked: brake != nil})
	if brake != nil {
		return 0, s.Frozen(), errors.Join(s.Err, brake)
	}
	errs := []error{s.Err}
	for _, j := range s.Judged {
		if len(j.Doomed) == 0 && !j.Dropped {
			continue
		}
		n, err := d.pruneReplica(ctx, from, j.Path, r, &s)
		destroyed += n
		errs = append(errs, err)
	}
	return destroyed, s.Frozen(), errors.Join(errs...)
}

// targetRetention is the policy of a room over what it holds.
func (d *Daemon) targetRetention(ctx context.Context, from string, r *room) (*retain.Retention, error) {
	held, err := r.driver.Find(ctx, "/", true)
	if err != nil {
		return nil, fmt.Errorf("list the replicas of %s: %w", from, err)
	}
	var paths []dataset.Path
	for _, h := range held {
		paths = append(paths, h.Path)
	}
	return &retain.Retention{
		Side: ledger.Target, Name: from, Room: string(r.Accept().Driver), Bounds: r.Accept().Retention, Paths: paths, By: yielding{r.driver, r}, Alarm: d.watch,
		Remember: func(p dataset.Path, gone []prune.Verdict) { d.remember(ledger.Target, from, p, gone) },
		Judge: func(ctx context.Context, path dataset.Path) ([]prune.Verdict, error) {
			return d.judgeReplica(ctx, from, path, r)
		},
	}, nil
}

// judgeReplica reads a replica, puts it on the board and decides.
func (d *Daemon) judgeReplica(ctx context.Context, from string, path dataset.Path, r *room) ([]prune.Verdict, error) {
	points, err := r.driver.Snapshots(ctx, path)
	if err != nil {
		d.receiveFailed(from, path, err)
		return nil, fmt.Errorf("list points: %w", err)
	}
	mark, err := r.driver.Mark(ctx, path)
	if err != nil {
		d.receiveFailed(from, path, err)
		return nil, fmt.Errorf("read the mark: %w", err)
	}
	confirmed, verdicts := d.confirmedBefore(from, path, points), prune.Decide(r.input(points, mark, d))
	problem := d.frozen(ledger.Target, from, path, verdicts)
	d.Board.Replica(board.ReplicaKey{From: from, Dataset: path}, func(line *status.Replica) {
		line.Points, line.RPO = len(points), r.Accept().RPO
		line.Role, line.Generation = activate.TargetRole(mark, d.node(), len(points) > 0).String(), mark.Generation
		line.Problem, line.InPlace = problem, mark.InPlace && mark.Node == d.node()
		showAside(line)
		was := line.LastPoint
		line.LastPoint = status.Point{}
		if len(points) > 0 {
			newest := points[len(points)-1]
			line.LastPoint = status.Point{Name: newest.Name, Time: newest.Retain, Confirmed: confirmed}
			if was.Name == newest.Name && was.Confirmed.After(confirmed) {
				line.LastPoint.Confirmed = was.Confirmed
			}
		}
	})
	return verdicts, nil
}

// pruneReplica decides on one replica and destroys, while nothing is promoted. The
// survey is that of all replicas.
func (d *Daemon) pruneReplica(ctx context.Context, from string, path dataset.Path, r *room, s *retain.Survey) (int, error) {
	if err := r.tending.take(ctx); err != nil { // two runs would destroy the same points twice
		return 0, err
	}
	defer r.tending.give()
	if d.site().rooms[roomKey{from, string(r.Accept().Driver)}] != r {
		return 0, nil // a reload closed it: no policy says any more what goes
	}
	verdicts, err := d.judgeReplica(ctx, from, path, r)
	if err != nil {
		return 0, fmt.Errorf("prune the replica of %s: %w", path, err)
	}
	if s.Groups != nil {
		s.Groups.Note(path, verdicts)
		s.Groups.Apply(verdicts)
	}
	destroyed, err := prune.Execute(ctx, path, verdicts, yielding{r.driver, r})
	d.remember(ledger.Target, from, path, destroyed)
	d.Board.Replica(board.ReplicaKey{From: from, Dataset: path}, func(line *status.Replica) { line.Points -= len(destroyed) })
	if err != nil {
		return len(destroyed), fmt.Errorf("prune the replica of %s: %w", path, err)
	}
	return len(destroyed), nil
}

// tendAnew looks at all replicas of a room by a policy that is new; of many who ask at
// once, one does.
func (d *Daemon) tendAnew(ctx context.Context, from string, r *room) {
	if r.surveying.take(ctx) != nil {
		return
	}
	defer r.surveying.give()
	if last := r.last.Load(); last != nil && last.accept == r.policy.Load() {
		return
	}
	d.tend(ctx, from, r)
}

// tendReplica looks at a replica that got a point. It prunes a few points at once;
// more is left to tendReplicas, which sees what the brake has to see. A policy under
// which nothing was looked at yet counts for all replicas first.
func (d *Daemon) tendReplica(ctx context.Context, from string, path dataset.Path, r *room) {
	last := r.last.Load()
	log := d.Log.With().Str("peer", from).Stringer("dataset", path).Logger()
	verdicts, err := d.judgeReplica(ctx, from, path, r)
	if err != nil {
		log.Error().Err(err).Msg("cannot look at the replica")
		return
	}
	switch {
	case last == nil || last.accept != r.policy.Load():
		d.tendAnew(ctx, from, r)
		return
	case last.braked || len(prune.Doomed(verdicts)) > prune.BrakeFloor:
		return
	}
	if _, err := d.pruneReplica(ctx, from, path, r, &retain.Survey{Groups: last.groups}); err != nil && !errors.Is(err, errPromoted) {
		log.Warn().Err(err).Msg("retention did not finish; it goes on with the next point")
	}
}

// yielding destroys until a promotion waits: that may have chosen a point by a list
// in which it was still there, and it has to be quick.
type yielding struct {
	prune.Destroyer
	room *room
}

// yieldAfter is how many points are destroyed before it is looked again.
const yieldAfter = 500

// Destroy removes one point. errPromoted.
func (y yielding) Destroy(ctx context.Context, path dataset.Path, s dataset.Snapshot) error {
	if y.room.promoting.Load() > 0 {
		return errPromoted
	}
	return y.Destroyer.Destroy(ctx, path, s)
}

// DestroyAll implements prune.ManyDestroyer. errPromoted.
func (y yielding) DestroyAll(ctx context.Context, path dataset.Path, list []dataset.Snapshot) []error {
	many, ok := y.Destroyer.(prune.ManyDestroyer)
	if !ok {
		return prune.OneByOne{Destroyer: destroyFunc(y.Destroy)}.DestroyAll(ctx, path, list)
	}
	answers := make([]error, 0, len(list))
	for some := range slices.Chunk(list, yieldAfter) {
		if y.room.promoting.Load() > 0 {
			return append(answers, slices.Repeat([]error{errPromoted}, len(list)-len(answers))...)
		}
		answers = append(answers, many.DestroyAll(ctx, path, some)...)
	}
	return answers
}

// destroyFunc makes a prune.Destroyer of a function.
type destroyFunc func(context.Context, dataset.Path, dataset.Snapshot) error

// Destroy implements prune.Destroyer.
func (f destroyFunc) Destroy(ctx context.Context, path dataset.Path, s dataset.Snapshot) error {
	return f(ctx, path, s)
}

// Frees implements fsdrivers.Freer, as far as the driver is one.
func (y yielding) Frees(ctx context.Context, path dataset.Path, list []dataset.Snapshot) (int64, error) {
	if can, ok := y.Destroyer.(fsdrivers.Freer); ok {
		return can.Frees(ctx, path, list)
	}
	return 0, errors.ErrUnsupported
}

// input is what retention of a replica depends on: the target's policy alone. The
// point that a promotion started from stays: finishing that promotion needs it.
func (r *room) input(points []dataset.Snapshot, mark dataset.Mark, d *Daemon) prune.Input {
	accept := r.Accept()
	return prune.Input{
		Side: prune.Target, Points: points, Keep: accept.Keep, Protect: accept.Protect,
		Location: accept.Location, Now: d.Now(), InFlight: append(d.receiving(accept), mark.Base),
	}
}
