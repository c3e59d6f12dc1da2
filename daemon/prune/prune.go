// Package prune decides which snapshots of one dataset on one side go, and why
// each of the others stays. Decide is pure: the clock is an argument and the
// same input always gives the same verdicts. Groups and Brake look at all
// datasets of a job. Execute carries verdicts out.
//
// What is always kept, whatever the policy says: the newest point, what has a
// hold or a pin, the newest common base with every peer, what an unfinished step
// or a checkpoint needs, and on a target what was received within Protect. On a
// source, what a peer has not got yet stays too, up to Backlog points: a peer
// that stays away must not fill the disk, so beyond that the oldest detail goes
// first, and the base is enough to go on from.
//
// Hourly to yearly rules keep the oldest point of each of the newest N
// non-empty periods. So a point that was kept as the first of its period stays
// the first, time passing by itself changes no choice, and a later point never
// displaces an earlier one of its period. On a target, where times are clamped
// (ClampRetain), this bounds what a stolen source can do: whatever names and
// times it sends, a point received before the theft goes no earlier than it
// would have gone with an honest source that sends a point in every period since
// the newest one (and ClampAhead earlier, at most). Two things are outside of
// this: `last` counts points, so that many of them flush it, and a sparse honest
// source (daily points under `hourly`) is worse off than with its own rhythm.
// Protect covers both, since its clock is the target's.
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
	// They are not changed.
	Points []dataset.Snapshot
	// Keep is the policy. Without any rule everything is kept.
	Keep policy.Keep
	// Backlog is how many points that a peer has not got yet are kept for it, on
	// a source. 0: none are kept for that.
	Backlog int
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
	// Bookmarks says that a base may live on as a bookmark: one that nothing but the
	// peers needs goes, and leaves that.
	Bookmarks bool

	after map[string]uint64 // the Order of what a peer has at least, by its name, where that is none that rules count; see beside
}

// Peer is a far side of the dataset.
type Peer struct {
	Name string
	// Base is the newest point that both sides have; zero while there is none
	// (a first copy: InFlight and holds protect it) or while it is not known
	// (its durable hold protects it). One that is not among Points makes the
	// input contradict itself, and nothing is destroyed.
	Base dataset.ID
	// Hold is the tag by which the base is held for it.
	Hold dataset.Tag
}

// Verdict is what becomes of one snapshot.
type Verdict struct {
	Snapshot dataset.Snapshot `json:"snapshot"`
	Destroy  bool             `json:"destroy"`
	// Bookmark says that it is a base, and has to leave a bookmark.
	Bookmark bool `json:"bookmark,omitempty"`
	// Reasons has at least one entry: all that keep it, or why it goes. It may
	// share memory with other verdicts: append, never change.
	Reasons []Reason `json:"reasons"`
}

// Decide gives a verdict on every point, oldest first. With Frozen or Silent it
// keeps them all, because the clock or the input cannot be believed.
func Decide(in Input) []Verdict { return new(Decider).Decide(in) }

// Decider decides on one dataset after the other in the same memory: ten million
// points are judged in seconds, and clearing memory anew for each dataset would
// take most of them. The zero value is ready; it is for one goroutine.
type Decider struct {
	Input
	points  []dataset.Snapshot // oldest first
	notes   []note
	every   []Reason // that keep every point
	order   []int
	firsts  [periods][]int
	ends    []int
	reasons []Reason
	out     []Verdict
}

// Decide is the function of that name; what it returns is valid until it is
// called again.
func (d *Decider) Decide(in Input) []Verdict {
	if slices.ContainsFunc(in.Points, isBeside) {
		return d.beside(in)
	}
	d.Input, d.points = in, byOrder(in.Points)
	d.notes, d.every = d.notes[:0], nil
	if len(d.points) == 0 {
		return nil
	}
	if why := d.frozen(); why.Kind != "" {
		return d.keepAll(why)
	}
	d.keepNeeded()
	d.keepProtected()
	if d.Keep.IsZero() {
		return d.keepAll(Reason{Kind: NoRule})
	}
	d.keepUnsent()
	d.keepRules()
	return d.verdicts()
}

// note is a reason to keep points[at].
type note struct {
	at  int
	why Reason
}

func compareOrder(a, b dataset.Snapshot) int {
	return cmp.Or(cmp.Compare(a.Order, b.Order), a.Retain.Compare(b.Retain), cmp.Compare(a.ID, b.ID))
}

// byOrder sorts a copy, unless the points are sorted, which drivers see to.
func byOrder(points []dataset.Snapshot) []dataset.Snapshot {
	for i := 1; i < len(points); i++ {
		if points[i-1].Order >= points[i].Order {
			return slices.SortedFunc(slices.Values(points), compareOrder)
		}
	}
	return points
}

func (d *Decider) newest() *dataset.Snapshot { return &d.points[len(d.points)-1] }

func (d *Decider) keep(at int, why Reason) { d.notes = append(d.notes, note{at, why}) }

func (d *Decider) keepAll(why Reason) []Verdict {
	d.every = []Reason{why}
	return d.verdicts()
}

// verdicts hands each point its reasons, which share one array.
func (d *Decider) verdicts() []Verdict {
	d.out = sized(d.out, len(d.points))
	d.reasons = sized(d.reasons, len(d.notes))
	// ends[i] counts, then adds up, and is at last where the reasons of i end.
	d.ends = sized(d.ends, len(d.points))
	clear(d.ends)
	for i := range d.notes {
		d.ends[d.notes[i].at]++
	}
	sum := 0
	for i, n := range d.ends {
		d.ends[i], sum = sum, sum+n
	}
	for i := range d.notes {
		n := &d.notes[i]
		d.reasons[d.ends[n.at]] = n.why
		d.ends[n.at]++
	}
	begin := 0
	for i, end := range d.ends {
		v := &d.out[i]
		v.Snapshot, v.Destroy, v.Bookmark, v.Reasons = d.points[i], false, false, d.reasons[begin:end:end]
		switch {
		case begin == end:
			v.Destroy, v.Reasons = d.orphan(v.Snapshot.Pin)
		case d.every != nil:
			v.Reasons = append(v.Reasons, d.every...)
		case d.Bookmarks && d.isOnlyBase(v.Reasons):
			v.Destroy, v.Bookmark, v.Reasons = true, true, d.bookmarked(v.Reasons)
		}
		begin = end
	}
	return d.out
}

// orphan is the verdict on a point that has no reason of its own.
func (d *Decider) orphan(pin *dataset.Pin) (destroy bool, why []Reason) {
	switch {
	case d.every != nil:
		return false, d.every
	case pin != nil:
		return true, []Reason{{Kind: Expired, At: pin.Until}}
	}
	return true, expired
}

// sized is a slice of n that reuses memory where it can. What was in it stays.
func sized[T any](s []T, n int) []T { return slices.Grow(s[:0], n)[:n] }

// expired is why most snapshots go; it is not changed.
var expired = []Reason{{Kind: Expired}}

// frozen says why nothing may be destroyed now; zero when there is no such
// reason. Counting rules do not look at the clock, but the times they count
// with came from it.
func (d *Decider) frozen() Reason {
	for i := range d.points {
		if d.points[i].ID.IsZero() {
			return Reason{Kind: Frozen, Ref: fmt.Sprintf("%s has no identity, so the list cannot be trusted", d.points[i].Name)}
		}
	}
	for _, p := range d.Peers {
		if !p.Base.IsZero() && d.find(p.Base) < 0 {
			return Reason{Kind: Frozen, Ref: fmt.Sprintf("the base with %s, %s, is not in the list: it was removed by hand or the list is old; the next run looks again", p.Name, p.Base)}
		}
	}
	return d.clockProblem()
}

// find looks a point up from the newest on; -1 for none.
func (d *Decider) find(id dataset.ID) int {
	for i := len(d.points) - 1; i >= 0; i-- {
		if d.points[i].ID == id {
			return i
		}
	}
	return -1
}

// clockProblem compares the clock with the newest times it gave out.
func (d *Decider) clockProblem() Reason {
	latest, at := &d.points[0], time.Time{}
	for i := range d.points {
		if t := stamp(&d.points[i]); !t.Before(at) {
			latest, at = &d.points[i], t
		}
	}
	until := at
	if latest.Received.IsZero() {
		until = until.Add(-ClampAhead) // a name is one second after the one before, so a burst runs ahead
	}
	switch {
	case until.After(d.Now):
		return Reason{Kind: Frozen, At: until, Ref: fmt.Sprintf("%s is from %s, and this clock says %s: if it was set back, set it right; if it was ahead then, pruning waits until it has caught up",
			latest.Name, utc(at), utc(d.Now))}
	case d.Now.Sub(at) > MaxSilence:
		return Reason{Kind: Silent, Ref: fmt.Sprintf("the newest time of any point is %s, and this clock says %s: the clock jumped ahead, or nothing came for more than %d days; pruning goes on with the next point",
			utc(at), utc(d.Now), MaxSilence/(24*time.Hour))}
	}
	return Reason{}
}

// stamp is the time that this host itself gave the point.
func stamp(p *dataset.Snapshot) time.Time {
	if p.Received.IsZero() {
		return p.Retain
	}
	return p.Received
}

// utc is a time as all texts of this program write it.
func utc(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }
