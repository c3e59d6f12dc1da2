package prune

import (
	"context"
	"errors"
	"fmt"

	"antipode/fsdrivers/dataset"
)

// Destroyer removes one snapshot, durably, if its name still has that identity;
// one that is gone is success. Of its errors, dataset.ErrHeld and
// dataset.ErrChanged concern that snapshot alone.
type Destroyer interface {
	Destroy(ctx context.Context, d dataset.Path, s dataset.Snapshot) error
}

// ManyDestroyer is a Destroyer that removes many with one command, or with one
// wait for the disk. It answers for each, nil where it is gone. After an error
// that does not concern one alone, the rest are left and answered with it.
type ManyDestroyer interface {
	DestroyAll(ctx context.Context, d dataset.Path, list []dataset.Snapshot) []error
}

// Bookmarker is a Destroyer that can keep a base without its data. The bookmark is
// durable before any of the tags is taken off.
type Bookmarker interface {
	Bookmark(ctx context.Context, d dataset.Path, s dataset.Snapshot, instead ...dataset.Tag) error
}

// batch bounds what is handed to a ManyDestroyer at once: ctx is looked at in
// between, and a crash leaves at most so many without their line in history.
const batch = 1000

// Execute destroys what the verdicts say, oldest first: wherever it is cut off,
// what remains is the newer part of the list, and running it again, or deciding
// anew, goes on from there. It returns the verdicts that were carried out, with
// their reasons, also beside an error. A snapshot that has got a hold or
// another identity in the meantime is left alone, the rest goes on, and the
// error tells of it; any other error, or the end of ctx, stops it.
//
// A base becomes a bookmark in two phases. First the bookmark is made, and takes the
// place of the holds that were seen on the snapshot; then the snapshot goes. Cut off
// in between there is one base too many, never one too few. A base that cannot be
// bookmarked stays, and holds back nothing else.
func Execute(ctx context.Context, d dataset.Path, verdicts []Verdict, by Destroyer) ([]Verdict, error) {
	many, ok := by.(ManyDestroyer)
	if !ok {
		many = OneByOne{by}
	}
	var done []Verdict
	var errs []error
	for doomed := Doomed(verdicts); len(doomed) > 0; {
		if err := ctx.Err(); err != nil {
			return done, errors.Join(append(errs, fmt.Errorf("prune %s: %w", d, err))...)
		}
		some := doomed[:min(batch, len(doomed))]
		doomed = doomed[len(some):]
		some, err := bookmark(ctx, d, some, by)
		errs = append(errs, err)
		for i, err := range many.DestroyAll(ctx, d, snapshotsOf(some)) {
			if err == nil {
				done = append(done, some[i])
				continue
			}
			errs = append(errs, fmt.Errorf("destroy %s of %s (%s): %w", some[i].Snapshot.Name, d, some[i].Snapshot.ID, err))
			if !concernsOne(err) {
				return done, errors.Join(errs...)
			}
		}
	}
	return done, errors.Join(errs...)
}

// bookmark is the first phase. It returns the verdicts without those whose bookmark
// could not be made.
func bookmark(ctx context.Context, d dataset.Path, verdicts []Verdict, by Destroyer) ([]Verdict, error) {
	var errs []error
	var ready []Verdict
	for _, v := range verdicts {
		if v.Bookmark {
			b, can := by.(Bookmarker)
			err := errors.ErrUnsupported
			if can {
				err = b.Bookmark(ctx, d, v.Snapshot, v.Snapshot.Holds...)
			}
			if err != nil {
				errs = append(errs, fmt.Errorf("bookmark %s of %s (%s), which stays: %w", v.Snapshot.Name, d, v.Snapshot.ID, err))
				continue
			}
		}
		ready = append(ready, v)
	}
	return ready, errors.Join(errs...)
}

// Doomed are the verdicts that destroy, in their order.
func Doomed(verdicts []Verdict) []Verdict {
	var out []Verdict
	for _, v := range verdicts {
		if v.Destroy {
			out = append(out, v)
		}
	}
	return out
}

func snapshotsOf(verdicts []Verdict) []dataset.Snapshot {
	out := make([]dataset.Snapshot, len(verdicts))
	for i := range verdicts {
		out[i] = verdicts[i].Snapshot
	}
	return out
}

func concernsOne(err error) bool {
	return errors.Is(err, dataset.ErrHeld) || errors.Is(err, dataset.ErrChanged)
}

// OneByOne makes a ManyDestroyer of a Destroyer.
type OneByOne struct{ Destroyer }

// DestroyAll implements ManyDestroyer.
func (o OneByOne) DestroyAll(ctx context.Context, d dataset.Path, list []dataset.Snapshot) []error {
	answers := make([]error, len(list))
	var stop error
	for i, s := range list {
		if stop == nil {
			stop = ctx.Err()
		}
		if stop != nil {
			answers[i] = stop
			continue
		}
		if err := o.Destroy(ctx, d, s); err != nil {
			answers[i] = err
			if !concernsOne(err) {
				stop = err
			}
		}
	}
	return answers
}
