package prune

import (
	"slices"

	"antipode/fsdrivers/dataset"
)

// besideBookmarks decides where the list has bookmarks. Their data are gone, so no
// rule counts them: they are bases and cost nothing. One stays until every peer is
// known to have a newer base.
func (d *Decider) besideBookmarks(in Input) []Verdict {
	all := byOrder(in.Points)
	peers := in.Peers
	in.Peers = nil
	var out []Verdict
	for _, p := range peers {
		if at := slices.IndexFunc(all, func(s dataset.Snapshot) bool { return s.ID == p.Base }); at < 0 || !all[at].Bookmark {
			in.Peers = append(in.Peers, p)
		}
	}
	in.Points = slices.DeleteFunc(slices.Clone(all), func(s dataset.Snapshot) bool { return s.Bookmark })
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
