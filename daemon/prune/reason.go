package prune

import (
	"encoding/json"
	"fmt"
	"time"

	"antipode/daemon/policy"
)

// Reason is one reason, for programs (Kind and what belongs to it) and for people
// (Text). It is worded only when somebody asks: ten million are decided on for
// each one that is read.
type Reason struct {
	Kind Kind
	// N is the point's place, 1 the newest, of the Of that Kind (or Rule) counts.
	N, Of int
	// Rule is the kind that another reason works by: how a backlog was thinned,
	// or what keeps the other snapshot of the group.
	Rule Kind
	// Ref is what the reason names: a tag, a peer, a dataset, or for Frozen and
	// Silent the whole sentence.
	Ref string
	// At is when the reason ends, or for Expired when the pin ended. A Frozen with it
	// is of the clock.
	At time.Time
	// Length of Within.
	Length time.Duration
}

// Kind is what a reason follows from.
type Kind string

// Reasons to keep a snapshot, and Expired and Bookmark, those to destroy one.
const (
	Newest    Kind = "newest"    // the recovery point
	Held      Kind = "held"      // has a hold of ours
	Pinned    Kind = "pinned"    // a user wants it
	Base      Kind = "base"      // newest common base with a peer
	InFlight  Kind = "in-flight" // an unfinished step needs it
	Protected Kind = "protected" // received within Protect
	Foreign   Kind = "foreign"   // others made it, and it is not ours to destroy
	Unsent    Kind = "unsent"    // a peer has not got it yet
	Last      Kind = "last"
	Hourly    Kind = "hourly"
	Daily     Kind = "daily"
	Weekly    Kind = "weekly"
	Monthly   Kind = "monthly"
	Yearly    Kind = "yearly"
	Within    Kind = "within"
	Group     Kind = "group"    // another snapshot of the same instant stays
	NoRule    Kind = "no-rule"  // the policy has no keep rule
	Frozen    Kind = "frozen"   // nothing is destroyed, and why: somebody has to look
	Silent    Kind = "silent"   // nothing is destroyed before the next point comes
	Asked     Kind = "asked"    // somebody asked for it; see the cures of conflicts
	Expired   Kind = "expired"  // nothing keeps it
	Bookmark  Kind = "bookmark" // nothing but a peer needs it, for which a bookmark is enough
)

// IsNeed reports whether a snapshot with a reason of this kind must outlive any
// policy, and any plan that was made before: every kind but the rules.
func (k Kind) IsNeed() bool {
	switch k {
	case Newest, Held, Pinned, Base, InFlight, Protected, Foreign, Frozen, Silent:
		return true
	}
	return false
}

// Text words the reason.
func (r Reason) Text() string {
	switch r.Kind {
	case Newest:
		return "newest"
	case Held:
		return "held by " + r.Ref
	case Pinned:
		return r.pinned()
	case Base:
		return "base of " + r.Ref
	case Foreign:
		return "others made it, and they alone destroy it"
	case InFlight:
		return "needed by an unfinished step"
	case Protected:
		return "protected until " + utc(r.At)
	case Unsent:
		return fmt.Sprintf("not on %s yet, %s %d of %d of its backlog", r.Ref, r.Rule, r.N, r.Of)
	case Within:
		return fmt.Sprintf("within %s of the newest", policy.FormatDuration(r.Length))
	case Group:
		return fmt.Sprintf("its group stays: %s of %s", r.Rule, r.Ref)
	case NoRule:
		return "no keep rule is set"
	case Frozen, Silent:
		return r.Ref
	case Bookmark:
		return "nothing keeps its data; a bookmark stays as the base of " + r.Ref
	case Asked:
		return "newer than where somebody asked to go on from"
	case Expired:
		if !r.At.IsZero() {
			return fmt.Sprintf("nothing keeps it, its pin ended %s", utc(r.At))
		}
		return "nothing keeps it"
	}
	return fmt.Sprintf("%s %d of %d", r.Kind, r.N, r.Of)
}

func (r Reason) pinned() string {
	text := "pinned"
	if !r.At.IsZero() {
		text += " until " + utc(r.At)
	}
	if r.Ref != "" {
		text += ": " + r.Ref
	}
	return text
}

// reasonJSON is how a Reason is written: with its text, which is skipped when it
// is read.
type reasonJSON struct {
	Kind   Kind          `json:"kind"`
	Text   string        `json:"text"`
	N      int           `json:"n,omitempty"`
	Of     int           `json:"of,omitempty"`
	Rule   Kind          `json:"rule,omitempty"`
	Ref    string        `json:"ref,omitempty"`
	At     time.Time     `json:"at,omitzero"`
	Length time.Duration `json:"length_ns,omitempty"`
}

// MarshalJSON writes the reason with its text.
func (r Reason) MarshalJSON() ([]byte, error) {
	return json.Marshal(reasonJSON{r.Kind, r.Text(), r.N, r.Of, r.Rule, r.Ref, r.At, r.Length})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (r *Reason) UnmarshalJSON(text []byte) error {
	var j reasonJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return err
	}
	*r = Reason{Kind: j.Kind, N: j.N, Of: j.Of, Rule: j.Rule, Ref: j.Ref, At: j.At, Length: j.Length}
	return nil
}
