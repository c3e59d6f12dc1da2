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
	Asked     bool         // somebody asked for a first copy; see plan.Input
}

// Decide plans one dataset. It is what a round executes and what `plan` prints.
func Decide(ctx context.Context, near fsdrivers.Lister, f Facts) (plan.Plan, error) {
	return beside(ctx, near, f, Facts.decide)
}

// Follow holds a plan that `plan` printed against what is so now.
func Follow(ctx context.Context, near fsdrivers.Lister, f Facts, p plan.Plan) (plan.Followed, error) {
	return beside(ctx, near, f, func(f Facts) (plan.Followed, error) { return plan.Follow(f.input(), p) })
}

// beside decides, and where no base is found once more, beside all snapshots of
// others: the target may have one that the job included before, and a filter hides no
// base.
func beside[T any](ctx context.Context, near fsdrivers.Lister, f Facts, decide func(Facts) (T, error)) (T, error) {
	p, err := decide(f)
	others, can := near.(fsdrivers.Foreigner)
	if !can || !lacksBase(err) {
		return p, err
	}
	all, listErr := others.Foreign(ctx, f.Dataset.Path)
	if listErr != nil || len(all) == 0 {
		return p, err
	}
	f.Snapshots = slices.Concat(f.Snapshots, all)
	slices.SortStableFunc(f.Snapshots, func(a, b dataset.Snapshot) int { return cmp.Compare(a.Order, b.Order) })
	if q, again := decide(f); !lacksBase(again) {
		return q, again
	}
	return p, err // its evidence is what the operator knows
}

func lacksBase(err error) bool {
	var none *plan.NoCommonBase
	var diverged *plan.Diverged
	return errors.As(err, &none) || errors.As(err, &diverged)
}

func (f Facts) decide() (plan.Plan, error) { return plan.Decide(f.input()) }

func (f Facts) input() plan.Input {
	return plan.Input{
		Job: f.Job.ID, Dataset: f.Dataset, Source: f.Snapshots, Target: f.Far.Snapshots, TargetID: f.Far.ID, Checkpoint: f.Far.Checkpoint,
		SourceMark: f.Mark, TargetMark: f.Far.Mark, MayPromote: f.Job.MayPromote, Initial: f.Job.Initial, Asked: f.Asked,
		Flags: f.Job.Flags(), NewestOnly: f.Job.NewestOnly, Include: f.Job.Include,
	}
}
