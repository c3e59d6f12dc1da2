package plan

import (
	"cmp"
	"fmt"
	"slices"

	"antipode/daemon/policy"
	"antipode/fsdrivers/dataset"
)

// evidence is both lists as the decision reads them: oldest first, nothing
// twice, nothing without an identity (a step to or from it could not be told
// from a full send).
func (in Input) evidence() Evidence {
	return Evidence{Dataset: in.Dataset, Source: sorted(in.Source), Target: sorted(in.Target)}
}

// sorted orders by Order, and by identity where a listing gives the same Order
// twice, so that the order of the input cannot decide anything.
func sorted(list []dataset.Snapshot) []dataset.Snapshot {
	out := slices.SortedFunc(slices.Values(list), func(a, b dataset.Snapshot) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Name, b.Name))
	})
	seen := map[dataset.ID]bool{"": true}
	return slices.DeleteFunc(out, func(s dataset.Snapshot) bool {
		again := seen[s.ID]
		seen[s.ID] = true
		return again
	})
}

// base finds the snapshot to build on, as the source lists it; zero when the
// target is empty and may be given a first copy. It is the newest common one
// by the target's Order, and it must be the target's newest point: whatever
// the target holds beyond it, no incremental may silently build below.
func (in Input) base(e Evidence) (dataset.Snapshot, error) {
	if len(e.Target) == 0 {
		if in.Initial == policy.InitialFail && len(e.Source) > 0 {
			return dataset.Snapshot{}, &NotSeeded{Evidence: e}
		}
		return dataset.Snapshot{}, nil
	}
	for i, t := range slices.Backward(e.Target) {
		s := slices.IndexFunc(e.Source, func(s dataset.Snapshot) bool { return s.ID == t.ID })
		switch {
		case s < 0:
		case i == len(e.Target)-1:
			return e.Source[s], nil
		default:
			return dataset.Snapshot{}, &Diverged{Evidence: e, Base: e.Source[s], Beyond: e.Target[i+1:]}
		}
	}
	return dataset.Snapshot{}, &NoCommonBase{Evidence: e}
}

// route lays the steps from the base to the source's newest snapshot. A step
// that was begun and still fits goes first, even when newer snapshots exist:
// a first copy of two weeks would otherwise never end.
func (in Input) route(e Evidence, base dataset.Snapshot) Plan {
	p := Plan{Dataset: in.Dataset, Base: base, Steps: []Step{}}
	ahead := beyond(e, base)
	first := in.firstTargets(ahead, base)
	if to, ok := in.begun(ahead, base); ok {
		p.Resume = in.Checkpoint
		first = append([]dataset.Snapshot{to}, in.between(newerThan(ahead, to))...)
	} else if !in.Checkpoint.IsZero() {
		p.Dropped = &Dropped{Checkpoint: in.Checkpoint, Why: whyDropped(base)}
	}
	from := base
	for _, to := range first {
		p.Steps = append(p.Steps, Step{Step: in.step(from, to)})
		from = to
	}
	in.explain(&p, e)
	return p
}

// beyond is what the source has after the base and the target does not hold. Of a
// bookmark the data are gone: it is a base and nothing else.
func beyond(e Evidence, base dataset.Snapshot) []dataset.Snapshot {
	held := map[dataset.ID]bool{}
	for _, t := range e.Target {
		held[t.ID] = true
	}
	ahead := slices.DeleteFunc(slices.Clone(e.Source), func(s dataset.Snapshot) bool { return held[s.ID] || s.Bookmark })
	if base.ID.IsZero() {
		return ahead
	}
	return newerThan(ahead, base)
}

func newerThan(list []dataset.Snapshot, s dataset.Snapshot) []dataset.Snapshot {
	return slices.DeleteFunc(slices.Clone(list), func(o dataset.Snapshot) bool {
		return o.ID == s.ID || o.Order < s.Order || o.Order == s.Order && o.ID < s.ID
	})
}

// firstTargets are the To of each step when nothing was begun.
func (in Input) firstTargets(ahead []dataset.Snapshot, base dataset.Snapshot) []dataset.Snapshot {
	if base.ID.IsZero() {
		if in.Initial != policy.InitialAll && len(ahead) > 1 {
			return ahead[len(ahead)-1:]
		}
		return ahead
	}
	return in.between(ahead)
}

// between leaves out the intermediate snapshots where the policy says so.
func (in Input) between(ahead []dataset.Snapshot) []dataset.Snapshot {
	if in.NewestOnly && len(ahead) > 1 {
		return ahead[len(ahead)-1:]
	}
	return ahead
}

// begun finds the snapshot that the checkpoint was on its way to.
func (in Input) begun(ahead []dataset.Snapshot, base dataset.Snapshot) (dataset.Snapshot, bool) {
	if in.Checkpoint.IsZero() {
		return dataset.Snapshot{}, false
	}
	i := slices.IndexFunc(ahead, func(to dataset.Snapshot) bool {
		return in.step(base, to).ID() == in.Checkpoint.Step
	})
	if i < 0 {
		return dataset.Snapshot{}, false
	}
	return ahead[i], true
}

func (in Input) step(from, to dataset.Snapshot) dataset.Step {
	return dataset.Step{
		Job: in.Job, Dataset: in.Dataset, From: bare(from), To: bare(to),
		Flags: in.Flags, Generation: in.SourceMark.Generation,
	}
}

// bare leaves out what is nobody else's business and changes while a plan is
// carried out: our holds, which name other peers.
func bare(s dataset.Snapshot) dataset.Snapshot {
	s.Holds = nil
	return s
}

// explain puts the reasons in words.
func (in Input) explain(p *Plan, e Evidence) {
	for i := range p.Steps {
		p.Steps[i].Why = in.whyStep(p, i, len(e.Source))
	}
	switch {
	case len(e.Source) == 0:
		p.Why = "the source has no snapshot yet"
	case len(p.Steps) == 0:
		p.Why = upToDate(p.Base)
	case p.Base.ID.IsZero():
		p.Why = fmt.Sprintf("first copy, %s to the newest, %s", count(len(p.Steps), "step"), last(p.Steps).To.Name)
	default:
		p.Why = fmt.Sprintf("%s from the common base %s to the newest, %s",
			count(len(p.Steps), "step"), p.Base.Name, last(p.Steps).To.Name)
	}
}

func upToDate(base dataset.Snapshot) string {
	switch {
	case base.ID.IsZero():
		return "nothing can be sent: of the source's snapshots only bookmarks are left"
	case base.Bookmark:
		return fmt.Sprintf("up to date: the target has %s, of which the source keeps a bookmark", base.Name)
	}
	return fmt.Sprintf("up to date: the target has %s, the newest", base.Name)
}

func (in Input) whyStep(p *Plan, i, held int) string {
	s := p.Steps[i]
	switch {
	case i == 0 && !p.Resume.IsZero():
		return fmt.Sprintf("was begun: %d bytes are durable on the target, so it is finished before anything newer", p.Resume.Done)
	case s.IsFull() && in.Initial == policy.InitialAll:
		return "first copy: the target holds nothing and initial = all starts with the oldest snapshot"
	case s.IsFull():
		return fmt.Sprintf("first copy: the target holds nothing and initial = latest sends the newest of %s", count(held, "snapshot"))
	case in.NewestOnly:
		return fmt.Sprintf("the newest after %s; intermediates = false leaves out what lies between", s.From.Name)
	case i == 0:
		return fmt.Sprintf("the target has %s and not this one", s.From.Name)
	default:
		return fmt.Sprintf("next after %s", s.From.Name)
	}
}

func whyDropped(base dataset.Snapshot) string {
	if base.ID.IsZero() {
		return "the target holds part of a step whose snapshot the source no longer has, or that was sent by another job, with other flags or in another generation"
	}
	return fmt.Sprintf("the target holds part of a step that does not lead from %s to a snapshot that the source still has to send", base.Name)
}

func last(steps []Step) Step { return steps[len(steps)-1] }

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
