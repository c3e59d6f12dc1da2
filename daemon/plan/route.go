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
func (j judgement) evidence() Evidence {
	return Evidence{Dataset: j.Dataset, Source: sorted(j.Source, &j.source), Target: sorted(j.Target, &j.target)}
}

// compareOrder orders by Order, and by identity where a listing gives the same
// Order twice, so that the order of the input cannot decide anything.
func compareOrder(a, b dataset.Snapshot) int {
	return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Name, b.Name))
}

// sorted puts a list in order and what stays of it into the index. It copies only
// what is not so already.
func sorted(list []dataset.Snapshot, x *index) []dataset.Snapshot {
	for i := 1; i < len(list); i++ {
		if list[i-1].Order >= list[i].Order {
			list = slices.SortedFunc(slices.Values(list), compareOrder)
			break
		}
	}
	x.reset(len(list))
	kept, shared := 0, true
	for i := range list {
		if kept < i { // something was left out
			if shared {
				list, shared = slices.Clone(list), false
			}
			list[kept] = list[i]
		}
		if !list[kept].ID.IsZero() && x.add(list, kept) {
			kept++
		}
	}
	return list[:kept]
}

// base finds the snapshot to build on, as the source lists it; zero when the
// target is empty and may be given a first copy. It is the newest common one
// by the target's Order, and it must be the target's newest point: whatever
// the target holds beyond it, no incremental may silently build below.
func (j judgement) base(e Evidence) (dataset.Snapshot, error) {
	if len(e.Target) == 0 {
		if j.Initial == policy.InitialFail && !j.Asked && len(e.Source) > 0 {
			return dataset.Snapshot{}, &NotSeeded{Evidence: e}
		}
		return dataset.Snapshot{}, nil
	}
	for i, t := range slices.Backward(e.Target) {
		s := j.source.find(e.Source, t.ID)
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
func (j judgement) route(e Evidence, base dataset.Snapshot) Plan {
	p := Plan{Dataset: j.Dataset, Base: base, Steps: []Step{}}
	ahead := j.beyond(e, base)
	first := j.firstTargets(ahead, base)
	if to, ok := j.begun(ahead, base); ok {
		p.Resume = j.Checkpoint
		first = append([]dataset.Snapshot{to}, j.between(newerThan(ahead, to))...)
	} else if !j.Checkpoint.IsZero() {
		p.Dropped = &Dropped{Checkpoint: j.Checkpoint, Why: whyDropped(base)}
	}
	from := base
	for _, to := range first {
		p.Steps = append(p.Steps, Step{Step: j.step(from, to)})
		from = to
	}
	j.explain(&p, e)
	return p
}

// beyond is what the source has after the base and the target does not hold. Of a
// bookmark the data are gone, and what others made is sent only where the job
// includes it: those are bases and nothing else.
func (j judgement) beyond(e Evidence, base dataset.Snapshot) []dataset.Snapshot {
	var ahead []dataset.Snapshot
	for _, s := range e.Source[j.source.find(e.Source, base.ID)+1:] {
		if !s.Bookmark && j.Include.Has(s) && j.target.find(e.Target, s.ID) < 0 {
			ahead = append(ahead, s)
		}
	}
	return ahead
}

func newerThan(list []dataset.Snapshot, s dataset.Snapshot) []dataset.Snapshot {
	return slices.DeleteFunc(slices.Clone(list), func(o dataset.Snapshot) bool {
		return o.ID == s.ID || o.Order < s.Order || o.Order == s.Order && o.ID < s.ID
	})
}

// firstTargets are the To of each step when nothing was begun.
func (j judgement) firstTargets(ahead []dataset.Snapshot, base dataset.Snapshot) []dataset.Snapshot {
	if base.ID.IsZero() {
		if j.Initial != policy.InitialAll && len(ahead) > 1 {
			return ahead[len(ahead)-1:]
		}
		return ahead
	}
	return j.between(ahead)
}

// between leaves out the intermediate snapshots where the policy says so.
func (j judgement) between(ahead []dataset.Snapshot) []dataset.Snapshot {
	if j.NewestOnly && len(ahead) > 1 {
		return ahead[len(ahead)-1:]
	}
	return ahead
}

// begun finds the snapshot that the checkpoint was on its way to.
func (j judgement) begun(ahead []dataset.Snapshot, base dataset.Snapshot) (dataset.Snapshot, bool) {
	if j.Checkpoint.IsZero() {
		return dataset.Snapshot{}, false
	}
	i := slices.IndexFunc(ahead, func(to dataset.Snapshot) bool {
		return j.step(base, to).ID() == j.Checkpoint.Step
	})
	if i < 0 {
		return dataset.Snapshot{}, false
	}
	return ahead[i], true
}

func (j judgement) step(from, to dataset.Snapshot) dataset.Step {
	return dataset.Step{
		Job: j.Job, Dataset: j.Dataset, From: bare(from), To: bare(to),
		Flags: j.Flags, Generation: j.SourceMark.Generation,
	}
}

// bare leaves out what is nobody else's business and changes while a plan is
// carried out: holds, which name other peers, and pins.
func bare(s dataset.Snapshot) dataset.Snapshot {
	s.Holds, s.Pin = nil, nil
	return s
}

// explain puts the reasons in words.
func (j judgement) explain(p *Plan, e Evidence) {
	for i := range p.Steps {
		p.Steps[i].Why = j.whyStep(p, i, len(e.Source))
		if p.Steps[i].To.Foreign {
			p.Steps[i].Why += "; others made it, and include names it"
		}
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

func (j judgement) whyStep(p *Plan, i, held int) string {
	s := p.Steps[i]
	switch {
	case i == 0 && !p.Resume.IsZero():
		return fmt.Sprintf("was begun: %d bytes are durable on the target, so it is finished before anything newer", p.Resume.Done)
	case s.IsFull() && j.Initial == policy.InitialAll:
		return "first copy: the target holds nothing and initial = all starts with the oldest snapshot"
	case s.IsFull() && j.Initial == policy.InitialFail:
		return fmt.Sprintf("first copy: the target holds nothing, and somebody asked for the newest of %s although initial = fail", count(held, "snapshot"))
	case s.IsFull():
		return fmt.Sprintf("first copy: the target holds nothing and initial = latest sends the newest of %s", count(held, "snapshot"))
	case j.NewestOnly:
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
