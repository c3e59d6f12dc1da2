package control

import (
	"time"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// Verb is what is asked for; it is the last part of the request's path.
type Verb string

// The verbs, with their request and response.
const (
	Status     Verb = "status"      // Nothing -> status.Status
	Health     Verb = "health"      // Nothing -> HealthResponse
	Trigger    Verb = "trigger"     // TriggerRequest -> TriggerResponse
	Pause      Verb = "pause"       // JobRequest -> PauseResponse
	Unpause    Verb = "unpause"     // JobRequest -> PauseResponse
	Abort      Verb = "abort"       // AbortRequest -> AbortResponse
	Check      Verb = "check"       // CheckRequest -> CheckResponse
	Plan       Verb = "plan"        // PlanRequest -> Preview
	Promote    Verb = "promote"     // PromoteRequest -> PromoteResponse
	Pair       Verb = "pair"        // Nothing -> PairResponse
	PairAccept Verb = "pair-accept" // PairAcceptRequest -> PairAcceptResponse
	Reload     Verb = "reload"      // Nothing -> ReloadResponse
	Version    Verb = "version"     // Nothing -> VersionResponse
	Identity   Verb = "identity"    // Nothing -> IdentityResponse
)

// IsLong reports whether the verb may take as long as it takes: it ends with the
// caller. Every other one ends after MaxDuration.
func (v Verb) IsLong() bool {
	switch v {
	case Trigger, Check, Plan, Send, Resolve, Promote, PairAccept, Prune, Explain, Holds, Pin, Unpin, Abandon:
		return true
	}
	return false
}

// Nothing is a request without content.
type Nothing struct{}

// JobRequest names a job.
type JobRequest struct {
	Job string `json:"job"`
}

// TriggerRequest starts a job now, or once it may run again.
type TriggerRequest struct {
	Job  string `json:"job"`
	Wait bool   `json:"wait"` // answer when the run ended
}

// TriggerResponse is how the run went; with Wait false only Job is set.
type TriggerResponse struct {
	Job       string    `json:"job"`
	Started   time.Time `json:"started,omitzero"`
	Ended     time.Time `json:"ended,omitzero"`
	Snapshots int       `json:"snapshots"` // made
	Steps     int       `json:"steps"`     // committed on a target
	Bytes     int64     `json:"bytes"`     // of their streams
	Errors    []Error   `json:"errors,omitempty"`
}

// PauseResponse is the job's state after pause or unpause. A pause lets what is
// on its way come to its end.
type PauseResponse struct {
	Job    string `json:"job"`
	Paused bool   `json:"paused"`
	Before bool   `json:"before"` // whether it was paused before
}

// AbortRequest gives up what moves: of the job, or of one of its datasets, or
// on its way to one peer. Dataset and Peer may be empty.
type AbortRequest struct {
	Job     string       `json:"job"`
	Dataset dataset.Path `json:"dataset,omitempty"`
	Peer    string       `json:"peer,omitempty"`
}

// AbortResponse lists what was given up.
type AbortResponse struct {
	Aborted []Aborted `json:"aborted"`
}

// Aborted is one step that was given up, here and on the peer.
type Aborted struct {
	Dataset dataset.Path   `json:"dataset"`
	Peer    string         `json:"peer"`
	Step    dataset.StepID `json:"step"`
	Bytes   int64          `json:"bytes"` // that were acknowledged and are lost
}

// CheckResponse is what was found, the worst first.
type CheckResponse struct {
	Findings []Finding `json:"findings"`
}

// Severity of a finding.
type Severity string

// The severities. Only Fatal makes `check` fail.
const (
	Fatal   Severity = "fatal"
	Warning Severity = "warning"
	Good    Severity = "ok"
)

// Finding is one thing that was looked at, with its cure unless it is good.
type Finding struct {
	Severity Severity `json:"severity"`
	Object   string   `json:"object"` // "peer sin1", "job db", "/etc/antipode/antipode.toml:12"
	What     string   `json:"what"`
	Cure     string   `json:"cure,omitempty"`
}

// FindingOf takes over what a driver's Probe found.
func FindingOf(f fsdrivers.Finding) Finding {
	severity := Warning
	if f.Fatal {
		severity = Fatal
	}
	return Finding{Severity: severity, Object: f.Object, What: f.What, Cure: f.Cure}
}

// PlanRequest asks for a preview of one job, or of all when Job is empty.
type PlanRequest struct {
	Job string `json:"job,omitempty"`
}

// Preview is what the next run would do. P is plan.Plan and V prune.Verdict,
// which pass through unchanged: this package does not know what they mean.
type Preview[P, V any] struct {
	Now  time.Time          `json:"now"`
	Jobs []JobPreview[P, V] `json:"jobs"`
}

// JobPreview is the next run of one job. Plans and prunes are made as if it were that
// time and the snapshots were there already.
type JobPreview[P, V any] struct {
	Job  string    `json:"job"`
	Next time.Time `json:"next,omitzero"` // when it runs; zero: only when triggered, or paused
	// NextReplication is when Sends are sent, where the job has times of its own for
	// that: what is made between the run and then goes too. Zero: with the run.
	NextReplication time.Time         `json:"next_replication,omitzero"`
	Paused          bool              `json:"paused,omitempty"`
	Snapshots       []SnapshotPreview `json:"snapshots"`
	Sends           []SendPreview[P]  `json:"sends"`
	Prunes          []PrunePreview[V] `json:"prunes"`
	Brake           string            `json:"brake,omitempty"`    // why none of Prunes would be carried out
	Problems        []Error           `json:"problems,omitempty"` // why a part of it could not be previewed
}

// SnapshotPreview is a snapshot that would be made.
type SnapshotPreview struct {
	Dataset dataset.Path `json:"dataset"`
	Name    string       `json:"name"` // "" where none would be made
	Why     string       `json:"why"`
}

// SendPreview is what would be sent of one dataset to one peer: a plan, or the
// conflict that stands in its way, or the problem that kept it from being made.
type SendPreview[P any] struct {
	Dataset   dataset.Path `json:"dataset"`
	Peer      string       `json:"peer"`
	Plan      *P           `json:"plan,omitempty"`
	Conflict  *Error       `json:"conflict,omitempty"`
	Estimates []Estimate   `json:"estimates,omitempty"` // one for each step of Plan, in its order
	// Far is what else would happen on the peer, as sentences: what it would
	// receive into, what would be aborted there, whose policy prunes it.
	Far []string `json:"far,omitempty"`
}

// Estimate is how many bytes a step would send.
type Estimate struct {
	Bytes int64    `json:"bytes"`
	Kind  Accuracy `json:"kind"`
}

// Accuracy is how good an estimate is.
type Accuracy string

// The accuracies.
const (
	About Accuracy = "about" // asked of the file system, of snapshots that exist; off by some tenths of a per cent
	// InUse is all that its file system holds: more than is sent, unless it is the only
	// thing there and compressed.
	InUse   Accuracy = "in use"
	Unknown Accuracy = "unknown" // Bytes means nothing
)

// PrunePreview is the verdict on each snapshot of one dataset on this node.
type PrunePreview[V any] struct {
	Dataset  dataset.Path `json:"dataset"`
	Verdicts []V          `json:"verdicts"`
	Frees    Estimate     `json:"frees"` // by what goes
}

// PromoteRequest makes this node primary of a dataset that it holds for a peer.
type PromoteRequest struct {
	Dataset  dataset.Path `json:"dataset"`
	From     string       `json:"from"`               // the peer that it was received from; may be empty when only one sends it
	Snapshot string       `json:"snapshot,omitempty"` // the recovery point; "" is the newest
	InPlace  bool         `json:"in_place,omitempty"` // the replica itself goes live, and no copy
	Force    bool         `json:"force"`              // although the old primary answers
	Reason   string       `json:"reason,omitempty"`   // for the ledger and the mark's readers
	Preview  bool         `json:"preview"`            // change nothing, answer what would be
}

// PromoteResponse is what was done, or with Preview what would be.
type PromoteResponse struct {
	Dataset    dataset.Path `json:"dataset"`
	From       string       `json:"from"`
	Role       string       `json:"role"` // before
	Generation uint64       `json:"generation"`
	Point      string       `json:"point"`      // name of the recovery point
	PointTime  time.Time    `json:"point_time"` // when it was made
	// Age of the point: what was written on the primary in this time is not in it.
	Age time.Duration `json:"age_ns"`
	// Newer are recovery points held here that would be left behind.
	Newer []string `json:"newer,omitempty"`
	// Receiving is set while a newer point is arriving: it would be cut off.
	Receiving        bool `json:"receiving,omitempty"`
	PrimaryReachable bool `json:"primary_reachable"`
	// InPlace is set where the replica itself goes live, or did.
	InPlace bool `json:"in_place,omitempty"`
	// The rest is zero in a preview.
	Live     string        `json:"live,omitempty"`      // where the data are, writable
	SetAside string        `json:"set_aside,omitempty"` // where what was there is now
	Took     time.Duration `json:"took_ns,omitempty"`
}

// PairResponse is a token that pairs one node with this one, once.
type PairResponse struct {
	Token   string    `json:"token"` // a secret until it is used
	Expires time.Time `json:"expires"`
}

// PairAcceptRequest pairs this node with the one that issued the token.
type PairAcceptRequest struct {
	Token string `json:"token"`
	// Reverse: the issuer cannot dial this node, which keeps connections open to it.
	Reverse bool `json:"reverse,omitempty"`
}

// PairAcceptResponse is the peer that is pinned now, on both sides.
type PairAcceptResponse struct {
	Peer    string `json:"peer"`
	Address string `json:"address"`
	Key     string `json:"key"`
	File    string `json:"file"` // where it is written
}

// ReloadResponse says what a reload changed, as sentences.
type ReloadResponse struct {
	Changes []string `json:"changes"`
}

// VersionResponse is the daemon's release.
type VersionResponse struct {
	Version  string `json:"version"`
	Protocol int    `json:"protocol"`
}

// IdentityResponse is what a peer has to know to call this node.
type IdentityResponse struct {
	Node    string `json:"node"`
	Key     string `json:"key"`
	Address string `json:"address,omitempty"` // it listens here
}

// HealthResponse is the verdict of status.Health.
type HealthResponse struct {
	Code int    `json:"code"`
	Line string `json:"line"`
}
