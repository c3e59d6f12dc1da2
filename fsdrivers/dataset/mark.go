package dataset

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strings"
)

// MaxMarkHistory bounds how many activations a mark remembers.
const MaxMarkHistory = 64

// ActivationID names one activation: 128 random bits as 32 hexadecimal digits.
type ActivationID string

// NewActivationID draws a new one.
func NewActivationID() ActivationID {
	var b [16]byte
	rand.Read(b[:]) // never fails (crypto/rand, Go 1.24)
	return ActivationID(hex.EncodeToString(b[:]))
}

// ParseActivationID checks one that comes from a disk or a peer.
func ParseActivationID(s string) (ActivationID, error) {
	if len(s) != 32 || strings.Trim(s, "0123456789abcdef") != "" {
		return "", fmt.Errorf("%q is not an activation id: want 32 hexadecimal digits", s)
	}
	return ActivationID(s), nil
}

// Activation is one time a node was made primary of a dataset.
type Activation struct {
	Generation uint64       `json:"generation"` // rises by one with each activation
	ID         ActivationID `json:"id"`         // two of one generation with different IDs are split brain
	Node       string       `json:"node"`       // who became primary
	Base       ID           `json:"base"`       // the recovery point it started from; zero for the first primary
	// InPlace says that the replica itself went live, and not a copy of Base: nothing can
	// be received until it is made a standby again.
	InPlace bool `json:"in_place,omitempty"`
}

// Mark is the fence of a dataset (ARCHITECTURE decision 9): the newest
// activation that a host knows of, and those before it, newest first. The zero
// Mark is that of a dataset that was never promoted: generation 0, its first
// primary being whoever made it.
type Mark struct {
	Activation
	// History holds at most MaxMarkHistory earlier activations, newest first.
	History []Activation `json:"history,omitempty"`
}

// IsZero reports whether nobody was ever promoted.
func (m Mark) IsZero() bool { return m.Generation == 0 }

// IsForeign reports whether another node than this one was made primary.
func (m Mark) IsForeign(node string) bool { return !m.IsZero() && m.Node != node }

// nodeCharacters are what a node's name is made of. It reaches logs, terminals and
// the operator's alert command.
const nodeCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

// Validate checks the form of a mark that comes from a disk or a peer:
// identifiers, a falling history, its bound. It does not judge who may set it.
func (m Mark) Validate() error {
	if len(m.History) > MaxMarkHistory {
		return fmt.Errorf("mark remembers %d activations, more than %d", len(m.History), MaxMarkHistory)
	}
	if m.IsZero() {
		if m.ID != "" || len(m.History) != 0 {
			return fmt.Errorf("mark of generation 0 carries an activation")
		}
		return nil
	}
	last := m.Generation + 1
	for _, a := range append([]Activation{m.Activation}, m.History...) {
		if a.Generation == 0 || a.Generation >= last {
			return fmt.Errorf("mark's generations do not fall: %d after %d", a.Generation, last)
		}
		last = a.Generation
		if _, err := ParseActivationID(string(a.ID)); err != nil {
			return fmt.Errorf("mark of generation %d: %w", a.Generation, err)
		}
		if a.Node == "" || len(a.Node) > 64 || strings.Trim(a.Node, nodeCharacters) != "" {
			return fmt.Errorf("mark of generation %d names no node", a.Generation)
		}
		if !a.Base.IsZero() {
			if _, err := ParseID(string(a.Base)); err != nil {
				return fmt.Errorf("mark of generation %d: %w", a.Generation, err)
			}
		}
	}
	return nil
}

// MaxMarkRise bounds how many activations a mark may be ahead of the one it is
// compared with. A peer that is further ahead was out of touch for longer than
// anybody should decide without an operator.
const MaxMarkRise = 16

// Same reports whether both marks name the same activation.
func (m Mark) Same(o Mark) bool { return m.Generation == o.Generation && m.ID == o.ID }

// IsWhole reports whether m remembers the activations before its own one by one, back to
// generation 1 or as many as a mark holds.
func (m Mark) IsWhole() bool {
	if m.IsZero() {
		return true
	}
	for i, a := range m.History {
		if a.Generation != m.Generation-1-uint64(i) {
			return false
		}
	}
	return uint64(len(m.History)) == min(m.Generation-1, MaxMarkHistory)
}

// Descends reports whether m came about from old by activations that m
// remembers one by one: old's activation stands in m's history exactly as many
// places back as the generations differ. From the zero mark descends what
// remembers every activation back to generation 1. The same activation does not
// descend from itself.
func (m Mark) Descends(old Mark) bool {
	if m.Generation <= old.Generation {
		return false
	}
	between := m.Generation - old.Generation - 1 // activations that m knows and old does not, without m's own
	if between > uint64(len(m.History)) {
		return false
	}
	for i := range between {
		if m.History[i].Generation != m.Generation-1-i {
			return false
		}
	}
	if old.IsZero() {
		return uint64(len(m.History)) == between
	}
	return between < uint64(len(m.History)) &&
		m.History[between].Generation == old.Generation && m.History[between].ID == old.ID
}
