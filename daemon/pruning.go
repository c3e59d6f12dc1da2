package daemon

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"antipode/daemon/control"
	"antipode/daemon/ledger"
	"antipode/daemon/prune"
	"antipode/fsdrivers/dataset"
)

// The prune verb with the values that retention decides on.
type (
	pruneRequest  = control.PruneRequest[prune.Verdict]
	pruneResponse = control.PruneResponse[prune.Verdict]
	prunePlan     = control.PrunePlan[prune.Verdict]
	pruneRun      = control.PruneRun[prune.Verdict]
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
		if stop, ok := asBrake(err); ok && r.DryRun {
			run.Brake, err = stop.why, nil
		}
		if err != nil {
			run.Errors = append(run.Errors, *control.ErrorOf(d.worded(err)))
		}
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
		return nil, &control.Error{
			Kind: control.KindNotFound, Object: "peer " + r.From, Text: "nothing is accepted from it",
			Next: fmt.Sprintf("this node accepts from %v", s.senders()),
		}
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
	for key, room := range d.site().rooms {
		if key.from != p.From {
			continue
		}
		keep, err := d.targetRetention(ctx, key.from, room)
		if err != nil {
			return err
		}
		switch {
		case r.DryRun || len(r.Plan) > 0:
			if !r.DryRun {
				if err := room.tending.take(ctx); err != nil {
					return err
				}
				defer room.tending.give()
			}
			err = keep.show(ctx, r, p, run)
		default:
			var n int
			n, err = d.tendRoom(ctx, key.from, room, r.ReleaseBrake)
			run.Destroyed += n
		}
		if err != nil {
			return err
		}
	}
	return nil
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
	paths, err := d.find(ctx, w)
	if err != nil {
		return err
	}
	live, _, err := d.roles(ctx, w, paths)
	if err != nil {
		return err
	}
	keep := d.sourceRetention(w, live)
	if r.DryRun || len(r.Plan) > 0 {
		return keep.show(ctx, r, p, run)
	}
	run.Destroyed, err = keep.run(ctx, r.ReleaseBrake)
	return err
}

// show is a dry run, or carries a plan out that a dry run printed.
func (r *retention) show(ctx context.Context, q pruneRequest, p prunePlan, run *pruneRun) error {
	if q.DryRun {
		all, brake, err := r.preview(ctx)
		run.Prunes, run.Brake = append(run.Prunes, all...), brake
		return err
	}
	for _, planned := range p.Prunes {
		done, left, err := r.follow(ctx, planned)
		run.Destroyed += done
		run.Errors = append(run.Errors, left...)
		if err != nil {
			return err
		}
	}
	return nil
}

// follow destroys of one dataset what a plan says, and nothing else: what is still
// there under that name with that identity, and what nothing needs by now. Rules do
// not count: the plan was made under them, and somebody asked for it.
func (r *retention) follow(ctx context.Context, planned control.PrunePreview[prune.Verdict]) (int, []control.Error, error) {
	doomed := prune.Doomed(planned.Verdicts)
	if len(doomed) == 0 {
		return 0, nil, nil
	}
	if !slices.Contains(r.paths, planned.Dataset) {
		return 0, nil, &control.Error{
			Kind: control.KindNotFound, Object: string(planned.Dataset), Text: "is not a dataset of " + r.object() + " on this node, or another node is primary of it",
			Next: "make a new plan",
		}
	}
	now, err := r.judge(ctx, planned.Dataset)
	if err != nil {
		return 0, nil, fmt.Errorf("list snapshots of %s: %w", planned.Dataset, err)
	}
	byID := make(map[dataset.ID]prune.Verdict, len(now))
	for _, v := range now {
		byID[v.Snapshot.ID] = v
	}
	var left []control.Error
	var going []prune.Verdict
	for _, v := range doomed {
		current, there := byID[v.Snapshot.ID]
		if !there || current.Snapshot.Name != v.Snapshot.Name {
			continue // it is gone; another one under its name is not meant
		}
		if need := slices.IndexFunc(current.Reasons, func(x prune.Reason) bool { return x.Kind.IsNeed() }); need >= 0 {
			left = append(left, control.Error{
				Kind: control.KindRefused, Object: string(planned.Dataset) + "@" + v.Snapshot.Name,
				Text: "stays, because it is needed by now: " + current.Reasons[need].Text(), Next: "make a new plan",
			})
			continue
		}
		current.Destroy, current.Reasons = true, v.Reasons
		going = append(going, current)
	}
	done, err := prune.Execute(ctx, planned.Dataset, going, r.by)
	r.d.remember(r.side, r.name, planned.Dataset, done)
	return len(done), left, err
}

// history answers from the ledger, what waits to be written included.
func (d *Daemon) history(_ context.Context, q ledger.Query) (control.HistoryResponse[ledger.Entry], error) {
	answer := control.HistoryResponse[ledger.Entry]{Entries: []ledger.Entry{}}
	if err := d.ledger.Flush(); err != nil {
		return answer, fmt.Errorf("write what waits: %w", err)
	}
	all, err := d.ledger.History(q)
	answer.Entries = append(answer.Entries, all...)
	return answer, err
}
