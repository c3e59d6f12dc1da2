package plan

import (
	"fmt"
	"reflect"

	"antipode/fsdrivers/dataset"
)

// Unborn stands for the identity of a snapshot that a run makes before it sends it.
const Unborn dataset.ID = "0"

// Stale says that a plan that was made before does not fit any more. Nothing of it
// may be sent.
type Stale struct {
	Evidence
	Why string `json:"why"`
}

// Error says what does not fit.
func (s *Stale) Error() string {
	return sentence(s.Dataset, "the plan does not fit any more: "+s.Why, s)
}

// Next tells the way out.
func (s *Stale) Next() string { return "make a new one with `antipode plan --json`" }

// Is makes errors.Is(err, dataset.ErrChanged) true.
func (s *Stale) Is(target error) bool { return target == dataset.ErrChanged }

// Followed is what is done of a plan that was made before.
type Followed struct {
	Plan
	// Unmade are names of snapshots that the plan wanted a run to make first: no
	// plan makes any, and no step leads to them.
	Unmade []string
}

// Follow holds a plan that was made before against what both sides have now: it is
// carried out as it is, step by step, or not at all. That something newer came in the
// meantime changes nothing. Errors: Stale, and the conflicts of Decide.
func Follow(in Input, p Plan) (Followed, error) {
	in.Asked = true // for what the job may not do by itself
	d := new(Decider)
	now, err := d.Decide(in)
	if err != nil {
		return Followed{}, err
	}
	j := judgement{Input: in, Decider: d}
	e := j.evidence()
	stale := func(format string, args ...any) (Followed, error) {
		return Followed{}, &Stale{Evidence: e, Why: fmt.Sprintf(format, args...)}
	}
	switch {
	case p.Dataset != in.Dataset:
		return stale("it was made for dataset %s (%s), and this is %s", p.Dataset.Path, p.Dataset.ID, in.Dataset.ID)
	case p.Base.ID != now.Base.ID:
		return stale("it goes on from %s, and the newest common point is %s", named(p.Base), named(now.Base))
	case !reflect.DeepEqual(begunIn(p), in.Checkpoint):
		return stale("the target holds another unfinished receive than when it was made")
	}
	out := Followed{Plan: Plan{Dataset: in.Dataset, Base: now.Base, Steps: []Step{}, Resume: p.Resume, Dropped: p.Dropped, Why: p.Why}}
	from := now.Base
	for _, step := range p.Steps {
		if step.To.ID == Unborn {
			out.Unmade = append(out.Unmade, step.To.Name)
			break
		}
		at := j.source.find(e.Source, step.To.ID)
		if at < 0 || e.Source[at].Bookmark {
			return stale("the snapshot %s is not there any more", named(step.To))
		}
		to := e.Source[at]
		current := j.step(from, to)
		if current.ID() != step.ID() {
			return stale("the step to %s is another one now: the job's flags, the generation of the dataset, or what it builds on have changed", named(step.To))
		}
		out.Steps = append(out.Steps, Step{Step: current, Why: step.Why})
		from = to
	}
	return out, nil
}

// begunIn is the unfinished receive that a plan knows of.
func begunIn(p Plan) dataset.Checkpoint {
	if p.Dropped != nil {
		return p.Dropped.Checkpoint
	}
	return p.Resume
}

func named(s dataset.Snapshot) string {
	if s.ID.IsZero() {
		return "nothing"
	}
	return fmt.Sprintf("%s (%s)", s.Name, s.ID)
}
