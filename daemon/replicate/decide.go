package replicate

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"antipode/daemon/plan"
	"antipode/daemon/policy"
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/transport/wire"
)

// Facts are what a plan for one dataset is made of.
type Facts struct {
	Job       policy.Job
	Dataset   dataset.Dataset
	Mark      dataset.Mark
	Snapshots []dataset.Snapshot
	Far       wire.Replica // as the peer tells it
}

// Decide plans one dataset. It is what a round executes and what `plan` prints. Where
// no base is found it is looked for among all snapshots of others too: the target may
// have one that the job included before, and a filter hides no base.
func Decide(ctx context.Context, near fsdrivers.Lister, f Facts) (plan.Plan, error) {
	p, err := f.decide()
	others, can := near.(fsdrivers.Foreigner)
	if !can || !lacksBase(err) {
		return p, err
	}
	all, listErr := others.Foreign(ctx, f.Dataset.Path)
	if listErr != nil || len(all) == 0 {
		return p, err
	}
	beside := f
	beside.Snapshots = slices.Concat(f.Snapshots, all)
	slices.SortStableFunc(beside.Snapshots, func(a, b dataset.Snapshot) int { return cmp.Compare(a.Order, b.Order) })
	if q, again := beside.decide(); again == nil {
		return q, nil
	}
	return p, err // its evidence is what the operator knows
}

func lacksBase(err error) bool {
	var none *plan.NoCommonBase
	var diverged *plan.Diverged
	return errors.As(err, &none) || errors.As(err, &diverged)
}

func (f Facts) decide() (plan.Plan, error) {
	return plan.Decide(plan.Input{
		Job: f.Job.ID, Dataset: f.Dataset, Source: f.Snapshots, Target: f.Far.Snapshots, TargetID: f.Far.ID, Checkpoint: f.Far.Checkpoint,
		SourceMark: f.Mark, TargetMark: f.Far.Mark, MayPromote: f.Job.MayPromote, Initial: f.Job.Initial,
		Flags: f.Job.Flags(), NewestOnly: f.Job.NewestOnly, Include: f.Job.Include,
	})
}
