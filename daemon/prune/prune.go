// Package prune decides which snapshots of one dataset on one side go, and why
// each of the others stays. Decide is pure: the clock is an argument and the
// same input always gives the same verdicts. Execute carries verdicts out.
//
// What is always kept, whatever the policy says: the newest point, what has a
// hold, the newest common base with every peer, what an unfinished step or a
// checkpoint needs, and on a target what was received within Protect. A source
// does not keep a snapshot merely because a peer has not got it yet: a peer
// that stays away must not fill the disk, and the base is enough to go on from.
//
// Hourly to yearly rules keep the oldest point of each of the newest N
// non-empty periods. So a point that was kept as the first of its period stays
// the first, time passing by itself changes no choice, and a later point never
// displaces an earlier one of its period. On a target, where times are clamped
// (ClampRetain), this bounds what a stolen source can do: whatever names and
// times it sends, a point received before the theft goes no earlier than it
// would have gone with an honest source that sends a point in every period since
// the newest one (and ClampAhead earlier, at most). Two things are outside of
// this: `last` counts points, so points with changes in them flush it, and a
// sparse honest source (daily points under `hourly`) is worse off than with its
// own rhythm. Protect covers both, since its clock is the target's.
//
// It must not know how snapshots are sent, drivers, or what time it is.
package prune

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"antipode/daemon/policy"
	"antipode/fsdrivers/dataset"
)

// Side is the side of a job that the points are on.
type Side string

// The sides of a job.
const (
	Source Side = "source"
	Target Side = "target"
)

// MaxSilence is how old, by this clock, the newest point may be before nothing
// is destroyed any more: either the clock jumped ahead, or nothing came for so
// long that what there is may be all there will ever be. A longer gap between
// two receipts does not count towards Protect, for the same reason.
const MaxSilence = 45 * 24 * time.Hour

// Input is all that the decision depends on.
type Input struct {
	Side Side
	// Points are all complete snapshots of the dataset on this side, in any
	// order. An empty list gives no verdicts: it may be a listing that failed.
	Points []dataset.Snapshot
	// Keep is the policy. Without any rule everything is kept.
	Keep policy.Keep
	// Protect keeps, on a target, what was received later than this ago.
	Protect time.Duration
	// Location is where days begin; nil is UTC.
	Location *time.Location
	// Now is this host's clock.
	Now time.Time
	// InFlight are the from and to of every step that is neither finished nor
	// abandoned, and what a checkpoint names. They need not be among Points.
	InFlight []dataset.ID
	// Peers are the far sides with what is known of their replicas.
	Peers []Peer
	// Unchanged are points without changes since the one before. `last` does
	// not count them, so that empty points cannot flush it. Nil where nothing
	// can tell: then all count.
	Unchanged map[dataset.ID]bool
}

// Peer is a far side of the dataset.
type Peer struct {
	Name string
	// Base is the newest point that both sides have; zero while there is none
	// (a first copy: InFlight and holds protect it) or while it is not known
	// (its durable hold protects it). One that is not among Points makes the
	// input contradict itself, and nothing is destroyed.
	Base dataset.ID
}

// Verdict is what becomes of one snapshot.
type Verdict struct {
	Snapshot dataset.Snapshot `json:"snapshot"`
	Destroy  bool             `json:"destroy"`
	// Reasons has at least one entry: all that keep it, or why it goes.
	Reasons []Reason `json:"reasons"`
}

// Reason is one reason, for programs (Kind) and for people (Text).
type Reason struct {
	Kind Kind   `json:"kind"`
	Text string `json:"text"`
}

// Kind is what a reason follows from.
type Kind string

// Reasons to keep a snapshot, and Expired, the only reason to destroy one.
const (
	Newest    Kind = "newest"    // the recovery point
	Held      Kind = "held"      // has a hold of ours
	Base      Kind = "base"      // newest common base with a peer
	InFlight  Kind = "in-flight" // an unfinished step needs it
	Protected Kind = "protected" // received within Protect
	Last      Kind = "last"
	Hourly    Kind = "hourly"
	Daily     Kind = "daily"
	Weekly    Kind = "weekly"
	Monthly   Kind = "monthly"
	Yearly    Kind = "yearly"
	Within    Kind = "within"
	NoRule    Kind = "no-rule" // the policy has no keep rule
	Frozen    Kind = "frozen"  // nothing is destroyed now, and why
	Expired   Kind = "expired" // nothing keeps it
)

// Decide gives a verdict on every point, oldest first. With Frozen it keeps
// them all, because the clock or the input cannot be believed.
func Decide(in Input) []Verdict {
	d := decision{Input: in, points: byOrder(in.Points), reasons: map[dataset.ID][]Reason{}}
	if len(d.points) == 0 {
		return nil
	}
	if why := d.frozen(); why != "" {
		d.keepAll(Frozen, why)
		return d.verdicts()
	}
	d.keepNeeded()
	d.keepProtected()
	d.keepRules()
	return d.verdicts()
}

// decision collects the reasons to keep; points are oldest first.
type decision struct {
	Input
	points  []dataset.Snapshot
	reasons map[dataset.ID][]Reason
}

func byOrder(points []dataset.Snapshot) []dataset.Snapshot {
	return slices.SortedFunc(slices.Values(points), func(a, b dataset.Snapshot) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), a.Retain.Compare(b.Retain), cmp.Compare(a.ID, b.ID))
	})
}

func (d *decision) newest() dataset.Snapshot { return d.points[len(d.points)-1] }

func (d *decision) keep(id dataset.ID, k Kind, format string, args ...any) {
	d.reasons[id] = append(d.reasons[id], Reason{Kind: k, Text: fmt.Sprintf(format, args...)})
}

func (d *decision) keepAll(k Kind, why string) {
	for _, p := range d.points {
		d.keep(p.ID, k, "%s", why)
	}
}

func (d *decision) verdicts() []Verdict {
	out := make([]Verdict, 0, len(d.points))
	for _, p := range d.points {
		v := Verdict{Snapshot: p, Reasons: d.reasons[p.ID]}
		if len(v.Reasons) == 0 {
			v.Destroy, v.Reasons = true, []Reason{{Kind: Expired, Text: "nothing keeps it"}}
		}
		out = append(out, v)
	}
	return out
}

// frozen says why nothing may be destroyed now; "" when there is no such
// reason. Counting rules do not look at the clock, but the times they count
// with came from it.
func (d *decision) frozen() string {
	for _, p := range d.points {
		if p.ID.IsZero() {
			return fmt.Sprintf("%s has no identity, so the list cannot be trusted", p.Name)
		}
	}
	for _, p := range d.Peers {
		if !p.Base.IsZero() && !slices.ContainsFunc(d.points, func(s dataset.Snapshot) bool { return s.ID == p.Base }) {
			return fmt.Sprintf("the base with %s, %s, is not in the list: it was removed by hand or the list is old; the next run looks again", p.Name, p.Base)
		}
	}
	return d.clockProblem()
}

// clockProblem compares the clock with the newest times it gave out.
func (d *decision) clockProblem() string {
	var latest dataset.Snapshot
	var at time.Time
	for _, p := range d.points {
		if t := stamp(p); !t.Before(at) {
			latest, at = p, t
		}
	}
	limit := d.Now
	if latest.Received.IsZero() {
		limit = limit.Add(ClampAhead) // a name is one second after the one before, so a burst runs ahead
	}
	switch {
	case at.After(limit):
		return fmt.Sprintf("%s is from %s, and this clock says %s: if it was set back, set it right; if it was ahead then, pruning waits until it has caught up",
			latest.Name, utc(at), utc(d.Now))
	case d.Now.Sub(at) > MaxSilence:
		return fmt.Sprintf("the newest time of any point is %s, and this clock says %s: the clock jumped ahead, or nothing came for more than %d days; pruning goes on with the next point",
			utc(at), utc(d.Now), MaxSilence/(24*time.Hour))
	}
	return ""
}

// stamp is the time that this host itself gave the point.
func stamp(p dataset.Snapshot) time.Time {
	if p.Received.IsZero() {
		return p.Retain
	}
	return p.Received
}

func utc(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05Z") }
