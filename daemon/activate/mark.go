package activate

import (
	"fmt"

	"antipode/fsdrivers/dataset"
)

// MaxRise bounds how many generations a peer's mark may be ahead of ours.
const MaxRise = dataset.MaxMarkRise

// Verdict is what a peer's mark means for us.
type Verdict string

// Verdicts on a peer's mark. With the zero Verdict comes an error.
const (
	Agree    Verdict = "agree"     // the same activation
	Behind   Verdict = "behind"    // theirs is older and of our line: they have to learn
	StepDown Verdict = "step-down" // theirs is newer and valid: it becomes ours
)

// Accept judges a peer's mark (ARCHITECTURE decision 9). mayPromote says that
// this peer may make itself primary of this dataset.
//
// A newer mark is accepted only from such a peer, only if it rises by at most
// MaxRise, and only if it chains: our activation stands in its history as many
// places back as the generations differ. From the zero mark, which has no
// activation to find, chains what remembers every activation down to generation
// 1; MaxRise is less than what a history holds, so an honest one always does.
//
// Errors: *SplitBrain for another activation of our generation (both sides
// freeze, nothing is destroyed), *BadMark for anything that cannot be believed
// (an alarm, and nobody steps down).
func Accept(ours, theirs dataset.Mark, mayPromote bool) (Verdict, error) {
	bad := func(format string, args ...any) (Verdict, error) {
		return "", &BadMark{Ours: ours, Theirs: theirs, Why: fmt.Sprintf(format, args...)}
	}
	if err := theirs.Validate(); err != nil {
		return bad("it is malformed: %v", err)
	}
	switch {
	case ours.Same(theirs):
		return Agree, nil
	case theirs.IsZero() || ours.Descends(theirs):
		return Behind, nil
	case ours.Generation == theirs.Generation:
		return "", &SplitBrain{Ours: ours, Theirs: theirs}
	case theirs.Generation < ours.Generation:
		return bad("it is older than ours and not in our history, so both sides were promoted apart")
	case !mayPromote:
		return bad("this peer may not promote")
	case theirs.Generation-ours.Generation > MaxRise:
		return bad("it rises by more than %d generations", MaxRise)
	case !theirs.Descends(ours):
		return bad("its history does not chain from ours")
	}
	return StepDown, nil
}

// maxFirst bounds the generation of a first mark: on top of the last one that a number
// holds nobody could be promoted.
const maxFirst = 1 << 32

// Learn judges the first mark that a standby without one hears from the source that it
// receives from. It makes nobody step down, so that MaxRise does not bound it: a source may
// have been promoted often before this standby was made. Errors: *Lost for one that names
// this node, *BadMark for one that does not remember what was before it, or cannot be.
func Learn(theirs dataset.Mark, node string) error {
	bad := func(why string) error { return &BadMark{Theirs: theirs, Why: why} }
	switch err := theirs.Validate(); {
	case err != nil:
		return bad(fmt.Sprintf("it is malformed: %v", err))
	case theirs.Node == node:
		return &Lost{Theirs: theirs}
	case !theirs.IsWhole():
		return bad("it does not remember the promotions before it")
	case theirs.Generation > maxFirst:
		return bad("nothing was promoted so often")
	}
	return nil
}

// Promote returns the mark of a new activation on top of ours: one generation
// higher, with at most dataset.MaxMarkHistory activations before it. base is
// the recovery point it starts from; zero for a primary that goes on with its
// own live data.
func Promote(ours dataset.Mark, node string, base dataset.ID, id dataset.ActivationID) dataset.Mark {
	next := dataset.Mark{Activation: dataset.Activation{
		Generation: ours.Generation + 1, ID: id, Node: node, Base: base,
	}}
	if ours.IsZero() {
		return next
	}
	next.History = append([]dataset.Activation{ours.Activation}, ours.History...)
	next.History = next.History[:min(len(next.History), dataset.MaxMarkHistory)]
	return next
}

// MayReceive tells from the mark on the disk whether replication may write into
// this node's replica (G3). Error: *PrimaryHere, while node is the primary.
func MayReceive(m dataset.Mark, node string) error {
	if !m.IsZero() && m.Node == node {
		return &PrimaryHere{Mark: m}
	}
	return nil
}
