package ledger

import (
	"time"

	"antipode/fsdrivers/dataset"
)

// Side says on which side of a replication something happened.
type Side string

// The sides.
const (
	Source Side = "source" // this node sends
	Target Side = "target" // this node receives
)

// Problem is an error as an operator reads it.
type Problem struct {
	Text string    `json:"text"`
	Next string    `json:"next,omitempty"` // what to do about it
	At   time.Time `json:"at"`
}

// Point is a recovery point.
type Point struct {
	Name    string     `json:"name"`
	ID      dataset.ID `json:"id"`
	Created time.Time  `json:"created"` // by the source's clock
	// Confirmed is when the live dataset was last known to hold exactly this.
	Confirmed time.Time `json:"confirmed,omitzero"`
}

// RunReplicate is the Kind of a run of a job's own replication schedule.
const RunReplicate = "replicate"

// Run is one execution of a job.
type Run struct {
	Job       string    `json:"job"`
	Kind      string    `json:"kind,omitempty"` // "" takes snapshots, RunReplicate sends
	Cause     string    `json:"cause"`          // "due", "missed", "trigger"
	Started   time.Time `json:"started"`
	Ended     time.Time `json:"ended"`
	Snapshots int       `json:"snapshots"` // made by this run
	// Held is how long the hooks kept the datasets quiet.
	Held  time.Duration `json:"held_ns,omitempty"`
	Steps int           `json:"steps"` // committed by this run
	Bytes int64         `json:"bytes"` // of streams, both ways of counting repetitions left out
	Error string        `json:"error,omitempty"`
}

// StartKey names what a schedule makes a job do.
type StartKey struct {
	Job  string `json:"job"`
	Kind string `json:"kind,omitempty"` // as in Run
}

// Start is when a job began last what its schedule makes it do. Runs do not tell:
// those in which nothing happened are not in them, and they are bounded.
type Start struct {
	StartKey
	At time.Time `json:"at"`
}

// Step is one send or receive that ended, well or not.
type Step struct {
	Side    Side           `json:"side"`
	Job     string         `json:"job"`
	Dataset dataset.Path   `json:"dataset"`
	Peer    string         `json:"peer"`
	Step    dataset.StepID `json:"step"`
	From    string         `json:"from,omitempty"` // name of the base; "" for a full one
	To      string         `json:"to"`
	Started time.Time      `json:"started"`
	Ended   time.Time      `json:"ended"`
	Bytes   int64          `json:"bytes"`           // of the stream
	Wire    int64          `json:"wire,omitempty"`  // put on the wire for it: packed, with headers and repetitions
	Error   string         `json:"error,omitempty"` // "" when it was committed
}

// Destruction is one snapshot that was destroyed, or could not be.
type Destruction struct {
	Side     Side         `json:"side"`
	Job      string       `json:"job,omitempty"`
	Dataset  dataset.Path `json:"dataset"`
	Snapshot string       `json:"snapshot"`
	ID       dataset.ID   `json:"id"`
	Why      string       `json:"why"` // the verdict's reason
	At       time.Time    `json:"at"`
	Error    string       `json:"error,omitempty"`
}

// Event is anything else worth telling later: a start, a reload, a promotion,
// a refused mark.
type Event struct {
	At      time.Time    `json:"at"`
	Kind    string       `json:"kind"`
	Job     string       `json:"job,omitempty"`
	Dataset dataset.Path `json:"dataset,omitempty"`
	Peer    string       `json:"peer,omitempty"`
	Object  string       `json:"object,omitempty"` // what it is about, where that is none of these
	Text    string       `json:"text"`
}

// Alert is one time that somebody was to be told.
type Alert struct {
	FactKey             // what it concerns, as far as it is one replication's, dataset's or job's
	At        time.Time `json:"at"`
	Kind      string    `json:"kind"` // "rpo-missed", "rpo-met", ...
	Object    string    `json:"object"`
	Text      string    `json:"text"`
	Delivered bool      `json:"delivered"`       // the operator's command ended with 0
	Error     string    `json:"error,omitempty"` // why it was not
}

// FactKey names one replication. On a target, Job may be empty and Peer is who
// sends.
type FactKey struct {
	Side    Side         `json:"side"`
	Job     string       `json:"job,omitempty"`
	Dataset dataset.Path `json:"dataset"`
	Peer    string       `json:"peer"`
}

// Fact is the last that was known of one replication, for `health` while no
// daemon runs.
type Fact struct {
	FactKey
	At     time.Time     `json:"at"`               // when this was so
	Point  Point         `json:"point,omitzero"`   // newest complete on the target; zero while seeding
	RPO    time.Duration `json:"rpo_ns,omitempty"` // 0 is no objective
	State  string        `json:"state,omitempty"`  // status.State
	Paused bool          `json:"paused,omitempty"`
	Error  *Problem      `json:"error,omitempty"` // nil when the last try succeeded
}

// Batch is what one transaction writes. The zero value writes nothing.
type Batch struct {
	Runs         []Run
	Steps        []Step
	Destructions []Destruction
	Events       []Event
	Alerts       []Alert
	Facts        []Fact    // each replaces the one with its key
	Forget       []FactKey // facts of what left the configuration
	Starts       []Start   // each replaces the one with its key
}

func (b *Batch) isEmpty() bool {
	return len(b.Runs)+len(b.Steps)+len(b.Destructions)+len(b.Events)+len(b.Alerts)+len(b.Facts)+len(b.Forget)+len(b.Starts) == 0
}
