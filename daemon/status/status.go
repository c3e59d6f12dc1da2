// Package status is the read model: what the command line, the control socket,
// the metrics and one day a page show of a daemon, as plain values with JSON
// names, and the verdict that `health` draws from them. It does not know where
// the values come from; Text draws them for a terminal.
package status

import (
	"strings"
	"time"

	"antipode/fsdrivers/dataset"
)

// Status is everything a daemon says of itself at one moment.
type Status struct {
	Node     string    `json:"node"`
	Version  string    `json:"version"`
	Now      time.Time `json:"now"`                 // when this was so, by the node's clock
	Started  time.Time `json:"started,omitzero"`    // zero: told from the ledger, no daemon runs
	Listen   string    `json:"listen,omitempty"`    // "" when it takes no calls
	Limit    Limit     `json:"rate_limit,omitzero"` // of all jobs together
	Peers    []Peer    `json:"peers"`
	Jobs     []Job     `json:"jobs"`
	Replicas []Replica `json:"replicas"`        // what this node holds for others
	Pulls    []Pull    `json:"pulls,omitempty"` // what this node asks its sources for
	Alerts   []Alert   `json:"alerts"`          // those that still stand, newest first
}

// Pull is a target that says when a source sends, on either side.
type Pull struct {
	Peer    string    `json:"peer"`             // the other side
	Driver  string    `json:"driver,omitempty"` // on the target
	When    string    `json:"when,omitempty"`   // as "every 1h"; on the source "" until it was asked
	Last    time.Time `json:"last,omitzero"`    // that was asked for and heard
	Next    time.Time `json:"next,omitzero"`    // on the target
	Problem string    `json:"problem,omitempty"`
}

// Peer is how another node is reached.
type Peer struct {
	Name    string `json:"name"`
	Address string `json:"address,omitempty"` // "" when it calls us, or keeps connections open for us to call on
	// Inbound: no job of ours calls it. Whether it is up is then known only by
	// its calls, and Reachable and ClockSkew mean nothing.
	Inbound bool `json:"inbound,omitempty"`
	// Lends is how many connections this node keeps open for the peer to call on;
	// Lent is how many of the peer's lie here for us to call on.
	Lends       int           `json:"lends,omitempty"`
	Lent        int           `json:"lent,omitempty"`
	Reachable   bool          `json:"reachable"`
	LastContact time.Time     `json:"last_contact,omitzero"` // zero: never
	ClockSkew   time.Duration `json:"clock_skew_ns"`         // its clock less ours
	// CongestionControl of the bulk connections: "bbr", "cubic"; "" before the first.
	CongestionControl string `json:"congestion_control,omitempty"`
	Problem           string `json:"problem,omitempty"` // wrong key, other protocol version, refused, ...
}

// Job is one [[job]] of this node.
type Job struct {
	ID      string    `json:"id"`
	Driver  string    `json:"driver"`
	Paused  bool      `json:"paused"`
	Running bool      `json:"running"`
	LastRun time.Time `json:"last_run,omitzero"` // when the last one began
	NextRun time.Time `json:"next_run,omitzero"` // zero: only when triggered
	Limit   Limit     `json:"rate_limit,omitzero"`
	// Held is how long the hooks of the last snapshot kept its datasets quiet.
	Held time.Duration `json:"held_ns,omitempty"`
	// NextReplication is when it replicates by a schedule of its own; zero: after
	// each snapshot.
	NextReplication time.Time `json:"next_replication,omitzero"`
	Forward         string    `json:"forward,omitempty"`   // the peer whose points it sends on
	PulledBy        []Pull    `json:"pulled_by,omitempty"` // the targets that say when it replicates
	Datasets        []Dataset `json:"datasets"`
	Problem         *Problem  `json:"problem,omitempty"` // of the job as a whole, as a pattern that matches nothing
}

// Dataset is one dataset that a job sends.
type Dataset struct {
	Path       dataset.Path `json:"path"`
	Role       string       `json:"role"` // as activate names it: primary, standby, seeding, outdated, fenced
	Generation uint64       `json:"generation"`
	Snapshot   Point        `json:"snapshot,omitzero"` // newest one here
	Problem    *Problem     `json:"problem,omitempty"` // of this side, as retention that a clock stops
	Peers      []Pair       `json:"peers"`             // one for each target; none when the job only snapshots
}

// Pair is one dataset on its way to one peer.
type Pair struct {
	Peer      string        `json:"peer"`
	State     State         `json:"state"`
	RPO       time.Duration `json:"rpo_ns,omitzero"` // 0: no objective
	Lag       time.Duration `json:"lag_ns,omitzero"` // age of LastPoint's Fresh; means nothing while LastPoint is zero
	LastPoint Point         `json:"last_point,omitzero"`
	Seeding   *Seeding      `json:"seeding,omitempty"` // while there is no point yet
	Moving    *Moving       `json:"moving,omitempty"`  // nil: nothing on its way
	LastError *Problem      `json:"last_error,omitempty"`
	// Restarts counts the unfinished copies of this run of the daemon that could not
	// be gone on with, since neither their newest checkpoint nor an earlier one fitted.
	Restarts int `json:"restarts,omitempty"`
}

// Point is a recovery point: complete, durable and identified on the target.
type Point struct {
	Name string    `json:"name"`
	Time time.Time `json:"time"` // when its snapshot was made, by the source's clock
	// Confirmed is when the live dataset was last known to hold exactly this: nothing
	// had been written since. By this node's clock; zero where something was.
	Confirmed time.Time `json:"confirmed,omitzero"`
}

// Fresh is the moment that the point is as good as: what the source held then, the
// point holds.
func (p Point) Fresh() time.Time {
	if p.Confirmed.After(p.Time) {
		return p.Confirmed
	}
	return p.Time
}

// IsZero reports whether there is none.
func (p Point) IsZero() bool { return p.Time.IsZero() }

// Seeding is how far the first copy is.
type Seeding struct {
	Done     int64         `json:"done"`               // bytes
	Estimate int64         `json:"estimate,omitempty"` // bytes in all; 0 is unknown
	ETA      time.Duration `json:"eta_ns,omitempty"`   // 0 is unknown
}

// Moving is a step on its way.
type Moving struct {
	Step     dataset.StepID `json:"step"`
	Kind     string         `json:"kind"`               // "full" or "incremental"
	Snapshot string         `json:"snapshot"`           // what it brings
	Bytes    int64          `json:"bytes"`              // acknowledged, from the start of the stream
	Estimate int64          `json:"estimate,omitempty"` // bytes in all; 0 is unknown
	Rate     int64          `json:"rate"`               // bytes per second, now
	ETA      time.Duration  `json:"eta_ns,omitempty"`   // 0 is unknown
	Lanes    int            `json:"lanes,omitempty"`
	// Wire is what this try has put on the wire: packed, with headers and what was
	// sent again. Packing is how hard chunks are packed now: off, fast, normal,
	// thorough; "" is not at all.
	Wire    int64   `json:"wire,omitempty"`
	Packing string  `json:"packing,omitempty"`
	Waiting Waiting `json:"waiting,omitempty"`
	Notice  string  `json:"notice,omitempty"` // why the target takes nothing, as which file system is full
	// Reread is what has to be read again before the step goes on; nil when nothing has.
	Reread *Reread `json:"reread,omitempty"`
}

// Reread is how far the source is with reading again what the target has already,
// which costs neither link nor rate.
type Reread struct {
	Done int64         `json:"done"`             // bytes
	Of   int64         `json:"of"`               // bytes
	Rate int64         `json:"rate"`             // bytes per second
	ETA  time.Duration `json:"eta_ns,omitempty"` // 0 is unknown
}

// Waiting says what a step waits for.
type Waiting string

// What a step may wait for; "" when it moves.
const (
	WaitingLink  Waiting = "link"
	WaitingSpace Waiting = "space"
)

// Replica is what this node holds of one dataset for a peer.
type Replica struct {
	From       string        `json:"from"`
	Path       dataset.Path  `json:"path"` // as the source calls it
	Role       string        `json:"role"`
	InPlace    bool          `json:"in_place,omitempty"` // the replica itself is live
	Generation uint64        `json:"generation"`
	State      State         `json:"state"`
	RPO        time.Duration `json:"rpo_ns,omitzero"`
	Lag        time.Duration `json:"lag_ns,omitzero"` // as Pair.Lag
	LastPoint  Point         `json:"last_point,omitzero"`
	Points     int           `json:"points"` // recovery points held
	Receiving  *Moving       `json:"receiving,omitempty"`
	LastError  *Problem      `json:"last_error,omitempty"`
	Problem    *Problem      `json:"problem,omitempty"` // of its retention, as a clock that was ahead
}

// Problem is an error as an operator reads it. It stands until a later try
// succeeds.
type Problem struct {
	Text string    `json:"text"`
	Next string    `json:"next,omitempty"` // what to do about it
	At   time.Time `json:"at"`
}

// WithoutNext cuts the next step off a sentence that ends with it, for who shows it
// beside the sentence: once is enough.
func WithoutNext(text, next string) string {
	if next == "" {
		return text
	}
	return strings.TrimSuffix(strings.TrimSuffix(text, "; next: "+next), " ("+next+")")
}

// Alert is something that somebody was told.
type Alert struct {
	At     time.Time `json:"at"`
	Kind   string    `json:"kind"` // "rpo-missed", ...
	Object string    `json:"object"`
	Text   string    `json:"text"`
	Error  string    `json:"error,omitempty"` // why telling failed
}

// State of a pair or a replica. Judge draws the first four from the times; the
// others are facts that whoever makes the status knows.
//
//	new -> seeding -> ok <-> missed
//	any -> stuck, conflict, split-brain, fenced
type State string

// The states, from good to bad.
const (
	StateOK         State = "ok"
	StateSeeding    State = "seeding" // no point yet
	StateFenced     State = "fenced"  // another node is primary; nothing is sent
	StateMissed     State = "missed"  // the newest point is older than the rpo allows
	StateStuck      State = "stuck"   // a child hangs in the kernel
	StateConflict   State = "conflict"
	StateSplitBrain State = "split-brain" // two activations of one generation
)

// Judge returns the lag of the newest point at now, and the state that follows
// from it and from known, the worst that its maker knows of otherwise: "" when
// there is nothing. Lag is 0, and means nothing, while there is no point. A
// point from the future, by a clock that is ahead, has no lag.
func Judge(now time.Time, newest Point, rpo time.Duration, known State) (time.Duration, State) {
	if newest.IsZero() {
		return 0, firstOf(known, StateSeeding)
	}
	lag := max(0, now.Sub(newest.Fresh()))
	if rpo > 0 && lag > rpo {
		return lag, firstOf(known, StateMissed)
	}
	return lag, firstOf(known, StateOK)
}

// firstOf lets a fact that no clock can see stand before what the clock says.
func firstOf(known, judged State) State {
	switch known {
	case StateStuck, StateConflict, StateSplitBrain, StateFenced:
		return known
	}
	return judged
}
