package prune

import (
	"slices"
	"strings"
)

// isOnlyBase reports whether all reasons are that a peer has the point: one that has
// it needs its identity, and not its data. A hold of anything else, a step's for
// example, is another reason.
func (d *Decider) isOnlyBase(reasons []Reason) bool {
	return !slices.ContainsFunc(reasons, func(r Reason) bool {
		return r.Kind != Base && (r.Kind != Held || d.holder(r.Ref) == "")
	})
}

// holder is the peer whose base a tag holds; "" for other tags.
func (d *Decider) holder(tag string) string {
	for _, p := range d.Peers {
		if p.Hold != "" && string(p.Hold) == tag {
			return p.Name
		}
	}
	return ""
}

// bookmarked is the reason of a base that becomes a bookmark.
func (d *Decider) bookmarked(reasons []Reason) []Reason {
	var peers []string
	for _, r := range reasons {
		name := r.Ref
		if r.Kind == Held {
			name = d.holder(r.Ref)
		}
		if !slices.Contains(peers, name) {
			peers = append(peers, name)
		}
	}
	return []Reason{{Kind: Bookmark, Ref: strings.Join(peers, ", ")}}
}
