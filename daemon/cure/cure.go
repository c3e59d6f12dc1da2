// Package cure knows what a command may do about a conflict, when somebody asks for
// it and for nothing else: which wishes there are, whether one fits what is so, and
// what it would do. It decides on values, and acts only on the marks that it is given.
// It must not know sockets, schedules, or how a conflict was found.
package cure

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"antipode/daemon/prune"
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// Cure is a way out of a conflict.
type Cure string

// The cures that a command applies. What else a conflict names is done by commands of
// their own (promote --force, abandon), or by hand.
const (
	// FirstCopy sends one although initial = "fail"; on the source.
	FirstCopy Cure = "first-copy"
	// GiveWay takes the other side's mark for ours: this side is no primary any more.
	GiveWay Cure = "give-way"
	// DropNewer destroys the points after one; on the target.
	DropNewer Cure = "drop-newer"
	// SetAside keeps a replica as one of nobody's, and makes room for a first copy; on
	// the target.
	SetAside Cure = "set-aside"
)

// All are the cures, for whoever asks which there are.
var All = [...]Cure{FirstCopy, GiveWay, DropNewer, SetAside}

// Parse reads the name of a cure.
func Parse(s string) (Cure, error) {
	for _, c := range All {
		if string(c) == s {
			return c, nil
		}
	}
	return "", fmt.Errorf("%q is no cure; want one of %s", s, strings.Trim(fmt.Sprint(All), "[]"))
}

// UnfitError says why a cure does not fit what is so.
type UnfitError struct {
	Cure Cure
	Why  string
	Then string // the next step
}

// Error says what does not fit.
func (e *UnfitError) Error() string { return fmt.Sprintf("%s does not fit: %s", e.Cure, e.Why) }

// Next tells the way out.
func (e *UnfitError) Next() string { return e.Then }

// Is makes errors.Is(err, dataset.ErrRefused) true.
func (e *UnfitError) Is(target error) bool { return target == dataset.ErrRefused }

// MayGiveWay reports whether node may take theirs for its own mark. A side that is a
// generation ahead does not: the other has to be promoted first, or who looks at both
// would see a mark go back.
func MayGiveWay(node string, ours, theirs dataset.Mark) error {
	unfit := func(why, then string) error { return &UnfitError{Cure: GiveWay, Why: why, Then: then} }
	if err := theirs.Validate(); err != nil {
		return unfit(fmt.Sprintf("the other side's mark cannot be read: %v", err), "look at the other side")
	}
	switch {
	case theirs.IsZero():
		return unfit("the other side was never promoted", "there is nobody to give way to; see `antipode status` on both sides")
	case ours.Same(theirs):
		return unfit("both sides agree already", "see `antipode status`")
	case !theirs.IsForeign(node):
		return unfit("the other side names this node as primary", "see `antipode status` on the other side")
	case theirs.Generation < ours.Generation:
		return unfit(fmt.Sprintf("the other side is in generation %d, and this one in %d", theirs.Generation, ours.Generation),
			"promote there once more (`antipode promote --force`), or let that side give way")
	}
	return nil
}

// Source is the file system of a dataset that gives way.
type Source interface {
	fsdrivers.Marker
	fsdrivers.Fencer
}

// Fence takes theirs over on a source, and makes the dataset read-only. The mark comes
// first: a crash in between leaves a side that knows that it must not send, and fences
// itself at its next run.
func Fence(ctx context.Context, by Source, d dataset.Path, ours, theirs dataset.Mark) error {
	if err := by.SwapMark(ctx, d, ours, theirs); err != nil {
		return fmt.Errorf("record the primary of %s: %w", d, err)
	}
	if err := by.Fence(ctx, d); err != nil {
		return fmt.Errorf("make %s read-only: %w", d, err)
	}
	return nil
}

// Newer are the points after the one called after, to be destroyed whatever the rules
// and protect say. It fits only if nobody else needs one of them.
func Newer(points []dataset.Snapshot, after string, in prune.Input) ([]prune.Verdict, error) {
	unfit := func(then, why string, args ...any) ([]prune.Verdict, error) {
		return nil, &UnfitError{Cure: DropNewer, Why: fmt.Sprintf(why, args...), Then: then}
	}
	var base dataset.Snapshot
	for _, p := range points {
		if p.Name == after {
			base = p
		}
	}
	if base.ID.IsZero() {
		return unfit("name the newest common point, which the conflict tells, with --after", "there is no point %q here", after)
	}
	var all []prune.Verdict
	for _, p := range points {
		switch {
		case p.Order <= base.Order:
			continue
		case p.Pin.Holds(in.Now):
			return unfit("take the pin off first (`antipode unpin`)", "%s is pinned: %s", p.Name, p.Pin.Why)
		case len(p.Holds) > 0:
			return unfit("see `antipode holds`", "%s is held by %s", p.Name, p.Holds[0])
		}
		if slices.Contains(in.InFlight, p.ID) {
			return unfit("wait until nothing is received; what was promoted from it stays", "%s is in use", p.Name)
		}
		all = append(all, prune.Verdict{Snapshot: p, Destroy: true, Reasons: []prune.Reason{{Kind: prune.Asked}}})
	}
	if len(all) == 0 {
		return unfit("there is nothing to do", "%s is the newest point", after)
	}
	return all, nil
}
