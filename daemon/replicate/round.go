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

// round asks the peer about every dataset of the job, in one exchange, and starts
// an errand for each that is behind and on which nothing is under way, nearest to
// its deadline first. The error is that of datasets for which no errand could be
// started.
func (c *Courier) round(ctx context.Context, force bool) ([]*errand, error) {
	job := *c.job.Load()
	sides, err := c.look(ctx, job, force)
	if !slices.ContainsFunc(sides, func(s side) bool { return s.idle }) {
		return nil, err
	}
	if askErr := c.compare(ctx, job, sides); askErr != nil {
		return nil, errors.Join(err, c.unanswered(ctx, sides, askErr))
	}
	work, planErr := c.planAll(ctx, job, sides)
	var started []*errand
	for _, w := range work {
		started = append(started, c.start(ctx, job, w))
	}
	return started, errors.Join(err, planErr)
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

// planAll plans each dataset that may be worked on, handles what is already as it
// should be, and returns the rest ordered by deadline. The lists of those of which
// the peer holds something unexpected are asked for in parts, so that few are in
// memory at once.
func (c *Courier) planAll(ctx context.Context, job policy.Job, sides []side) ([]plan.Plan, error) {
	var work []plan.Plan
	var errs []error
	var others []side
	add := func(s side, r wire.Replica) {
		p, err := c.planOne(ctx, job, s, r)
		if err != nil {
			errs = append(errs, err)
			c.fail(ctx, s.dataset.Path, err)
		} else if len(p.Steps) > 0 {
			work = append(work, p)
		}
	}
	for _, s := range sides {
		switch {
		case !s.idle:
		case !s.same:
			others = append(others, s)
		case s.isSettled() && c.agreed(job, s):
			c.settled(s.dataset.Path, s.base)
		default:
			add(s, c.expect(s))
		}
	}
	for _, s := range sides {
		if s.same && !s.confirmed.IsZero() {
			c.confirmed(s.dataset.Path, s.base, s.confirmed)
		}
	}
	for part := range slices.Chunk(others, wire.MaxInventoryDatasets) {
		replicas, err := c.lists(ctx, job, part)
		if err != nil {
			errs = append(errs, c.unanswered(ctx, part, err))
			continue
		}
		for i, s := range part {
			c.noteMark(s, replicas[i].Mark)
			add(s, replicas[i])
		}
	}
	slices.SortStableFunc(work, func(a, b plan.Plan) int { return c.deadline(job, a).Compare(c.deadline(job, b)) })
	return work, errors.Join(errs...)
}

// agreed reports whether a plan from what is expected alone, without the lists, has
// nothing to send and no conflict.
func (c *Courier) agreed(job policy.Job, s side) bool {
	p, err := Facts{Job: job, Dataset: s.dataset, Mark: s.mark, Snapshots: []dataset.Snapshot{s.base}, Far: c.expect(s)}.decide()
	return err == nil && p.IsEmpty()
}

// settled notes that both sides agree and nothing is to be sent.
func (c *Courier) settled(path dataset.Path, base dataset.Snapshot) {
	c.Clear(string(path))
	c.landed(path, base)
	c.succeeded(path)
}

// facts are what both sides hold of one dataset.
func (c *Courier) facts(ctx context.Context, job policy.Job, s side, r wire.Replica) (Facts, error) {
	path := s.dataset.Path
	if r.Path != path {
		return Facts{}, fmt.Errorf("%w: asked for %s, answered for %q", send.ErrMisanswered, path, r.Path)
	}
	if r.Problem != nil {
		return Facts{}, fmt.Errorf("%s on %s: %w", path, c.Peer, r.Problem)
	}
	snapshots, err := c.Near.Snapshots(ctx, path)
	if err != nil {
		return Facts{}, fmt.Errorf("list snapshots of %s: %w", path, err)
	}
	return Facts{Job: job, Dataset: s.dataset, Mark: s.mark, Snapshots: snapshots, Far: r, Asked: c.FirstCopies.Asked(s.dataset)}, nil
}

func (c *Courier) planOne(ctx context.Context, job policy.Job, s side, r wire.Replica) (plan.Plan, error) {
	path := s.dataset.Path
	f, err := c.facts(ctx, job, s, r)
	if err != nil {
		return plan.Plan{}, err
	}
	p, err := Decide(ctx, c.Near, f)
	if err != nil {
		return plan.Plan{}, c.conflict(ctx, s, err)
	}
	if len(p.Steps) > 0 {
		c.Clear(string(path))
		c.landed(path, p.Base)
		return p, nil
	}
	c.settled(path, p.Base)
	if p.Base.ID.IsZero() || s.base.ID == p.Base.ID && !s.unsettled {
		return p, nil
	}
	// A crash came between the answer and the hold.
	return p, c.sender(job, path, dataset.Mark{}, nil).Settle(ctx, path, p.Base)
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
