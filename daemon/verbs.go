package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"antipode/daemon/control"
	"antipode/daemon/plan"
	"antipode/daemon/prune"
	"antipode/daemon/status"
	"antipode/transport/wire"
)

// Register answers the control socket's verbs.
func (d *Daemon) Register(s *control.Server) {
	control.Handle(s, control.Status, func(context.Context, control.Nothing) (status.Status, error) { return d.Status(), nil })
	control.Handle(s, control.Health, func(context.Context, control.Nothing) (control.HealthResponse, error) {
		code, line := status.Health(d.Status())
		return control.HealthResponse{Code: code, Line: line}, nil
	})
	control.Handle(s, control.Trigger, d.trigger)
	control.Handle(s, control.Pause, func(_ context.Context, r control.JobRequest) (control.PauseResponse, error) {
		return d.SetPaused(r.Job, true)
	})
	control.Handle(s, control.Unpause, func(_ context.Context, r control.JobRequest) (control.PauseResponse, error) {
		return d.SetPaused(r.Job, false)
	})
	control.Handle(s, control.Abort, d.abort)
	control.Handle(s, control.Rate, d.rate)
	control.Handle(s, control.Check, d.check)
	control.Handle(s, control.Plan, func(ctx context.Context, r control.PlanRequest) (control.Preview[plan.Plan, prune.Verdict], error) {
		return d.preview(ctx, r)
	})
	control.Handle(s, control.Send, d.send)
	control.Handle(s, control.Resolve, d.resolve)
	control.Handle(s, control.Prune, d.prune)
	control.Handle(s, control.Pin, d.pin)
	control.Handle(s, control.Unpin, d.unpin)
	control.Handle(s, control.Holds, d.holds)
	control.Handle(s, control.Explain, d.explain)
	control.Handle(s, control.Abandon, d.abandon)
	control.Handle(s, control.Names, d.names)
	control.Handle(s, control.History, d.history)
	control.Handle(s, control.Promote, d.Promote)
	control.Handle(s, control.Pair, func(context.Context, control.Nothing) (control.PairResponse, error) { return d.pairing.Issue() })
	control.Handle(s, control.PairAccept, d.pairing.Redeem)
	control.Handle(s, control.Reload, func(context.Context, control.Nothing) (control.ReloadResponse, error) { return d.ReloadConfig() })
	control.Handle(s, control.Version, func(context.Context, control.Nothing) (control.VersionResponse, error) {
		return control.VersionResponse{Version: d.Version, Protocol: wire.Version}, nil
	})
	control.Handle(s, control.Identity, func(context.Context, control.Nothing) (control.IdentityResponse, error) {
		return control.IdentityResponse{Node: d.node(), Key: d.Identity.Fingerprint().String(), Address: d.advertised()}, nil
	})
}

// job looks a job up for a verb.
func (d *Daemon) job(id string) (*work, error) {
	s := d.site()
	if w, ok := s.jobs[id]; ok {
		return w, nil
	}
	return nil, &control.Error{
		Kind: control.KindNotFound, Object: "job " + id, Text: "there is no such job",
		Next: fmt.Sprintf("the jobs of this node are %v", slices.Sorted(maps.Keys(s.jobs))),
	}
}

// trigger runs a job now. With Wait it answers when the couriers have come back.
func (d *Daemon) trigger(ctx context.Context, r control.TriggerRequest) (control.TriggerResponse, error) {
	w, err := d.job(r.Job)
	if err != nil {
		return control.TriggerResponse{}, err
	}
	answer := control.TriggerResponse{Job: r.Job}
	if !r.Wait {
		return answer, d.schedule.Trigger(r.Job)
	}
	answer.Started = d.Now()
	made, err := d.snapshotJob(ctx, w, causeTrigger)
	answer.Snapshots = made
	errs := []error{err}
	var visits sync.WaitGroup
	var mu sync.Mutex // guards answer and errs while couriers are on their way
	for _, c := range w.couriers {
		visits.Go(func() {
			tally, err := c.Visit(ctx, true)
			mu.Lock()
			defer mu.Unlock()
			answer.Steps += tally.Steps
			answer.Bytes += tally.Bytes
			errs = append(errs, err)
		})
	}
	visits.Wait()
	answer.Ended = d.Now()
	answer.Errors = d.problems(errors.Join(errs...))
	return answer, ctx.Err()
}

// apart takes joined errors apart, so that the next step of one is not told of
// another. An error that wraps several says more than they do, and stays whole.
func apart(err error) []error {
	if err == nil {
		return nil
	}
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return []error{err}
	}
	if err.Error() != errors.Join(joined.Unwrap()...).Error() {
		return []error{err}
	}
	var all []error
	for _, e := range joined.Unwrap() {
		all = append(all, apart(e)...)
	}
	return all
}

// problems words every part of an error; nil for none.
func (d *Daemon) problems(err error) (all []control.Error) {
	for _, err := range apart(err) {
		all = append(all, *control.ErrorOf(d.worded(err)))
	}
	return all
}

// worded gives an error the next step that its cause knows.
func (d *Daemon) worded(err error) error {
	if e, ok := errors.AsType[*control.Error](err); ok {
		return e // it has its words
	}
	p := d.problem(err)
	e := *control.ErrorOf(err)
	e.Text, e.Next = p.Text, p.Next
	return &e
}

var errAborted = errors.New("aborted by the operator")

// abort gives up what moves, here; the target is told by the client and drops its
// part.
func (d *Daemon) abort(_ context.Context, r control.AbortRequest) (control.AbortResponse, error) {
	w, err := d.job(r.Job)
	if err != nil {
		return control.AbortResponse{}, err
	}
	moving := map[string]*status.Moving{}
	for _, line := range d.Board.Read().Jobs {
		for _, ds := range line.Datasets {
			for _, p := range ds.Peers {
				if line.ID == r.Job && p.Moving != nil {
					moving[string(ds.Path)+"\x00"+p.Peer] = p.Moving
				}
			}
		}
	}
	d.firstCopies.GiveUp(r.Job, r.Peer, r.Dataset)
	answer := control.AbortResponse{Aborted: []control.Aborted{}}
	for name, c := range w.couriers {
		if r.Peer != "" && r.Peer != name {
			continue
		}
		for _, path := range c.Abort(r.Dataset, errAborted) {
			a := control.Aborted{Dataset: path, Peer: name}
			if m := moving[string(path)+"\x00"+name]; m != nil {
				a.Step, a.Bytes = m.Step, m.Bytes
			}
			answer.Aborted = append(answer.Aborted, a)
		}
	}
	return answer, nil
}

// preview is what the next run would do; it writes nothing.
func (d *Daemon) preview(ctx context.Context, r control.PlanRequest) (control.Preview[plan.Plan, prune.Verdict], error) {
	answer := control.Preview[plan.Plan, prune.Verdict]{Now: d.Now(), Jobs: []control.JobPreview[plan.Plan, prune.Verdict]{}}
	if r.Job != "" {
		w, err := d.job(r.Job)
		if err != nil {
			return answer, err
		}
		answer.Jobs = append(answer.Jobs, d.previewJob(ctx, w))
		return answer, nil
	}
	jobs := d.site().jobs
	for _, id := range slices.Sorted(maps.Keys(jobs)) {
		answer.Jobs = append(answer.Jobs, d.previewJob(ctx, jobs[id]))
	}
	return answer, nil
}
