package prune

import (
	"slices"

	"antipode/fsdrivers/dataset"
)

// isBeside tells what no rule counts: bookmarks, whose data are gone, and what others
// made.
func isBeside(s dataset.Snapshot) bool { return s.Bookmark || s.Foreign }

// beside decides where the list has such. What comes after a base among them is not
// on its peer yet, as after any other base. Nothing tells whose base a bookmark is: a
// peer without another has, as far as its backlog goes, what the oldest one stands for.
func (d *Decider) beside(in Input) []Verdict {
	all := byOrder(in.Points)
	peers := in.Peers
	in.Peers, in.after = nil, map[string]uint64{}
	oldest := slices.IndexFunc(all, func(s dataset.Snapshot) bool { return s.Bookmark })
	for _, p := range peers {
		at := slices.IndexFunc(all, func(s dataset.Snapshot) bool { return s.ID == p.Base })
		switch {
		case p.Base.IsZero() && oldest >= 0:
			in.after[p.Name] = all[oldest].Order
		case at >= 0 && isBeside(all[at]):
			p.Base, in.after[p.Name] = "", all[at].Order
		}
		in.Peers = append(in.Peers, p)
	}
	in.Points = slices.DeleteFunc(slices.Clone(all), isBeside)
	judged := d.Decide(in)
	var out []Verdict
	for i, s := range all {
		switch {
		case s.Bookmark:
			out = append(out, d.bookmark(s, all[i+1:], peers))
		case s.Foreign:
			out = append(out, d.foreign(s, peers))
		default:
			out = append(out, judged[0])
			judged = judged[1:]
		}
	}
	return out
}

// bookmark is the verdict on one. They are bases and cost nothing: one stays until
// every peer is known to have a newer base.
func (d *Decider) bookmark(s dataset.Snapshot, newer []dataset.Snapshot, peers []Peer) Verdict {
	lacks := func(p Peer) bool {
		return !slices.ContainsFunc(newer, func(o dataset.Snapshot) bool { return o.ID == p.Base })
	}
	if len(peers) > 0 && len(d.points) > 0 && d.frozen().Kind == "" && !slices.ContainsFunc(peers, lacks) {
		return Verdict{Snapshot: s, Destroy: true, Reasons: expired}
	}
	return Verdict{Snapshot: s, Reasons: []Reason{{Kind: Base, Ref: "a target, as a bookmark"}}}
}

// foreign is the verdict on what others made: it stays, and what else keeps it is
// told, since they may want to know.
func (d *Decider) foreign(s dataset.Snapshot, peers []Peer) Verdict {
	v := Verdict{Snapshot: s, Reasons: []Reason{{Kind: Foreign}}}
	for _, tag := range s.Holds {
		v.Reasons = append(v.Reasons, Reason{Kind: Held, Ref: string(tag)})
	}
	if s.Pin.Holds(d.Now) {
		v.Reasons = append(v.Reasons, Reason{Kind: Pinned, Ref: s.Pin.Why, At: s.Pin.Until})
	}
	for _, p := range peers {
		if p.Base == s.ID {
			v.Reasons = append(v.Reasons, Reason{Kind: Base, Ref: p.Name})
		}
	}
	return v
}
