// Package activate decides which node is primary of a dataset, and makes a
// standby live. It owns the roles, the rules by which a mark is accepted
// (ARCHITECTURE decision 9) and the order in which a promotion is carried out.
// Step, Accept and Promote are pure. It must not know scheduling, TLS, or how
// the peer was reached.
//
// What holds: a node's generation never falls; a node that may not promote
// never makes another one step down; two nodes never both become primary of one
// activation, since its 128 random bits are drawn by the one that is promoted and
// only the node that a mark names is ever primary by it.
package activate

import (
	"fmt"

	"antipode/fsdrivers/dataset"
)

// Role is what a node is to a dataset.
//
//	             first point          promoted
//	seeding ----------------> standby ---------> primary
//	   ^                       ^  |                 |
//	   | rejoined,    rejoined,|  |                 | a valid higher
//	   | no point     points   |  |                 | generation is seen
//	   |                       |  |                 v
//	   +------------------- fenced <----------- outdated
//	                           |   live data        |
//	                           |   are read-only    |
//	                           |                    |
//	                           +----> primary <-----+
//	                              promoted by force
//
// A restart works the role out anew from the mark and what is on the disk.
// Split brain is not a role: both sides keep theirs and State.Rival is set.
type Role string

// The roles.
const (
	Primary  Role = "primary"  // its live data count; it sends and never receives
	Standby  Role = "standby"  // inert, with at least one complete recovery point
	Seeding  Role = "seeding"  // inert, before its first complete recovery point
	Outdated Role = "outdated" // was primary, knows of a newer one, may still be written to
	Fenced   Role = "fenced"   // was primary, and its live data are read-only now
)

// String returns the role as it is shown.
func (r Role) String() string {
	if r == "" {
		return "unknown"
	}
	return string(r)
}

// State is what a node believes of one dataset. The mark is durable, the rest
// follows from the disk (Restarted) and from what peers show.
type State struct {
	Role Role         `json:"role"`
	Node string       `json:"node"` // this node
	Mark dataset.Mark `json:"mark,omitzero"`
	// Rival is the mark with which RivalPeer contradicts ours; zero when nobody
	// does. While it is set replication is frozen both ways.
	Rival     dataset.Mark `json:"rival,omitzero"`
	RivalPeer string       `json:"rival_peer,omitempty"`
}

// IsFrozen reports whether replication stands still until an operator decides.
func (s State) IsFrozen() bool { return !s.Rival.IsZero() }

// MayReceive reports whether replication may write into this node's replica.
// Errors: *PrimaryHere, *SplitBrain, *Lost, *Refused.
func (s State) MayReceive() error {
	if s.IsFrozen() {
		return s.contradiction()
	}
	if err := MayReceive(s.Mark, s.Node); err != nil {
		return err
	}
	if s.Role == Standby || s.Role == Seeding {
		return nil
	}
	return &Refused{
		Role: s.Role, What: "receive into", Why: "it has live data of its own here",
		Next: "bring it back as a standby first; what diverged is set aside",
	}
}

// contradiction is the error that belongs to Rival.
func (s State) contradiction() error {
	if s.Rival.Generation > s.Mark.Generation {
		return &Lost{Ours: s.Mark, Theirs: s.Rival}
	}
	return &SplitBrain{Ours: s.Mark, Theirs: s.Rival}
}

// Event is something that a state reacts to: Restarted, Seen, Asked, Completed,
// Stopped or Rejoined.
type Event interface {
	apply(s State) (State, []Effect, error)
}

// Effect is something that has to be done because of a step. Effects are
// carried out in the order of the list; each may be done again.
type Effect string

// The effects.
const (
	EndReceives Effect = "end-receives" // end every receive into the replica, and wait for it
	StopSending Effect = "stop-sending" // end every send of this dataset
	WriteMark   Effect = "write-mark"   // replace the old state's mark on the disk by the new one's, durably
	MakeLive    Effect = "make-live"    // activate the recovery point that the mark names as its base
	FenceLive   Effect = "fence-live"   // make the live data read-only, then tell it with Stopped
	Freeze      Effect = "freeze"       // stop replication both ways and raise an alarm
)

// Step is the only way a state changes. With an error the returned state is
// still the one to go on with (a split brain is both an error and a change).
func Step(s State, ev Event) (State, []Effect, error) {
	next, effects, err := ev.apply(s)
	if next.Mark.Generation < s.Mark.Generation {
		return s, nil, fmt.Errorf("the mark would fall from generation %d to %d: the disk was put back to an earlier state; next: compare with the peer before anything is promoted",
			s.Mark.Generation, next.Mark.Generation)
	}
	return next, effects, err
}
