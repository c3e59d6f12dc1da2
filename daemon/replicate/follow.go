package replicate

import (
	"context"
	"fmt"
	"slices"

	"antipode/daemon/plan"
	"antipode/fsdrivers/dataset"
)

// order is a plan that somebody wants carried out as it was printed.
type order struct {
	plan  plan.Plan
	begin bool // answer when its errand has begun
	done  chan<- result
}

// result is what became of an order.
type result struct {
	tally  Tally
	unmade []string
	err    error
}

// PausedError says that a paused job starts nothing.
type PausedError struct{ Job string }

// Error names the job.
func (e *PausedError) Error() string { return "job " + e.Job + " is paused" }

// Next tells how to go on.
func (e *PausedError) Next() string { return "`antipode unpause " + e.Job + "` first" }

// Is makes errors.Is(err, dataset.ErrRefused) true.
func (e *PausedError) Is(target error) bool { return target == dataset.ErrRefused }

// Follow carries out a plan that was made before, and nothing else, and returns what
// that brought to the peer, beside the names of snapshots that only a run makes.
// Errors: plan.Stale and the conflicts of plan.Decide; dataset.ErrBusy while a step of
// the dataset is on its way; dataset.ErrNotFound for one that the job has not;
// PausedError; what a visit may answer.
func (c *Courier) Follow(ctx context.Context, p plan.Plan) (Tally, []string, error) {
	r := c.give(ctx, order{plan: p})
	return r.tally, r.unmade, r.err
}

// Begin is Follow that answers when the first step is on its way.
func (c *Courier) Begin(ctx context.Context, p plan.Plan) error {
	return c.give(ctx, order{plan: p, begin: true}).err
}

func (c *Courier) give(ctx context.Context, o order) result {
	done := make(chan result, 1)
	o.done = done
	select {
	case c.orders <- o:
	case <-ctx.Done():
		return result{err: context.Cause(ctx)}
	}
	select {
	case r := <-done:
		return r
	case <-ctx.Done():
		return result{err: context.Cause(ctx)}
	}
}

// follow begins as a round does, of which the peer has to hear of all datasets, and
// starts one errand at most.
func (c *Courier) follow(ctx context.Context, p plan.Plan) (plan.Followed, *errand, error) {
	none := plan.Followed{}
	job, path := *c.job.Load(), p.Dataset.Path
	sides, err := c.look(ctx, job, true)
	at := slices.IndexFunc(sides, func(s side) bool { return s.dataset.Path == path })
	switch {
	case at < 0 && err != nil:
		return none, nil, err
	case at < 0:
		return none, nil, fmt.Errorf("%s is no dataset of job %s with snapshots that this node is primary of: %w", path, job.ID, dataset.ErrNotFound)
	case !sides[at].idle:
		return none, nil, c.notIdle(path)
	}
	if err := c.compare(ctx, job, sides); err != nil {
		return none, nil, fmt.Errorf("ask %s what it holds: %w", c.Peer, err)
	}
	replicas, err := c.lists(ctx, job, sides[at:at+1])
	if err != nil {
		return none, nil, fmt.Errorf("ask %s what it holds: %w", c.Peer, err)
	}
	f, err := c.facts(ctx, job, sides[at], replicas[0])
	if err != nil {
		return none, nil, err
	}
	followed, err := Follow(ctx, c.Near, f, p)
	if err != nil || len(followed.Steps) == 0 {
		return followed, nil, err
	}
	return followed, c.start(ctx, job, followed.Plan), nil
}

// notIdle says why nothing can be started for a dataset now.
func (c *Courier) notIdle(path dataset.Path) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.paused {
		return &PausedError{c.job.Load().ID}
	}
	return fmt.Errorf("%w: a step of %s is on its way to %s", dataset.ErrBusy, path, c.Peer)
}

// answer tells what became of an order, as soon as that is known.
func (o order) answer(f plan.Followed, e *errand, err error) {
	if o.begin {
		o.done <- result{unmade: f.Unmade, err: err}
		return
	}
	o.done <- carriedOut(f, e, err)
}

// carriedOut waits for the errand, if there is one.
func carriedOut(f plan.Followed, e *errand, err error) result {
	r := result{unmade: f.Unmade, err: err}
	if e != nil {
		<-e.done
		r.tally, r.err = e.tally, e.err
	}
	return r
}
