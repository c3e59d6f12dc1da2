package replicate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"antipode/daemon/activate"
	"antipode/daemon/board"
	"antipode/daemon/plan"
	"antipode/daemon/policy"
	"antipode/daemon/send"
	"antipode/daemon/status"
	"antipode/daemon/watch"
	"antipode/fsdrivers/dataset"
	"antipode/transport/wire"
)

// side is what the source holds of one dataset when a round begins.
type side struct {
	dataset   dataset.Dataset
	mark      dataset.Mark
	snapshots []dataset.Snapshot
}

// round asks the peer about every dataset on which nothing is under way and
// starts an errand for each that is behind, nearest to its deadline first. The
// error is that of datasets for which no errand could be started.
func (c *Courier) round(ctx context.Context, force bool) ([]*errand, error) {
	job := *c.job.Load()
	sides, err := c.look(ctx, job, force)
	if len(sides) == 0 {
		return nil, err
	}
	inventory, invErr := c.Far.Inventory(ctx, ask(job, sides))
	if invErr == nil && len(inventory.Replicas) != len(sides) {
		invErr = fmt.Errorf("%w: %d replicas in the answer for %d datasets", send.ErrMisanswered, len(inventory.Replicas), len(sides))
	}
	c.contact(inventory.Now, invErr)
	if invErr != nil {
		for _, s := range sides {
			c.fail(ctx, s.dataset.Path, fmt.Errorf("ask %s what it holds: %w", c.Peer, invErr))
		}
		return nil, errors.Join(err, invErr)
	}
	work, planErr := c.planAll(ctx, job, sides, inventory.Replicas)
	var started []*errand
	for _, w := range work {
		started = append(started, c.start(ctx, job, w))
	}
	return started, errors.Join(err, planErr)
}

// look reads this side of every dataset that may be worked on now. A dataset
// that cannot be read is put on the board and left out.
func (c *Courier) look(ctx context.Context, job policy.Job, force bool) ([]side, error) {
	c.expire()
	var sides []side
	var errs []error
	for _, path := range c.Board.Datasets(job.ID) {
		if !c.idle(path, force) {
			continue
		}
		s, err := c.read(ctx, path)
		if err != nil {
			errs = append(errs, err)
			c.fail(ctx, path, err)
			continue
		}
		if s.mark.IsForeign(c.Node) {
			c.Board.Pair(c.key(path), func(p *status.Pair) { p.State = status.StateFenced })
		} else if len(s.snapshots) > 0 {
			sides = append(sides, s)
		}
	}
	return sides, errors.Join(errs...)
}

// read looks at the mark first: a dataset that was fenced is read-only, and no
// driver finds it any more.
func (c *Courier) read(ctx context.Context, path dataset.Path) (side, error) {
	mark, err := c.Near.Mark(ctx, path)
	if err != nil {
		return side{}, fmt.Errorf("read mark of %s: %w", path, err)
	}
	if mark.IsForeign(c.Node) {
		return side{mark: mark}, nil
	}
	found, err := c.Near.Find(ctx, path, false)
	if err != nil {
		return side{}, fmt.Errorf("look at %s: %w", path, err)
	}
	if len(found) != 1 {
		return side{}, fmt.Errorf("look at %s: %w", path, dataset.ErrNotFound)
	}
	snapshots, err := c.Near.Snapshots(ctx, path)
	if err != nil {
		return side{}, fmt.Errorf("list snapshots of %s: %w", path, err)
	}
	return side{dataset: found[0], mark: mark, snapshots: snapshots}, nil
}

// idle reports whether a round may look at d; one that is busy is told to look
// again when it is done.
func (c *Courier) idle(d dataset.Path, force bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, busy := c.errands[d]; busy {
		e.again = true
		return false
	}
	return !c.paused && (force || !c.Now().Before(c.backoff[d].until))
}

func ask(job policy.Job, sides []side) wire.InventoryRequest {
	r := wire.InventoryRequest{Job: job.ID, Driver: string(job.Driver), MayPromote: job.MayPromote}
	for _, s := range sides {
		r.Datasets = append(r.Datasets, wire.InventoryAsk{Dataset: s.dataset, Mark: s.mark})
	}
	return r
}

// Decide plans one dataset from both sides' facts. It is what a round executes
// and what `plan` prints.
func Decide(job policy.Job, s dataset.Dataset, mark dataset.Mark, snapshots []dataset.Snapshot, r wire.Replica) (plan.Plan, error) {
	return plan.Decide(plan.Input{
		Job: job.ID, Dataset: s, Source: snapshots, Target: r.Snapshots, TargetID: r.ID, Checkpoint: r.Checkpoint,
		SourceMark: mark, TargetMark: r.Mark, MayPromote: job.MayPromote, Initial: job.Initial,
		Flags: string(job.Encryption),
	})
}

// planAll plans each dataset, handles what is already as it should be, and
// returns the rest ordered by deadline.
func (c *Courier) planAll(ctx context.Context, job policy.Job, sides []side, replicas []wire.Replica) ([]plan.Plan, error) {
	var work []plan.Plan
	var errs []error
	for i, s := range sides {
		p, err := c.planOne(ctx, job, s, replicas[i])
		if err != nil {
			errs = append(errs, err)
			c.fail(ctx, s.dataset.Path, err)
			continue
		}
		if len(p.Steps) > 0 {
			work = append(work, p)
		}
	}
	slices.SortStableFunc(work, func(a, b plan.Plan) int { return c.deadline(job, a).Compare(c.deadline(job, b)) })
	return work, errors.Join(errs...)
}

func (c *Courier) planOne(ctx context.Context, job policy.Job, s side, r wire.Replica) (plan.Plan, error) {
	path := s.dataset.Path
	if r.Path != path {
		return plan.Plan{}, fmt.Errorf("%w: asked for %s, answered for %q", send.ErrMisanswered, path, r.Path)
	}
	if r.Problem != nil {
		return plan.Plan{}, fmt.Errorf("%s on %s: %w", path, c.Peer, r.Problem)
	}
	p, err := Decide(job, s.dataset, s.mark, s.snapshots, r)
	if err != nil {
		return plan.Plan{}, c.conflict(ctx, s, err)
	}
	c.Clear(string(path))
	c.landed(path, p.Base)
	if len(p.Steps) > 0 {
		return p, nil
	}
	c.succeeded(path)
	if p.Base.ID.IsZero() || slices.Contains(p.Base.Holds, send.BaseTag(job.ID, c.Peer)) && !c.holdsStep(job, s) {
		return p, nil
	}
	// A crash came between the answer and the hold.
	return p, c.sender(job, path, nil).Settle(ctx, path, p.Base)
}

// holdsStep reports whether a hold for an unfinished step is left on the source.
func (c *Courier) holdsStep(job policy.Job, s side) bool {
	return slices.ContainsFunc(s.snapshots, func(snap dataset.Snapshot) bool {
		return slices.Contains(snap.Holds, send.StepTag(job.ID, c.Peer))
	})
}

// conflict acts on the one conflict that asks for it: a target that was
// promoted, and may have been, makes this side step down (decision 9). All others
// are for the operator.
func (c *Courier) conflict(ctx context.Context, s side, err error) error {
	path := s.dataset.Path
	var promoted *plan.Promoted
	var split *plan.SplitBrain
	var bad *plan.BadMark
	state := status.StateConflict
	switch {
	case errors.As(err, &promoted):
		state = status.StateFenced
		if stepErr := c.stepDown(ctx, s, promoted.Theirs); stepErr != nil {
			err = errors.Join(err, stepErr)
		}
		c.Alarm(watch.Demoted, string(path), err.Error())
	case errors.As(err, &split):
		state = status.StateSplitBrain
		c.Alarm(watch.SplitBrain, string(path), err.Error())
	case errors.As(err, &bad):
		c.Alarm(watch.MarkRefused, string(path), err.Error())
	}
	c.Board.Pair(c.key(path), func(p *status.Pair) { p.State = state })
	return err
}

// stepDown records the new primary durably before the dataset becomes read-only,
// so that a crash between the two leaves a side that knows that it must not send.
func (c *Courier) stepDown(ctx context.Context, s side, theirs dataset.Mark) error {
	path := s.dataset.Path
	if err := c.Near.SwapMark(ctx, path, s.mark, theirs); err != nil {
		return fmt.Errorf("record the new primary of %s: %w", path, err)
	}
	if err := c.Near.Fence(ctx, path); err != nil {
		return fmt.Errorf("make %s read-only: %w", path, err)
	}
	c.Board.Dataset(c.job.Load().ID, path, func(d *status.Dataset) { d.Role, d.Generation = activate.Fenced.String(), theirs.Generation })
	return nil
}

// deadline is when the dataset breaches its objective; without one it comes
// last.
func (c *Courier) deadline(job policy.Job, p plan.Plan) time.Time {
	if job.RPO == 0 {
		return time.Unix(1<<40, 0)
	}
	return cmp.Or(p.Base.Created, time.Unix(0, 0)).Add(job.RPO)
}

func (c *Courier) key(path dataset.Path) board.PairKey {
	return board.PairKey{Job: c.job.Load().ID, Dataset: path, Peer: c.Peer}
}
