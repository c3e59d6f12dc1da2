package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"antipode/daemon/control"
	"antipode/daemon/ledger"
	"antipode/daemon/policy"
	"antipode/daemon/prune"
	"antipode/daemon/retain"
)

// The prune verb with the values that retention decides on.
type (
	pruneRequest  = control.PruneRequest[prune.Verdict]
	pruneResponse = control.PruneResponse[prune.Verdict]
	prunePlan     = control.PrunePlan[prune.Verdict]
	pruneRun      = control.PruneRun[prune.Verdict]
	prunePreview  = control.PrunePreview[prune.Verdict]
)

// prune applies retention now, shows what it would do, or carries out what was
// shown before.
func (d *Daemon) prune(ctx context.Context, r pruneRequest) (pruneResponse, error) {
	answer := pruneResponse{Now: d.Now(), DryRun: r.DryRun, Runs: []pruneRun{}}
	plans := r.Plan
	if len(plans) == 0 {
		var err error
		if plans, err = d.allPlans(r); err != nil {
			return answer, err
		}
	}
	for _, p := range plans {
		run := pruneRun{PrunePlan: prunePlan{Job: p.Job, From: p.From}}
		err := d.pruneOne(ctx, r, p, &run)
		run.Errors = append(run.Errors, d.problems(err)...)
		answer.Runs = append(answer.Runs, run)
	}
	return answer, ctx.Err()
}

// allPlans names what the request means, without verdicts.
func (d *Daemon) allPlans(r pruneRequest) ([]prunePlan, error) {
	s := d.site()
	if r.Job != "" {
		_, err := d.job(r.Job)
		return []prunePlan{{Job: r.Job}}, err
	}
	var all []prunePlan
	if r.From == "" {
		for _, id := range slices.Sorted(maps.Keys(s.jobs)) {
			all = append(all, prunePlan{Job: id})
		}
	}
	for _, from := range s.senders() {
		if r.From == "" || r.From == from {
			all = append(all, prunePlan{From: from})
		}
	}
	if r.From != "" && len(all) == 0 {
		next := "this node accepts from nobody"
		if senders := s.senders(); len(senders) > 0 {
			next = "this node accepts from " + strings.Join(senders, ", ")
		}
		return nil, &control.Error{Kind: control.KindNotFound, Object: "peer " + r.From, Text: "nothing is accepted from it", Next: next}
	}
	return all, nil
}

// senders are the peers that something is accepted from, sorted.
func (s *site) senders() []string {
	var all []string
	for key := range s.rooms {
		all = append(all, key.from)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (d *Daemon) pruneOne(ctx context.Context, r pruneRequest, p prunePlan, run *pruneRun) error {
	if p.Job != "" {
		return d.pruneJob(ctx, r, p, run)
	}
	var errs []error
	foreign := p.Prunes // of a plan, what no room is for
	for key, room := range d.site().rooms {
		if key.from != p.From {
			continue
		}
		of := func(x prunePreview) bool { return string(policy.DriverOf(x.Dataset)) == key.driver }
		mine := prunePlan{From: p.From, Prunes: slices.DeleteFunc(slices.Clone(foreign), func(x prunePreview) bool { return !of(x) })}
		foreign = slices.DeleteFunc(slices.Clone(foreign), of)
		errs = append(errs, d.pruneRoom(ctx, r, mine, room, run))
	}
	for _, x := range foreign {
		errs = append(errs, &control.Error{
			Kind: control.KindNotFound, Object: string(x.Dataset), Text: "nothing of its kind is accepted from " + p.From, Next: "make a new plan",
		})
	}
	return errors.Join(errs...)
}

func (d *Daemon) pruneRoom(ctx context.Context, r pruneRequest, p prunePlan, room *room, run *pruneRun) error {
	if !r.DryRun && len(r.Plan) == 0 {
		n, frozen, err := d.tendRoom(ctx, p.From, room, r.ReleaseBrake)
		run.Destroyed += n
		return errors.Join(err, frozen)
	}
	if !r.DryRun {
		if err := room.tending.take(ctx); err != nil {
			return err
		}
		defer room.tending.give()
	}
	keep, err := d.targetRetention(ctx, p.From, room)
	if err != nil {
		return err
	}
	return show(ctx, keep, r, p, run)
}

func (d *Daemon) pruneJob(ctx context.Context, r pruneRequest, p prunePlan, run *pruneRun) error {
	w, err := d.job(p.Job)
	if err != nil {
		return err
	}
	if !r.DryRun {
		if err := w.running.take(ctx); err != nil {
			return fmt.Errorf("wait for the run before: %w", err)
		}
		defer w.running.give()
	}
	keep, _, unseen := d.jobRetention(ctx, w)
	if r.DryRun || len(r.Plan) > 0 {
		return errors.Join(unseen, show(ctx, keep, r, p, run))
	}
	var frozen error
	run.Destroyed, frozen, err = keep.Run(ctx, r.ReleaseBrake)
	return errors.Join(unseen, err, frozen)
}

// show is a dry run, or carries a plan out that a dry run printed.
func show(ctx context.Context, r *retain.Retention, q pruneRequest, p prunePlan, run *pruneRun) error {
	if q.DryRun {
		all, brake, err := r.Preview(ctx)
		run.Prunes, run.Brake = append(run.Prunes, all...), cmp.Or(run.Brake, brake)
		return err
	}
	done, left, err := r.Follow(ctx, p.Prunes, q.ReleaseBrake)
	run.Destroyed += done
	run.Errors = append(run.Errors, left...)
	return err
}

// history answers from the ledger, what waits to be written included.
func (d *Daemon) history(_ context.Context, q ledger.Query) (control.HistoryResponse[ledger.Entry], error) {
	answer := control.HistoryResponse[ledger.Entry]{Entries: []ledger.Entry{}}
	if err := d.ledger.Flush(); err != nil {
		return answer, fmt.Errorf("write what waits: %w", err)
	}
	all, err := d.ledger.History(q)
	if _, isPeer := d.site().peer(q.Job); len(all) == 0 && err == nil && q.Job != "" && !isPeer {
		_, err = d.job(q.Job) // one that left the configuration may be remembered
	}
	answer.Entries = append(answer.Entries, all...)
	return answer, err
}
