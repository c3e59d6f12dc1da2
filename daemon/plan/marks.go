package plan

import (
	"fmt"

	"antipode/fsdrivers/dataset"
)

// Promoted says that another node was made primary, and may have been: the
// source is the side that is out of date now. Nothing is sent (G3). Where the
// source has learned of it before, Theirs is its own mark: whoever steps down
// for it once more repairs a step down that was cut off.
type Promoted struct {
	Evidence
	Ours   dataset.Mark `json:"ours"`
	Theirs dataset.Mark `json:"theirs"`
}

// Error names who was promoted from what.
func (c *Promoted) Error() string {
	return sentence(c.Dataset, fmt.Sprintf("the target was promoted: %s is primary in generation %d, from the recovery point %s, and this side has to give way",
		c.Theirs.Node, c.Theirs.Generation, c.Theirs.Base), c)
}

// Next tells the way out.
func (c *Promoted) Next() string {
	return "work on with the new primary; stop writers here, and replicate the other way to bring this side up to date"
}

// SplitBrain says that both sides were promoted in the same generation. Both
// freeze, and nothing is destroyed.
type SplitBrain struct {
	Evidence
	Ours   dataset.Mark `json:"ours"`
	Theirs dataset.Mark `json:"theirs"`
}

// Error names both activations.
func (c *SplitBrain) Error() string {
	return sentence(c.Dataset, fmt.Sprintf("split brain: generation %d was activated twice, here %s (%s) and there %s (%s); replication is frozen and nothing is destroyed",
		c.Ours.Generation, c.Ours.ID, c.Ours.Node, c.Theirs.ID, c.Theirs.Node), c)
}

// Next tells the way out.
func (c *SplitBrain) Next() string {
	return fmt.Sprintf("compare both sides, decide which one goes on, and stop writers on the other; then on the one that gives way `antipode resolve %s --with give-way`, or on the target, if that goes on, `antipode promote --force`", c.Dataset.Path)
}

// BadMark says that the target's mark cannot be believed: it does not chain
// from ours, jumps, or comes from a target that may not promote. Nobody steps
// down for it, and nothing is sent to who carries it.
type BadMark struct {
	Evidence
	Ours   dataset.Mark `json:"ours"`
	Theirs dataset.Mark `json:"theirs"`
	Why    string       `json:"why"`
}

// Error says what is wrong with it.
func (c *BadMark) Error() string {
	return sentence(c.Dataset, fmt.Sprintf("the target shows a mark of generation %d by %s that is not accepted (ours is %d): %s",
		c.Theirs.Generation, c.Theirs.Node, c.Ours.Generation, c.Why), c)
}

// Next tells the way out.
func (c *BadMark) Next() string {
	return fmt.Sprintf("find out on the target who promoted this dataset, and whether it should have; set may_promote in the job only if it may, or give way this once: `antipode resolve %s --with give-way`", c.Dataset.Path)
}

// judgeMarks refuses to send to a side that was, or says it was, primary. A
// target whose mark is older than ours and belongs to our line merely has to
// learn; one without a mark claims nothing.
func (j judgement) judgeMarks() error {
	ours, theirs := j.SourceMark, j.TargetMark
	bad := func(why string) error {
		return &BadMark{Evidence: j.evidence(), Ours: ours, Theirs: theirs, Why: why}
	}
	switch {
	case ours.Same(theirs) || theirs.IsZero() || ours.Descends(theirs):
		if j.Node != "" && ours.IsForeign(j.Node) {
			return &Promoted{Evidence: j.evidence(), Ours: ours, Theirs: ours}
		}
		return nil
	case ours.Generation == theirs.Generation:
		return &SplitBrain{Evidence: j.evidence(), Ours: ours, Theirs: theirs}
	case theirs.Generation < ours.Generation:
		return bad("it is older than ours and not in our history, so both sides were promoted apart")
	case theirs.Generation-ours.Generation > dataset.MaxMarkRise:
		return bad(fmt.Sprintf("it rises by more than %d generations", dataset.MaxMarkRise))
	case !theirs.Descends(ours):
		return bad("its history does not chain from ours")
	case !j.MayPromote:
		return bad("this target may not promote")
	}
	return &Promoted{Evidence: j.evidence(), Ours: ours, Theirs: theirs}
}
