package retain

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"antipode/daemon/control"
	"antipode/daemon/prune"
	"antipode/fsdrivers/dataset"
)

// Follow destroys what a plan says, and nothing else: what is still there under that
// name with that identity, and what nothing needs by now. Rules do not count: the plan
// was made under them, and somebody asked for it. The brake does, of what goes and all
// that the side has, since a plan may be long and its reader a script; with release it
// stops nothing. What is needed by now is in left.
func (r *Retention) Follow(ctx context.Context, planned []control.PrunePreview[prune.Verdict], release bool) (destroyed int, left []control.Error, err error) {
	doomed := map[dataset.Path][]prune.Verdict{}
	var errs []error
	for _, p := range planned {
		switch some := prune.Doomed(p.Verdicts); {
		case len(some) == 0:
		case !slices.Contains(r.Paths, p.Dataset):
			errs = append(errs, &control.Error{
				Kind: control.KindNotFound, Object: string(p.Dataset), Text: "is not a dataset of " + r.Object() + " on this node, or another node is primary of it",
				Next: "make a new plan",
			})
		default:
			doomed[p.Dataset] = append(doomed[p.Dataset], some...)
		}
	}
	var all []Judgement
	goes, total := 0, 0
	for _, path := range r.Paths {
		now, err := r.Judge(ctx, path)
		if err != nil {
			if doomed[path] != nil {
				errs = append(errs, fmt.Errorf("list snapshots of %s: %w", path, err))
			}
			continue
		}
		going, needed := stillThere(path, now, doomed[path])
		left = append(left, needed...)
		all = append(all, Judgement{Path: path, Doomed: going})
		goes, total = goes+len(going), total+len(now)
	}
	if why := prune.Brake(r.Bounds.Brake).Stops(goes, total); why != "" && !release {
		return 0, left, errors.Join(append(errs, &BrakeError{object: r.Object(), Why: why, plan: true})...)
	}
	for _, j := range all {
		if len(j.Doomed) == 0 {
			continue
		}
		done, err := prune.Execute(ctx, j.Path, j.Doomed, r.By)
		r.Remember(j.Path, done)
		destroyed += len(done)
		if err != nil {
			errs = append(errs, fmt.Errorf("prune %s: %w", j.Path, err))
		}
	}
	return destroyed, left, errors.Join(errs...)
}

// stillThere holds what a plan dooms against the verdicts of now.
func stillThere(path dataset.Path, now, doomed []prune.Verdict) (going []prune.Verdict, needed []control.Error) {
	byID := make(map[dataset.ID]prune.Verdict, len(now))
	for _, v := range now {
		byID[v.Snapshot.ID] = v
	}
	for _, v := range doomed {
		current, there := byID[v.Snapshot.ID]
		if !there || current.Snapshot.Name != v.Snapshot.Name {
			continue // it is gone; another one under its name is not meant
		}
		delete(byID, v.Snapshot.ID) // a plan may name it twice
		if need := slices.IndexFunc(current.Reasons, func(x prune.Reason) bool { return x.Kind.IsNeed() }); need >= 0 {
			needed = append(needed, control.Error{
				Kind: control.KindRefused, Object: string(path) + "@" + v.Snapshot.Name,
				Text: "stays, because it is needed by now: " + current.Reasons[need].Text(), Next: "make a new plan",
			})
			continue
		}
		current.Destroy, current.Reasons = true, v.Reasons
		going = append(going, current)
	}
	return going, needed
}
