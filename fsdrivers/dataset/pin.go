package dataset

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// MaxWhyBytes bounds the reason of a pin: with the rest it has to fit into the tag
// of a ZFS hold, of which there are 255 bytes.
const MaxWhyBytes = 160

// Pin is a user's wish that a snapshot stays, whatever the policy says.
type Pin struct {
	// Until is when it ends, by the clock of the host that holds the snapshot, even by
	// one that is ahead; zero: when it is taken off.
	Until time.Time `json:"until,omitzero"`
	Why   string    `json:"why,omitempty"`
	At    time.Time `json:"at"` // when it was set
}

// Validate refuses what cannot be stored or shown on every file system.
func (p Pin) Validate() error {
	switch {
	case len(p.Why) > MaxWhyBytes:
		return fmt.Errorf("the reason of the pin has %d bytes, more than %d", len(p.Why), MaxWhyBytes)
	case !utf8.ValidString(p.Why) || strings.ContainsFunc(p.Why, unicode.IsControl):
		return errors.New("the reason of the pin holds a control character or is not UTF-8; write one line of text")
	}
	return nil
}

// Holds reports whether the pin keeps its snapshot at now; a nil Pin does not.
func (p *Pin) Holds(now time.Time) bool {
	return p != nil && (p.Until.IsZero() || p.Until.After(now))
}

// Same reports whether p and q are one wish: a pin that was set anew meanwhile is
// another.
func (p *Pin) Same(q *Pin) bool {
	if p == nil || q == nil {
		return p == q
	}
	return p.Until.Equal(q.Until) && p.At.Equal(q.At) && p.Why == q.Why
}
