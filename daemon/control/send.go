package control

import "antipode/fsdrivers/dataset"

// Send carries out what `plan` printed: SendRequest -> SendResponse.
const Send Verb = "send"

// SendRequest is what is to be sent, and nothing else. P is plan.Plan.
type SendRequest[P any] struct {
	Plan []SendPlan[P] `json:"plan"`
}

// SendPlan is what was printed earlier of a job.
type SendPlan[P any] struct {
	Job   string           `json:"job"`
	Sends []SendPreview[P] `json:"sends"`
}

// SendResponse is what became of each, in order; what had no steps is left out.
type SendResponse struct {
	Sends []Sent `json:"sends"`
}

// Sent is what became of the plan for one dataset and peer.
type Sent struct {
	Job     string       `json:"job"`
	Dataset dataset.Path `json:"dataset"`
	Peer    string       `json:"peer"`
	Steps   int          `json:"steps"` // that are durable on the peer
	Bytes   int64        `json:"bytes"` // of their streams
	// Unmade are snapshots that only a run makes: nothing was sent of them.
	Unmade []string `json:"unmade,omitempty"`
	// Error is why the rest was not sent. A plan that does not fit any more is
	// refused as a whole.
	Error *Error `json:"error,omitempty"`
}
