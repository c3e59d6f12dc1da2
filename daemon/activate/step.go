package activate

import (
	"errors"

	"antipode/fsdrivers/dataset"
)

// Restarted is what a daemon finds on the disk when it starts.
type Restarted struct {
	Mark     dataset.Mark
	Source   bool // this side is the source of the job: its dataset is live
	Points   bool // the replica has at least one complete recovery point
	Live     bool // an activated copy exists
	ReadOnly bool // what is live is read-only
}

// apply works the role out. A mark that names this node, without the writable
// copy it was written for, is a promotion that was cut off: it is finished.
func (ev Restarted) apply(s State) (State, []Effect, error) {
	next := State{Node: s.Node, Mark: ev.Mark, Role: TargetRole(ev.Mark, s.Node, ev.Points)}
	if ev.Source {
		next.Role = SourceRole(ev.Mark, s.Node)
	}
	switch live := ev.Source || ev.Live; {
	case next.Role == Primary:
		if !ev.Source && (!ev.Live || ev.ReadOnly) && !ev.Mark.Base.IsZero() {
			return next, []Effect{EndReceives, MakeLive}, nil
		}
	case live && ev.ReadOnly:
		next.Role = Fenced
	case live:
		next.Role = Outdated
		return next, []Effect{StopSending, FenceLive}, nil
	}
	return next, nil, nil
}

// SourceRole is the role of a job's source by the mark alone: primary until
// another node is. Whether one that is outdated is fenced too, only its file
// system knows.
func SourceRole(m dataset.Mark, node string) Role {
	if m.IsForeign(node) {
		return Outdated
	}
	return Primary
}

// TargetRole is the role of a replica by its mark and by whether it has a
// complete recovery point.
func TargetRole(m dataset.Mark, node string, points bool) Role {
	switch {
	case !m.IsZero() && m.Node == node:
		return Primary
	case points:
		return Standby
	default:
		return Seeding
	}
}

// Seen is a peer's mark.
type Seen struct {
	Peer string
	Mark dataset.Mark
	// MayPromote says that this peer may make itself primary: for a target,
	// what our job says of it. A standby passes true for the source that it
	// receives from, and a promoted node false for its former source: nothing
	// that a source says may make a promoted node step down.
	MayPromote bool
}

// apply freezes the whole dataset only for a peer that may promote. Another
// one can spoil no more than replication with itself, which its mark refuses.
func (ev Seen) apply(s State) (State, []Effect, error) {
	verdict, err := Accept(s.Mark, ev.Mark, ev.MayPromote)
	if split := new(SplitBrain); ev.MayPromote && errors.As(err, &split) {
		return s.becomeFrozen(ev)
	}
	if err != nil {
		return s, nil, err
	}
	if s.RivalPeer == ev.Peer {
		s = s.withoutRival()
	}
	if verdict != StepDown {
		return s, nil, nil
	}
	if ev.Mark.Node == s.Node {
		return s.becomeFrozen(ev)
	}
	return s.becomeLed(ev.Mark)
}

// becomeFrozen notes who contradicts us.
func (s State) becomeFrozen(ev Seen) (State, []Effect, error) {
	s.Rival, s.RivalPeer = ev.Mark, ev.Peer
	return s, []Effect{Freeze}, s.contradiction()
}

func (s State) withoutRival() State {
	s.Rival, s.RivalPeer = dataset.Mark{}, ""
	return s
}

// becomeLed takes over the mark of another primary. The mark is written before
// the live data are fenced: a restart in between comes up outdated and fences.
func (s State) becomeLed(m dataset.Mark) (State, []Effect, error) {
	s = s.withoutRival()
	s.Mark = m
	switch s.Role {
	case Primary, Outdated:
		s.Role = Outdated
		return s, []Effect{StopSending, WriteMark, FenceLive}, nil
	default:
		return s, []Effect{WriteMark}, nil
	}
}

// Asked is an operator's wish to make this node primary.
type Asked struct {
	Base  dataset.ID           // the newest complete recovery point; zero for none
	ID    dataset.ActivationID // drawn for this activation
	Force bool                 // although another node may be primary
	// InPlace makes the replica itself live, and no copy of Base.
	InPlace bool
}

func (ev Asked) apply(s State) (State, []Effect, error) {
	switch {
	case s.Role == Primary:
		return ev.again(s)
	case s.Role == Seeding || ev.Base.IsZero():
		return s, nil, ev.refuse(s, "it has no complete recovery point yet", "wait for the first copy, or restore from another replica")
	case s.IsFrozen() && !ev.Force:
		return s, nil, s.contradiction()
	case s.Role == Standby || ev.Force && (s.Role == Outdated || s.Role == Fenced):
		return s.becomePrimary(ev), []Effect{EndReceives, WriteMark, MakeLive}, nil
	case s.Role == Outdated || s.Role == Fenced:
		return s, nil, ev.refuse(s, s.Mark.Node+" was promoted after it", "promote there, or force it here, which sets aside what is live here")
	}
	return s, nil, ev.refuse(s, "its role is not known", "wait until the daemon has read the disk")
}

func (Asked) refuse(s State, why, next string) error {
	return &Refused{Role: s.Role, What: "promote", Why: why, Next: next}
}

// again is a promotion of what is primary: it finishes one that was cut off, or
// decides a split brain for this side, which goes on with its own live data.
func (ev Asked) again(s State) (State, []Effect, error) {
	switch {
	case s.IsFrozen() && ev.Force:
		if ev.Base, ev.InPlace = "", s.Mark.InPlace; ev.InPlace { // what is live stays
			ev.Base = s.Mark.Base
		}
		return s.becomePrimary(ev), []Effect{WriteMark}, nil
	case s.IsFrozen():
		return s, nil, s.contradiction()
	case s.Mark.IsZero() || s.Mark.Base.IsZero():
		return s, nil, nil // never activated from a point: its live data were always there
	}
	return s, []Effect{EndReceives, MakeLive}, nil
}

// becomePrimary stands on the rival's mark where there is one, so that the side
// that gives way finds its own activation in our history and can step down.
func (s State) becomePrimary(ev Asked) State {
	parent := s.Mark
	if s.IsFrozen() {
		parent = s.Rival
	}
	s = s.withoutRival()
	s.Role, s.Mark = Primary, Promote(parent, s.Node, ev.Base, ev.ID)
	s.Mark.InPlace = ev.InPlace
	return s
}

// Completed tells that a recovery point is complete on this node.
type Completed struct{}

func (Completed) apply(s State) (State, []Effect, error) {
	if s.Role == Seeding {
		s.Role = Standby
	}
	return s, nil, nil
}

// Stopped tells that the live data are read-only: the fence stands.
type Stopped struct{}

func (Stopped) apply(s State) (State, []Effect, error) {
	switch s.Role {
	case Outdated, Fenced:
		s.Role = Fenced
		return s, nil, nil
	}
	return s, nil, &Refused{
		Role: s.Role, What: "fence", Why: "no newer primary is known",
		Next: "promote the other side first",
	}
}

// Rejoined tells that what was live here is set aside and the replica can
// receive from the new primary.
type Rejoined struct {
	Points bool // it has a complete recovery point
}

func (ev Rejoined) apply(s State) (State, []Effect, error) {
	if s.Role != Fenced {
		return s, nil, &Refused{
			Role: s.Role, What: "rejoin", Why: "only what is fenced can become a standby again",
			Next: "promote the other side and let this one be fenced",
		}
	}
	s.Role = Seeding
	if ev.Points {
		s.Role = Standby
	}
	return s, nil, nil
}
