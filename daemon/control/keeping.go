package control

import (
	"time"

	"antipode/fsdrivers/dataset"
)

// The verbs that tell and change what is kept, and why.
const (
	Prune   Verb = "prune"   // PruneRequest -> PruneResponse
	Pin     Verb = "pin"     // PinRequest -> PinResponse
	Unpin   Verb = "unpin"   // PinRequest -> PinResponse
	Holds   Verb = "holds"   // HoldsRequest -> HoldsResponse
	Explain Verb = "explain" // ExplainRequest -> ExplainResponse
	Abandon Verb = "abandon" // AbandonRequest -> AbandonResponse
	History Verb = "history" // ledger.Query -> HistoryResponse
	Names   Verb = "names"   // NamesRequest -> NamesResponse
)

// CheckRequest asks for a check, with Deep also for what the policy will lead to.
type CheckRequest struct {
	Deep bool `json:"deep,omitempty"`
}

// PruneRequest applies retention now: that of one job, or of what is accepted from
// one peer, or all of this node's. With Plan exactly that is destroyed, as far as
// it is still there and nothing needs it. V is prune.Verdict.
type PruneRequest[V any] struct {
	Job          string         `json:"job,omitempty"`
	From         string         `json:"from,omitempty"`
	DryRun       bool           `json:"dry_run,omitempty"`
	ReleaseBrake bool           `json:"release_brake,omitempty"`
	Plan         []PrunePlan[V] `json:"plan,omitempty"`
}

// PrunePlan is what was printed earlier, of a job or of what came from a peer.
type PrunePlan[V any] struct {
	Job    string            `json:"job,omitempty"`
	From   string            `json:"from,omitempty"`
	Prunes []PrunePreview[V] `json:"prunes"`
}

// PruneResponse is what was destroyed, or with DryRun would be.
type PruneResponse[V any] struct {
	Now    time.Time     `json:"now"`
	DryRun bool          `json:"dry_run"`
	Runs   []PruneRun[V] `json:"runs"`
}

// PruneRun is retention of one job, or of what came from one peer.
type PruneRun[V any] struct {
	PrunePlan[V]
	Destroyed int     `json:"destroyed"`       // that is gone now
	Brake     string  `json:"brake,omitempty"` // why nothing was destroyed
	Errors    []Error `json:"errors,omitempty"`
}

// NamesRequest asks for names, as a shell wants them that completes a word: of a
// dataset's snapshots on this node, on either side, or without one of the datasets.
type NamesRequest struct {
	Dataset dataset.Path `json:"dataset,omitempty"`
}

// NamesResponse has each name once, sorted.
type NamesResponse struct {
	Names []string `json:"names"`
}

// PinRequest names snapshots as DATASET@NAME, or as NAME in every dataset that has
// it.
type PinRequest struct {
	Snapshot string    `json:"snapshot"`
	Until    time.Time `json:"until,omitzero"` // zero: until it is taken off
	Why      string    `json:"why,omitempty"`
}

// PinResponse lists what is pinned now, or no more.
type PinResponse struct {
	Snapshots []Kept  `json:"snapshots"`
	Problems  []Error `json:"problems,omitempty"` // where more of that name may be, or could not be changed
}

// Kept is a snapshot on this node with whose it is: a job that made it, or a peer
// that it was received from.
type Kept struct {
	Job      string       `json:"job,omitempty"`
	From     string       `json:"from,omitempty"`
	Dataset  dataset.Path `json:"dataset"`
	Snapshot string       `json:"snapshot"`
	Pin      *dataset.Pin `json:"pin,omitempty"`
}

// HoldsRequest lists holds and pins. With Release that tag is taken off everywhere
// first, if it belongs to nothing in the configuration.
type HoldsRequest struct {
	Release string `json:"release,omitempty"`
}

// HoldsResponse lists what keeps snapshots from being destroyed.
type HoldsResponse struct {
	Now      time.Time  `json:"now"`
	Released int        `json:"released,omitempty"` // datasets
	Holds    []HoldLine `json:"holds"`
	Problems []Error    `json:"problems,omitempty"`
}

// HoldLine is one hold or pin.
type HoldLine struct {
	Kept
	Tag   string    `json:"tag,omitempty"` // "" for a pin
	Owner Owner     `json:"owner"`
	Why   string    `json:"why"`
	Since time.Time `json:"since,omitzero"`
}

// Owner is whose a hold is.
type Owner string

// The owners.
const (
	OwnerDaemon Owner = "antipode" // the daemon releases it by itself
	OwnerLeft   Owner = "left"     // of a job or a peer that left the configuration: released by command
	OwnerUser   Owner = "user"     // a pin
	OwnerOther  Owner = "other"    // somebody else's
)

// ExplainRequest names a snapshot as PinRequest does.
type ExplainRequest struct {
	Snapshot string `json:"snapshot"`
}

// ExplainResponse explains it wherever this node has it. V is prune.Verdict.
type ExplainResponse[V any] struct {
	Now       time.Time      `json:"now"`
	Snapshots []Explained[V] `json:"snapshots"`
	Gone      []Gone         `json:"gone,omitempty"`     // newest first, as far back as history goes
	Problems  []Error        `json:"problems,omitempty"` // where more of that name may be, or could not be explained
}

// Gone is a snapshot that was destroyed.
type Gone struct {
	Kept
	At  time.Time `json:"at"`
	Why string    `json:"why"`
}

// Explained is the fate of one snapshot.
type Explained[V any] struct {
	Kept
	Verdict V `json:"verdict"`
	// Until is when it goes if everything runs on as configured; zero where Open
	// says what it waits for, or where it goes at once.
	Until   time.Time  `json:"until,omitzero"`
	Open    string     `json:"open,omitempty"`
	Brake   string     `json:"brake,omitempty"`
	Holds   []HoldLine `json:"holds"`
	Targets []Presence `json:"targets,omitempty"`
}

// Presence tells whether a target has the snapshot.
type Presence struct {
	Peer  string `json:"peer"`
	State string `json:"state"` // "has it", "has it not", "not known"
	Why   string `json:"why,omitempty"`
	// Pulls is set where the target says when the job sends, and When is how often, as
	// it said last; "" before it ever asked.
	Pulls bool   `json:"pulls,omitempty"`
	When  string `json:"when,omitempty"`
}

// AbandonRequest gives up the common base with a peer, so that what it pins can go.
// A full copy follows when the peer is back. Preview changes nothing.
type AbandonRequest struct {
	Job     string       `json:"job"`
	Dataset dataset.Path `json:"dataset"`
	Peer    string       `json:"peer"`
	Preview bool         `json:"preview"`
}

// AbandonResponse is what was given up, and what it will cost.
type AbandonResponse struct {
	Base     string        `json:"base"` // the snapshot that was held; "" for none
	BaseTime time.Time     `json:"base_time,omitzero"`
	FullCopy Estimate      `json:"full_copy"`
	Takes    time.Duration `json:"takes_ns,omitempty"` // at the configured rate; 0 where there is none
}

// HistoryResponse is what happened, newest first. E is ledger.Entry.
type HistoryResponse[E any] struct {
	Entries []E `json:"entries"`
}
