package fsdrivers

import (
	"context"

	"antipode/fsdrivers/dataset"
)

// Versioner is an optional ability of a driver, on either side: to tell for
// little that nothing happened to a dataset, so that its lists need not be read.
type Versioner interface {
	// Versions returns a text for each of ds, in order. As long as it stays the
	// same, so does everything that Find, Snapshots, Mark and Pending answer of
	// that dataset, whoever works on the disk. It is read from the disk each
	// time. "" where nothing can be told, or not yet: what cannot be looked at
	// is for the other methods to explain. Errors: those of ctx, and of what all
	// of ds lie on.
	Versions(ctx context.Context, ds []dataset.Path) ([]string, error)
}
