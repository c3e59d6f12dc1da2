package replicate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"antipode/daemon/board"
	"antipode/daemon/ledger"
	"antipode/daemon/plan"
	"antipode/daemon/policy"
	"antipode/daemon/send"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
	"antipode/transport/client"
	"antipode/transport/wire"
)

// start begins an errand: the plan's steps, one after the other. It takes its
// place in the queue before it returns.
func (c *Courier) start(life context.Context, job policy.Job, p plan.Plan) *errand {
	ctx, cancel := context.WithCancelCause(life)
	e := &errand{cancel: cancel, done: make(chan struct{}), to: p.Steps[len(p.Steps)-1].To.ID}
	path := p.Dataset.Path
	c.mu.Lock()
	c.errands[path] = e
	c.mu.Unlock()
	queue := c.small
	if p.Steps[0].IsFull() {
		queue = c.full
	}
	place := queue.enter()
	go func() {
		defer cancel(nil)
		defer queue.leave(place)
		err := await(ctx, place)
		if err == nil {
			e.tally, err = c.run(ctx, job, p)
		}
		c.finish(ctx, path, e, err)
	}()
	return e
}

// finish publishes how the errand ended and looks again if something newer came
// in the meantime, or if the dataset is known to hold still what was sent: the peer
// should hear of that.
func (c *Courier) finish(ctx context.Context, path dataset.Path, e *errand, err error) {
	if err != nil {
		c.fail(ctx, path, err)
	} else {
		c.succeeded(path)
	}
	c.Board.Pair(c.key(path), func(p *status.Pair) { p.Moving = nil })
	c.mu.Lock()
	delete(c.errands, path)
	if is, still := c.stills[path]; err == nil && (e.again || still && is.snapshot.ID == e.to) {
		c.backoff[path] = pause{until: c.Now()}
		c.lookAgain()
	}
	c.mu.Unlock()
	e.err = err
	close(e.done)
}

// run sends the plan's steps and counts those that are durable on the target.
func (c *Courier) run(ctx context.Context, job policy.Job, p plan.Plan) (Tally, error) {
	var done Tally
	if p.Dropped != nil {
		c.Log.Warn().Stringer("dataset", p.Dataset.Path).Str("why", p.Dropped.Why).Msg("unfinished receive is given up")
	}
	path, resume := p.Dataset.Path, p.Resume
	for _, step := range p.Steps {
		bytes, err := c.step(ctx, job, step, resume)
		if errors.Is(err, dataset.ErrStaleCheckpoint) && !resume.IsZero() {
			c.restarts(path, step, err)
			bytes, err = c.step(ctx, job, step, dataset.Checkpoint{})
		}
		if err != nil {
			return done, err
		}
		done.Steps++
		done.Bytes += bytes
		resume = dataset.Checkpoint{}
	}
	return done, nil
}

// restarts notes that a checkpoint fits nowhere. The step is sent from its first
// byte at once, without a checkpoint, so that this happens once.
func (c *Courier) restarts(path dataset.Path, step plan.Step, err error) {
	c.Log.Warn().Err(err).Stringer("dataset", path).Str("step", string(step.ID())).Msg("unfinished receive is given up: the step is sent from its beginning")
	c.Board.Pair(c.key(path), func(p *status.Pair) { p.Restarts++ })
}

// step sends one step, shows it on the board and remembers it. It returns the
// bytes of its stream.
func (c *Courier) step(ctx context.Context, job policy.Job, step plan.Step, resume dataset.Checkpoint) (int64, error) {
	path := step.Dataset.Path
	began := c.Now()
	m := newMeter(began, resume.Done)
	log := c.Log.With().Stringer("dataset", path).Str("step", string(step.ID())).Str("snapshot", step.To.Name).Logger()
	log.Info().Str("why", step.Why).Bool("full", step.IsFull()).Msg("step begins")
	kind := "incremental"
	if step.IsFull() {
		kind = "full"
	}
	c.Board.Pair(c.key(path), func(p *status.Pair) {
		p.Moving = &status.Moving{Step: step.ID(), Kind: kind, Snapshot: step.To.Name, Bytes: resume.Done}
	})
	err := c.execute(ctx, job, step.Step, resume, m)
	record := ledger.Step{
		Job: job.ID, Dataset: path, Peer: c.Peer, Step: step.ID(), From: step.From.Name, To: step.To.Name,
		Bytes: m.bytes(), Wire: m.wire.Load(), Started: began, Ended: c.Now(),
	}
	if err != nil {
		record.Error = err.Error()
		c.History.Record(ledger.Batch{Steps: []ledger.Step{record}})
		return 0, err
	}
	c.History.Record(ledger.Batch{Steps: []ledger.Step{record}})
	if m.bytes() < smallStep {
		c.small.stepped(record.Ended.Sub(began))
	}
	c.landed(path, step.To)
	log.Info().Int64("bytes", m.bytes()).Dur("took", c.Now().Sub(began)).Msg("step is durable on the target")
	return m.bytes(), nil
}

// execute sends a step, with the mark of what was promoted: the target of a first copy
// has heard of none.
func (c *Courier) execute(ctx context.Context, job policy.Job, step dataset.Step, resume dataset.Checkpoint, m *meter) (err error) {
	var mark dataset.Mark
	if step.Generation > 0 {
		if mark, err = c.Near.Mark(ctx, step.Dataset.Path); err != nil {
			return fmt.Errorf("read mark of %s: %w", step.Dataset.Path, err)
		}
	}
	_, err = c.sender(job, step.Dataset.Path, mark, m).Execute(ctx, step, resume)
	return err
}

func (c *Courier) sender(job policy.Job, path dataset.Path, mark dataset.Mark, m *meter) *send.Sender {
	key := c.key(path)
	return &send.Sender{
		Driver: c.Near, Kind: string(job.Driver), Job: job.ID, Peer: c.Peer, ChunkBytes: wire.MaxChunk,
		Transport: transport{far: c.Far, mark: mark, progress: func(p client.Progress) {
			now := c.Now()
			c.moving(key, func(line *status.Moving) { m.show(now, p, line) })
		}},
		Estimated: func(_ dataset.Step, bytes int64) {
			c.moving(key, func(line *status.Moving) { line.Estimate = bytes })
		},
		Rereading: func(done, of int64) {
			now := c.Now()
			c.moving(key, func(line *status.Moving) { m.again(now, done, of, line) })
		},
		Begins: func(at int64) {
			now := c.Now()
			c.moving(key, func(line *status.Moving) { m.begin(now, at, line) })
		},
	}
}

// moving changes the line of what moves, if it still does.
func (c *Courier) moving(key board.PairKey, change func(*status.Moving)) {
	c.Board.Pair(key, func(pair *status.Pair) {
		if pair.Moving != nil {
			change(pair.Moving)
		}
	})
}

// transport fits the client to what a step needs of it.
type transport struct {
	far      Far
	mark     dataset.Mark
	progress func(client.Progress)
}

func (t transport) Send(ctx context.Context, open wire.Open, src io.Reader) (wire.Committed, error) {
	open.Mark = t.mark
	return t.far.Send(ctx, open, src, t.progress)
}

// landed notes the newest point that the peer is known to have.
func (c *Courier) landed(path dataset.Path, s dataset.Snapshot) {
	if s.ID.IsZero() {
		c.Board.Pair(c.key(path), func(p *status.Pair) { p.LastError = nil })
		return
	}
	c.FirstCopies.Seeded(path)
	point := status.Point{Name: s.Name, Time: s.Created}
	c.Board.Pair(c.key(path), func(p *status.Pair) {
		if p.LastPoint.Name == s.Name {
			point.Confirmed = p.LastPoint.Confirmed
		}
		p.LastPoint, p.LastError, p.State = point, nil, status.StateOK
	})
	c.remember(path, s, point.Confirmed)
}

// remember writes down the newest point that the peer is known to have, for the
// time when no daemon runs and for the next one.
func (c *Courier) remember(path dataset.Path, s dataset.Snapshot, confirmed time.Time) {
	job := c.job.Load()
	c.History.Record(ledger.Batch{Facts: []ledger.Fact{{
		FactKey: ledger.FactKey{Side: ledger.Source, Job: job.ID, Dataset: path, Peer: c.Peer},
		At:      c.Now(), Point: ledger.Point{Name: s.Name, ID: s.ID, Created: s.Created, Confirmed: confirmed}, RPO: job.RPO,
		State: string(status.StateOK),
	}}})
}

// fail puts an error where the operator looks for it, and leaves the dataset
// alone for a while. What ended because ctx did is no failure: a shutdown, or the
// operator's abort, which the next visit undoes and no retry.
func (c *Courier) fail(ctx context.Context, path dataset.Path, err error) {
	if ctx.Err() != nil {
		return
	}
	now := c.Now()
	until := c.failed(path, now, retryMost)
	c.problem(path, err, now, until)
	c.Log.Error().Err(err).Stringer("dataset", path).Time("again", until).Msg("replication failed")
}

// unanswered is fail for datasets of which the peer did not say what it holds. They are
// asked for together again; that the peer is away is in the log once.
func (c *Courier) unanswered(ctx context.Context, sides []side, err error) error {
	if ctx.Err() != nil {
		return err
	}
	now, most := c.Now(), awayMost
	var refusal *wire.Error
	if errors.As(err, &refusal) {
		most = retryMost // it is there
	}
	for _, s := range sides {
		if s.idle {
			path := s.dataset.Path
			c.problem(path, fmt.Errorf("ask %s what it holds: %w", c.Peer, err), now, c.failed(path, now, most))
		}
	}
	return err
}

// problem puts it on the board.
func (c *Courier) problem(path dataset.Path, err error, now, again time.Time) {
	p := Problem(err, now)
	if p.Next == "" {
		p.Next = "it is tried again at " + again.UTC().Format(time.TimeOnly) + " UTC"
	}
	c.Board.Pair(c.key(path), func(line *status.Pair) { line.LastError = p })
}

// Problem words an error for the operator: what failed, and the next step where
// the error knows one.
func Problem(err error, now time.Time) *status.Problem {
	p := &status.Problem{Text: err.Error(), At: now}
	var knows interface{ Next() string } // every plan.Conflict does
	var answer *wire.Error
	switch {
	case errors.As(err, &knows):
		p.Next = knows.Next()
	case errors.As(err, &answer):
		p.Next = answer.Next
	}
	p.Text = status.WithoutNext(p.Text, p.Next)
	return p
}

// contact notes whether the peer answered, and how far its clock is from ours.
func (c *Courier) contact(ctx context.Context, theirs time.Time, err error) {
	if ctx.Err() != nil {
		return // we hung up
	}
	now := c.Now()
	c.Board.Peer(c.Peer, func(p *status.Peer) {
		if err != nil {
			p.Reachable, p.Problem = false, fmt.Sprint(err)
			return
		}
		p.Reachable, p.Problem, p.LastContact, p.ClockSkew = true, "", now, theirs.Sub(now)
	})
	switch was := c.away; {
	case err != nil && !was:
		c.Log.Error().Err(err).Msg("the peer does not say what it holds; it is asked again")
	case err == nil && was:
		c.Log.Info().Msg("the peer answers again")
	}
	c.away = err != nil
}
