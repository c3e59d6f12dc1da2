package fsdrivers

import (
	"context"

	"antipode/fsdrivers/dataset"
)

// Forwarder is an optional ability of a target: to send what it has published on to
// a third host, with the identities that the points came with.
type Forwarder interface {
	// Onward sends steps between published points. A path is what the source calls
	// the dataset, as everywhere on this target.
	Onward() Onward
}

// Onward sends published points of a target, as a source sends its snapshots.
type Onward interface {
	Sender
	Estimator
}

// Offerer is an Onward that does not send all points of its target.
type Offerer interface {
	// Offered returns the published points of d that steps may go to and begin at,
	// sorted by Order. Errors: those of Lister.Snapshots.
	Offered(ctx context.Context, d dataset.Path) ([]dataset.Snapshot, error)
}
