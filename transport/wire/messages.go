// Package wire defines what two daemons say to each other: message values,
// chunk frames, error kinds, limits and the protocol version. It knows no
// TLS, no sockets and no goroutines. PROTOCOL.md beside the transport is its
// table.
package wire

import (
	"time"

	"antipode/fsdrivers/dataset"
)

// Version of the protocol. A peer with another major version is refused with a
// sentence that says which side to upgrade.
const Version = 1

// Hello is what a peer says of itself at first contact.
type Hello struct {
	Version  int       `json:"version"`
	Software string    `json:"software"` // release, for people
	Node     string    `json:"node"`
	Now      time.Time `json:"now"` // the peer's clock, to show the skew
	// Offers tells what this peer would take in from the caller, so that what
	// the gate would refuse is found before the first byte.
	Offers []Offer `json:"offers"`
	// Pulled tells what the caller may ask this peer to send, by PathPull.
	Pulled []Pulled `json:"pulled,omitempty"`
}

// Offer is one [[accept]] of a target, as its source may see it.
type Offer struct {
	Driver       string `json:"driver"`
	Usage        Usage  `json:"usage"`
	MinFree      int64  `json:"min_free"`  // bytes that stay free
	MaxBytes     int64  `json:"max_bytes"` // of one stream; 0 is no bound
	AllowDevices bool   `json:"allow_devices"`
	Problem      string `json:"problem,omitempty"` // why it takes nothing now
	Strip        string `json:"strip,omitempty"`   // it takes only what is below; "" is all
	Pull         string `json:"pull,omitempty"`    // when it asks for what it takes, for people; "" is never
}

// PullRequest asks a source to send now what the caller is a target of.
type PullRequest struct {
	Driver string `json:"driver"`
	When   string `json:"when,omitempty"` // when the caller asks, for people: "every 1h"
}

// PullAnswer names the jobs that the source has set going.
type PullAnswer struct {
	Jobs []string `json:"jobs"`
}

// Pulled is a job of a source that its target may ask for.
type Pulled struct {
	Job    string `json:"job"`
	Driver string `json:"driver"`
}

// Usage is the room on the target's file system, in bytes.
type Usage struct {
	Free int64 `json:"free"`
	Size int64 `json:"size"`
}

// InventoryRequest asks, in one exchange, what a job must know of the far side.
type InventoryRequest struct {
	Job        string         `json:"job"`
	Driver     string         `json:"driver"`
	MayPromote bool           `json:"may_promote"` // whether the source lets this target fence it
	Datasets   []InventoryAsk `json:"datasets"`    // at most MaxInventoryDatasets
}

// InventoryAsk is one dataset of the source.
type InventoryAsk struct {
	Dataset dataset.Dataset `json:"dataset"`
	Mark    dataset.Mark    `json:"mark,omitzero"`
}

// Inventory is the answer, in the order of the question.
type Inventory struct {
	Now      time.Time `json:"now"`
	Usage    Usage     `json:"usage"`
	Replicas []Replica `json:"replicas"`
}

// Replica is what the target holds of one dataset.
type Replica struct {
	Path       dataset.Path       `json:"path"`
	ID         dataset.ID         `json:"id,omitempty"` // of the dataset it was received from; zero before the first
	Snapshots  []dataset.Snapshot `json:"snapshots,omitempty"`
	Checkpoint dataset.Checkpoint `json:"checkpoint,omitzero"`
	Mark       dataset.Mark       `json:"mark,omitzero"`
	Problem    *Error             `json:"problem,omitempty"` // why this dataset cannot be received into
	// Note says what a round would do first, for people: the replica lies under the
	// dataset's former path, or that of another dataset lies under this one.
	Note string `json:"note,omitempty"`
}

// Open announces one incarnation of a step: one run of `send`. It ends any
// earlier incarnation that receives into the same replica.
type Open struct {
	Step        dataset.Step       `json:"step"`
	Driver      string             `json:"driver"`
	Incarnation string             `json:"incarnation"`         // 32 hexadecimal digits
	Checkpoint  dataset.Checkpoint `json:"checkpoint,omitzero"` // what the stream goes on from; must be what the target has
	Estimate    int64              `json:"estimate,omitempty"`  // bytes, a hint
	Mark        dataset.Mark       `json:"mark,omitzero"`       // the source's; zero where it was never promoted
	ChunkBytes  int                `json:"chunk_bytes"`         // largest payload of a chunk
}

// CommitQuery asks whether a step's snapshot is published on the target's disk.
type CommitQuery struct {
	Step   dataset.Step `json:"step"`
	Driver string       `json:"driver"`
}

// Committed is the answer from the disk.
type Committed struct {
	Published bool             `json:"published"`
	Snapshot  dataset.Snapshot `json:"snapshot,omitzero"` // as it is on the target
}
