package prune

import (
	"cmp"
	"slices"
	"time"

	"antipode/daemon/policy"
	"antipode/fsdrivers/dataset"
)

// keepNeeded keeps what must outlive any policy (G1).
func (d *decision) keepNeeded() {
	d.keep(d.newest().ID, Newest, "newest")
	for _, p := range d.points {
		for _, tag := range p.Holds {
			d.keep(p.ID, Held, "held by %s", tag)
		}
		if slices.Contains(d.InFlight, p.ID) {
			d.keep(p.ID, InFlight, "needed by an unfinished step")
		}
		for _, peer := range d.Peers {
			if peer.Base == p.ID {
				d.keep(p.ID, Base, "base of %s", peer.Name)
			}
		}
	}
}

// keepProtected keeps what a target received within Protect, by its own clock.
// Gaps longer than MaxSilence do not count: a clock that jumped ahead by a
// year, and received one point since, must not end the protection of all.
func (d *decision) keepProtected() {
	if d.Side != Target || d.Protect <= 0 {
		return
	}
	received := slices.Clone(d.points)
	slices.SortFunc(received, func(a, b dataset.Snapshot) int { return stamp(b).Compare(stamp(a)) })
	var age time.Duration
	next := d.Now
	for _, p := range received {
		if gap := next.Sub(stamp(p)); gap <= MaxSilence {
			age += gap
		}
		next = stamp(p)
		if age < d.Protect {
			d.keep(p.ID, Protected, "protected until %s", utc(d.Now.Add(d.Protect-age)))
		}
	}
}

// keepRules applies the operator's policy.
func (d *decision) keepRules() {
	k := d.Keep
	if k == (policy.Keep{}) {
		d.keepAll(NoRule, "no keep rule is set")
		return
	}
	d.keepLast(k.Last)
	d.keepPeriods(Hourly, k.Hourly, hour)
	d.keepPeriods(Daily, k.Daily, day)
	d.keepPeriods(Weekly, k.Weekly, week)
	d.keepPeriods(Monthly, k.Monthly, month)
	d.keepPeriods(Yearly, k.Yearly, year)
	d.keepWithin(k.Within)
}

func (d *decision) keepLast(n int) {
	i := 0
	for _, p := range slices.Backward(d.points) {
		if d.Unchanged[p.ID] {
			continue
		}
		if i++; i > n {
			return
		}
		d.keep(p.ID, Last, "last %d of %d", i, n)
	}
}

// period names the hour, day, ... that a local time lies in.
type period [4]int

// An hour that is there twice when clocks go back counts twice: its offset
// tells one from the other.
func hour(t time.Time) period {
	_, offset := t.Zone()
	return period{t.Year(), t.YearDay(), t.Hour(), offset}
}

func day(t time.Time) period { return period{t.Year(), t.YearDay()} }

func week(t time.Time) period {
	y, w := t.ISOWeek()
	return period{y, w}
}

func month(t time.Time) period { return period{t.Year(), int(t.Month())} }

func year(t time.Time) period { return period{t.Year()} }

// keepPeriods keeps the oldest point of each of the newest n periods that have
// one. The newest period counts as 1.
func (d *decision) keepPeriods(k Kind, n int, of func(time.Time) period) {
	firsts := d.firsts(of)
	for i, p := range slices.Backward(firsts) {
		rank := len(firsts) - i
		if rank > n {
			return
		}
		d.keep(p.ID, k, "%s %d of %d", k, rank, n)
	}
}

// firsts are the oldest points of all periods, oldest period first.
func (d *decision) firsts(of func(time.Time) period) []dataset.Snapshot {
	loc := cmp.Or(d.Location, time.UTC)
	points := slices.Clone(d.points)
	slices.SortStableFunc(points, func(a, b dataset.Snapshot) int { return a.Retain.Compare(b.Retain) })
	seen := map[period]bool{}
	return slices.DeleteFunc(points, func(p dataset.Snapshot) bool {
		key := of(p.Retain.In(loc))
		again := seen[key]
		seen[key] = true
		return again
	})
}

// keepWithin counts back from the newest point. Gaps longer than MaxSilence do not
// count, as for keepProtected: on a source the first point after a clock jumped is
// the newest, and all others would be too old at once.
func (d *decision) keepWithin(w time.Duration) {
	if w <= 0 {
		return
	}
	var age time.Duration
	next := d.newest().Retain
	for _, p := range slices.Backward(d.points) {
		if gap := next.Sub(p.Retain); gap <= MaxSilence {
			age += gap
		}
		next = p.Retain
		if age <= w {
			d.keep(p.ID, Within, "within %s of the newest", w)
		}
	}
}
