package prune

import "antipode/fsdrivers/dataset"

// Groups keeps the snapshots of one instant of a job together: they have one name
// in all of its datasets, and as long as one of them stays, all do. It is used in
// two passes over the datasets, with one of them in memory at a time: first each
// one's verdicts are noted, then applied. What it holds is bounded by the number
// of names.
type Groups struct {
	kept   map[string]witness
	missed string // why not all datasets were noted; "": they were
}

// witness is one snapshot that stays, and why.
type witness struct {
	dataset dataset.Path
	kind    Kind
}

// NewGroups makes one that has noted nothing.
func NewGroups() *Groups { return &Groups{kept: map[string]witness{}} }

// Note remembers what stays of one dataset. A dataset whose retention is frozen,
// or has no rules, keeps nothing of the others.
func (g *Groups) Note(d dataset.Path, verdicts []Verdict) {
	for i := range verdicts {
		v := &verdicts[i]
		if v.Destroy {
			continue
		}
		why := v.Reasons[0].Kind
		if why == Frozen || why == Silent || why == NoRule || why == Group {
			continue
		}
		if was, there := g.kept[v.Snapshot.Name]; !there || d < was.dataset { // whatever the order of the datasets
			g.kept[v.Snapshot.Name] = witness{d, why}
		}
	}
}

// Miss says that what stays of a dataset cannot be noted, and why. It may be any
// snapshot, so that Apply keeps all from then on.
func (g *Groups) Miss(why string) {
	if g.missed == "" {
		g.missed = why
	}
}

// Missed is why Apply keeps everything; "" where it does not.
func (g *Groups) Missed() string { return g.missed }

// Apply keeps of one dataset what stays elsewhere, or may stay there; the verdicts
// are changed in place.
func (g *Groups) Apply(verdicts []Verdict) {
	for i := range verdicts {
		v := &verdicts[i]
		if !v.Destroy {
			continue
		}
		w, stays := g.kept[v.Snapshot.Name]
		switch {
		case stays:
			v.Destroy, v.Bookmark, v.Reasons = false, false, []Reason{{Kind: Group, Rule: w.kind, Ref: string(w.dataset)}}
		case g.missed != "":
			v.Destroy, v.Bookmark, v.Reasons = false, false, []Reason{{Kind: Frozen, Ref: "its group may stay: " + g.missed}}
		}
	}
}
