package prune

import (
	"slices"
	"strings"

	"antipode/fsdrivers/dataset"
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

// besideBookmarks decides where the list has bookmarks. Their data are gone, so no
// rule counts them: they are bases and cost nothing. One stays until every peer is
// known to have a newer base. Nothing tells whose base one is: a peer without another
// has, as far as its backlog goes, what the oldest one stands for.
func (d *Decider) besideBookmarks(in Input) []Verdict {
	all := byOrder(in.Points)
	peers := in.Peers
	in.Peers, in.after = nil, map[string]uint64{}
	isBookmark := func(s dataset.Snapshot) bool { return s.Bookmark }
	oldest := slices.IndexFunc(all, isBookmark)
	for _, p := range peers {
		at := slices.IndexFunc(all, func(s dataset.Snapshot) bool { return s.ID == p.Base })
		switch {
		case p.Base.IsZero():
			in.after[p.Name] = all[oldest].Order
		case at >= 0 && all[at].Bookmark:
			p.Base, in.after[p.Name] = "", all[at].Order
		}
		in.Peers = append(in.Peers, p)
	}
	in.Points = slices.DeleteFunc(slices.Clone(all), isBookmark)
	var out []Verdict
	judged := d.Decide(in)
	for i, s := range all {
		if !s.Bookmark {
			out = append(out, judged[0])
			judged = judged[1:]
			continue
		}
		v := Verdict{Snapshot: s, Reasons: []Reason{{Kind: Base, Ref: "a target, as a bookmark"}}}
		if len(peers) > 0 && len(d.points) > 0 && d.frozen() == "" && !slices.ContainsFunc(peers, func(p Peer) bool {
			return !slices.ContainsFunc(all[i+1:], func(o dataset.Snapshot) bool { return o.ID == p.Base })
		}) {
			v.Destroy, v.Reasons = true, expired
		}
		out = append(out, v)
	}
	return out
}
