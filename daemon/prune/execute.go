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

// Execute destroys what the verdicts say, oldest first: wherever it is cut off,
// what remains is the newer part of the list, and running it again, or deciding
// anew, goes on from there. It returns the verdicts that were carried out, with
// their reasons, also beside an error. A snapshot that has got a hold or
// another identity in the meantime is left alone, the rest goes on, and the
// error tells of it; any other error, or the end of ctx, stops it.
func Execute(ctx context.Context, d dataset.Path, verdicts []Verdict, by Destroyer) ([]Verdict, error) {
	var done []Verdict
	var errs []error
	for _, v := range verdicts {
		if !v.Destroy {
			continue
		}
		if err := ctx.Err(); err != nil {
			return done, errors.Join(append(errs, fmt.Errorf("prune %s: %w", d, err))...)
		}
		err := by.Destroy(ctx, d, v.Snapshot)
		if err == nil {
			done = append(done, v)
			continue
		}
		errs = append(errs, fmt.Errorf("destroy %s of %s (%s): %w", v.Snapshot.Name, d, v.Snapshot.ID, err))
		if !errors.Is(err, dataset.ErrHeld) && !errors.Is(err, dataset.ErrChanged) {
			break
		}
	}
	return done, errors.Join(errs...)
}
