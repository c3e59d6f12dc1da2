package activate

import (
	"fmt"

	"antipode/fsdrivers/dataset"
)

// errNoInPlace means that the file system makes a copy live, and no replica.
var errNoInPlace = fmt.Errorf("its file system cannot make a replica itself live: %w", dataset.ErrRefused)

// SplitBrain says that one generation was activated twice.
type SplitBrain struct {
	Ours   dataset.Mark `json:"ours"`
	Theirs dataset.Mark `json:"theirs"`
}

// Error names both activations and the way out.
func (e *SplitBrain) Error() string {
	return fmt.Sprintf("split brain: generation %d was activated here as %s (%s) and there as %s (%s); "+
		"replication is frozen and nothing is destroyed; next: compare both sides, stop writers on the one that gives way, and force a promotion of the one that stays",
		e.Ours.Generation, e.Ours.ID, e.Ours.Node, e.Theirs.ID, e.Theirs.Node)
}

// Is makes errors.Is(err, dataset.ErrDiverged) true.
func (e *SplitBrain) Is(target error) bool { return target == dataset.ErrDiverged }

// BadMark says that a peer's mark cannot be believed. Nobody steps down.
type BadMark struct {
	Ours   dataset.Mark `json:"ours"`
	Theirs dataset.Mark `json:"theirs"`
	Why    string       `json:"why"`
}

// Error says what is wrong with it and what to do.
func (e *BadMark) Error() string {
	return fmt.Sprintf("a mark of generation %d by %q is not accepted (ours is %d): %s; "+
		"next: find out on the peer who promoted this dataset, and whether it should have",
		e.Theirs.Generation, e.Theirs.Node, e.Ours.Generation, e.Why)
}

// Is makes errors.Is(err, dataset.ErrRefused) true.
func (e *BadMark) Is(target error) bool { return target == dataset.ErrRefused }

// Lost says that a peer remembers a promotion of this very node that its own
// disk does not know: it was put back to an earlier state.
type Lost struct {
	Ours   dataset.Mark `json:"ours"`
	Theirs dataset.Mark `json:"theirs"`
}

// Error says what happened and the way out.
func (e *Lost) Error() string {
	return fmt.Sprintf("the peer knows that %s was promoted in generation %d, and its own disk knows only generation %d: "+
		"it was restored from an earlier state; replication is frozen; next: compare both sides and force a promotion of the one that goes on",
		e.Theirs.Node, e.Theirs.Generation, e.Ours.Generation)
}

// Is makes errors.Is(err, dataset.ErrDiverged) true.
func (e *Lost) Is(target error) bool { return target == dataset.ErrDiverged }

// PrimaryHere says that this node is primary, so that its replica takes nothing in.
type PrimaryHere struct {
	Mark dataset.Mark `json:"mark"`
}

// Error says why and the way out.
func (e *PrimaryHere) Error() string {
	return fmt.Sprintf("%s was promoted in generation %d and is never overwritten by replication; "+
		"next: stop the job on the former primary, or replicate the other way", e.Mark.Node, e.Mark.Generation)
}

// Is makes errors.Is(err, dataset.ErrRefused) true.
func (e *PrimaryHere) Is(target error) bool { return target == dataset.ErrRefused }

// Refused says that an event is not possible in a role.
type Refused struct {
	Role Role   `json:"role"`
	What string `json:"what"` // what was asked
	Why  string `json:"why"`
	Next string `json:"next"`
}

// Error says what was refused, why, and the way out.
func (e *Refused) Error() string {
	return fmt.Sprintf("cannot %s a dataset that is %s: %s; next: %s", e.What, e.Role, e.Why, e.Next)
}

// Is makes errors.Is(err, dataset.ErrRefused) true.
func (e *Refused) Is(target error) bool { return target == dataset.ErrRefused }
