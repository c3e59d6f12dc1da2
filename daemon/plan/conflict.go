package plan

import (
	"fmt"

	"antipode/fsdrivers/dataset"
)

// Conflict is why nothing may be sent. Every error of Decide is one. Error says
// what is wrong and what to do next; Next is that last part alone.
type Conflict interface {
	error
	Next() string
}

// Evidence is what both sides held when the conflict was found, each list
// oldest first by its own Order.
type Evidence struct {
	Dataset dataset.Dataset    `json:"dataset"`
	Source  []dataset.Snapshot `json:"source"`
	Target  []dataset.Snapshot `json:"target"`
}

// NoCommonBase says that both sides hold snapshots and share none.
type NoCommonBase struct {
	Evidence
}

// Error names the newest of each side.
func (c *NoCommonBase) Error() string {
	return sentence(c.Dataset, fmt.Sprintf("no common base: the source has %s, the target %s, and no identity is in both",
		extent(c.Source), extent(c.Target)), c)
}

// Next tells the ways out, none of which destroys the replica.
func (c *NoCommonBase) Next() string {
	return fmt.Sprintf("put a lost snapshot back on the source; or on the target `antipode resolve %s --with set-aside`: it keeps the replica under another name, and the next run makes a first copy", c.Dataset.Path)
}

// Is makes errors.Is(err, dataset.ErrBaseMissing) true.
func (c *NoCommonBase) Is(target error) bool { return target == dataset.ErrBaseMissing }

// Diverged says that the target holds points newer than the newest common one.
type Diverged struct {
	Evidence
	Base   dataset.Snapshot   `json:"base"`   // the newest common one, as the source lists it
	Beyond []dataset.Snapshot `json:"beyond"` // what the target has after it, oldest first
}

// Error names the base and what lies beyond it.
func (c *Diverged) Error() string {
	return sentence(c.Dataset, fmt.Sprintf("the target diverged: after the common base %s it holds %s, which the source does not have",
		c.Base.Name, extent(c.Beyond)), c)
}

// Next tells the ways out.
func (c *Diverged) Next() string {
	return fmt.Sprintf("if they were removed on the source by hand, put them back; otherwise destroy the newer points on the target, which Antipode never does by itself: `antipode resolve %s --with drop-newer --after %s` there",
		c.Dataset.Path, c.Base.Abroad().Name)
}

// Is makes errors.Is(err, dataset.ErrDiverged) true.
func (c *Diverged) Is(target error) bool { return target == dataset.ErrDiverged }

// OtherDataset says that the replica under this path was received from another
// dataset than the one that has the path on the source now.
type OtherDataset struct {
	Evidence
	TargetID dataset.ID `json:"target_id"`
}

// Error names both identities.
func (c *OtherDataset) Error() string {
	return sentence(c.Dataset, fmt.Sprintf("another dataset: the replica was received from %s, the source's is %s; it was made anew or replaced",
		c.TargetID, c.Dataset.ID), c)
}

// Next tells the ways out.
func (c *OtherDataset) Next() string {
	return "put the former dataset back at this path on the source, or rename the replica's directory in the target's `into` (on ZFS: `zfs rename` it to outside of `into`): the next run then makes a first copy of the new one"
}

// NotSeeded says that a first copy is needed and the policy forbids to send it.
type NotSeeded struct {
	Evidence
}

// Error says what the policy waits for.
func (c *NotSeeded) Error() string {
	return sentence(c.Dataset, `the target holds nothing, and initial = "fail" sends no first copy`, c)
}

// Next tells the ways out.
func (c *NotSeeded) Next() string {
	return fmt.Sprintf("seed the target by hand, or send a first copy after all: `antipode resolve %s --with first-copy`; for all datasets set initial = \"latest\" or \"all\" in the job", c.Dataset.Path)
}

// Is makes errors.Is(err, dataset.ErrRefused) true.
func (c *NotSeeded) Is(target error) bool { return target == dataset.ErrRefused }

func sentence(d dataset.Dataset, what string, c Conflict) string {
	return fmt.Sprintf("%s: %s; next: %s", d.Path, what, c.Next())
}

func extent(list []dataset.Snapshot) string {
	switch len(list) {
	case 0:
		return "no snapshot"
	case 1:
		return "1 snapshot (" + list[0].Name + ")"
	}
	return fmt.Sprintf("%d snapshots (%s to %s)", len(list), list[0].Name, list[len(list)-1].Name)
}
