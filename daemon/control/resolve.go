package control

import "antipode/fsdrivers/dataset"

// Resolve tells of the conflicts of a dataset, and applies one cure when asked to:
// ResolveRequest -> ResolveResponse.
const Resolve Verb = "resolve"

// ResolveRequest names a dataset. Without With the answer tells of its conflicts.
type ResolveRequest struct {
	Dataset dataset.Path `json:"dataset"`
	With    string       `json:"with,omitempty"`  // a cure
	Peer    string       `json:"peer,omitempty"`  // the target that is meant, on a source that has several
	From    string       `json:"from,omitempty"`  // the replica of this peer's is meant
	After   string       `json:"after,omitempty"` // the newest point that stays
	Preview bool         `json:"preview,omitempty"`
}

// ResolveResponse is what stands against what, or what a cure does, or did.
type ResolveResponse struct {
	Conflicts []ConflictLine `json:"conflicts"`
	Does      []string       `json:"does,omitempty"` // sentences
}

// ConflictLine is one conflict with the ways out, which Next of the error tells.
type ConflictLine struct {
	Job      string `json:"job,omitempty"`
	Peer     string `json:"peer"`
	Conflict Error  `json:"conflict"`
}
