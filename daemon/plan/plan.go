// Package plan decides what has to be sent so that one replica catches up with
// its source. It owns the search for the common base, the order of steps, the
// fate of an unfinished receive, and the conflicts in which nothing may be
// sent. It is pure: both sides' lists go in, a Plan or a typed conflict with
// its evidence comes out, and the same input always gives the same output. It
// must not know drivers, the transport, retention or what time it is.
package plan

import (
	"antipode/daemon/policy"
	"antipode/fsdrivers/dataset"
)

// Input is all that the decision depends on.
type Input struct {
	Job     string          // the job's immutable id
	Dataset dataset.Dataset // as the source declares it
	// Source and Target are what each side holds complete, in any order. Only
	// identities are compared between them; Order only within each.
	Source, Target []dataset.Snapshot
	// TargetID is the dataset that the replica was received from; zero before
	// its first copy.
	TargetID dataset.ID
	// Checkpoint is the target's unfinished receive; zero for none.
	Checkpoint             dataset.Checkpoint
	SourceMark, TargetMark dataset.Mark
	// Node is the source's own, as marks name it. With it, a source whose own
	// mark says that another node is primary sends nothing; "" leaves that to
	// the caller.
	Node string
	// MayPromote says that this target may fence the source.
	MayPromote bool
	// Initial says what a first copy sends; "" is policy.InitialLatest.
	Initial policy.Initial
	// Asked sends a first copy although Initial forbids it: somebody asked for that one.
	Asked bool
	// NewestOnly leaves out what lies between the base and the source's newest.
	NewestOnly bool
	// Include names which snapshots of others are sent. The rest of them may be the
	// base and nothing else.
	Include policy.Names
	// Flags are the pinned send options of this replica.
	Flags string
}

// Plan is what has to be done, in order. A dry run prints the same value that
// a run executes. A Plan without steps is good news: nothing to send.
type Plan struct {
	Dataset dataset.Dataset `json:"dataset"`
	// Base is the newest point that both sides have, as the source lists it with
	// its holds; zero before the first copy.
	Base dataset.Snapshot `json:"base,omitzero"`
	// Steps are sent one after the other; each builds on the one before.
	Steps []Step `json:"steps"`
	// Resume is the checkpoint that the first step goes on from; zero when it
	// starts at the first byte.
	Resume dataset.Checkpoint `json:"resume,omitzero"`
	// Dropped is an unfinished receive that fits nothing any more: the target
	// has to abort it before the first step.
	Dropped *Dropped `json:"dropped,omitempty"`
	// Why is the reason for the plan as a whole.
	Why string `json:"why"`
}

// Step is a send and the reason for it.
type Step struct {
	dataset.Step
	Why string `json:"why"`
}

// Dropped is a checkpoint that is given up.
type Dropped struct {
	Checkpoint dataset.Checkpoint `json:"checkpoint"`
	Why        string             `json:"why"`
}

// IsEmpty reports whether there is nothing to send and nothing to give up.
func (p Plan) IsEmpty() bool { return len(p.Steps) == 0 && p.Dropped == nil }

// Decide plans the steps from what the target holds to the source's newest
// snapshot. The error is one of the conflicts of this package (all of them
// implement Conflict), in which case nothing may be sent.
func Decide(in Input) (Plan, error) { return new(Decider).Decide(in) }

// Decider decides on one dataset after the other in the same memory. The zero
// value is ready; it is for one goroutine.
type Decider struct {
	source, target index
}

// Decide is the function of that name. What it returns shares no memory with the
// Decider, but a conflict's evidence may with the lists of the Input.
func (d *Decider) Decide(in Input) (Plan, error) {
	j := judgement{Input: in, Decider: d}
	if err := j.judgeMarks(); err != nil {
		return Plan{}, err
	}
	e := j.evidence()
	// A binding without points protects nothing: the target binds its path anew.
	if !in.TargetID.IsZero() && in.TargetID != in.Dataset.ID && len(e.Target) > 0 {
		return Plan{}, &OtherDataset{Evidence: e, TargetID: in.TargetID}
	}
	base, err := j.base(e)
	if err != nil {
		return Plan{}, err
	}
	return j.route(e, base), nil
}

// judgement is a decision under way.
type judgement struct {
	Input
	*Decider
}
