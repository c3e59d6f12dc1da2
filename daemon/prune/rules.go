package prune

import (
	"slices"
	"time"

	"antipode/fsdrivers/dataset"
)

// keepNeeded keeps what must outlive any policy (G1).
func (d *Decider) keepNeeded() {
	d.keep(len(d.points)-1, Reason{Kind: Newest})
	for i := range d.points {
		p := &d.points[i]
		for _, tag := range p.Holds {
			d.keep(i, Reason{Kind: Held, Ref: string(tag)})
		}
		if p.Pin.Holds(d.Now) {
			d.keep(i, Reason{Kind: Pinned, Ref: p.Pin.Why, At: p.Pin.Until})
		}
		if slices.Contains(d.InFlight, p.ID) {
			d.keep(i, Reason{Kind: InFlight})
		}
	}
	for _, peer := range d.Peers {
		if !peer.Base.IsZero() {
			d.keep(d.find(peer.Base), Reason{Kind: Base, Ref: peer.Name})
		}
	}
}

// keepProtected keeps what a target received within Protect, by its own clock.
// Gaps longer than MaxSilence do not count: a clock that jumped ahead by a
// year, and received one point since, must not end the protection of all.
func (d *Decider) keepProtected() {
	if d.Side != Target || d.Protect <= 0 {
		return
	}
	var age time.Duration
	next := d.Now
	for _, i := range slices.Backward(d.sorted(stamp)) {
		at := stamp(&d.points[i])
		if gap := next.Sub(at); gap <= MaxSilence {
			age += gap
		}
		next = at
		if age >= d.Protect {
			return
		}
		d.keep(i, Reason{Kind: Protected, At: d.Now.Add(d.Protect - age)})
	}
}

// sorted lists the points by a time, oldest first; mostly that is their order. The
// list is valid until it is asked for again.
func (d *Decider) sorted(by func(*dataset.Snapshot) time.Time) []int {
	d.order = sized(d.order, len(d.points))
	at, isSorted := d.order, true
	for i := range at {
		at[i] = i
		isSorted = isSorted && (i == 0 || !by(&d.points[i]).Before(by(&d.points[i-1])))
	}
	if !isSorted {
		slices.SortStableFunc(at, func(a, b int) int { return by(&d.points[a]).Compare(by(&d.points[b])) })
	}
	return at
}

// keepUnsent keeps for each peer what it has not got yet. A backlog that is too
// long is thinned where it is oldest: half of it are the newest points, and the
// rest the first of each of the newest hours, days and weeks before.
func (d *Decider) keepUnsent() {
	if d.Side != Source || d.Backlog <= 0 {
		return
	}
	for _, peer := range d.Peers {
		from := d.find(peer.Base) + 1
		if peer.Base.IsZero() {
			order, bookmarked := d.after[peer.Name]
			if !bookmarked {
				continue // a first copy: what it sends is held, and needs nothing in between
			}
			for from < len(d.points) && d.points[from].Order <= order {
				from++
			}
		}
		unsent := d.since(from)
		b := d.Backlog
		if len(unsent) <= b {
			d.keepLast(Reason{Kind: Unsent, Rule: Last, Ref: peer.Name, Of: b}, unsent)
			continue
		}
		d.keepLast(Reason{Kind: Unsent, Rule: Last, Ref: peer.Name, Of: b - b/4 - 2*(b/8)}, unsent)
		d.keepPeriods(unsent, peer.Name, [periods]int{hour: b / 4, day: b / 8, week: b / 8})
	}
}

// since lists the points from the n-th on by the time that retention counts with.
func (d *Decider) since(n int) []int {
	return slices.DeleteFunc(d.sorted(retain), func(i int) bool { return i < n })
}

func retain(p *dataset.Snapshot) time.Time { return p.Retain }

// keepRules applies the operator's policy.
func (d *Decider) keepRules() {
	k := d.Keep
	for n := 1; n <= min(k.Last, len(d.points)); n++ {
		d.keep(len(d.points)-n, Reason{Kind: Last, N: n, Of: k.Last})
	}
	if counts := [periods]int{k.Hourly, k.Daily, k.Weekly, k.Monthly, k.Yearly}; counts != [periods]int{} {
		d.keepPeriods(d.sorted(retain), "", counts)
	}
	d.keepWithin(k.Within)
}

// keepLast keeps the newest why.Of points of list.
func (d *Decider) keepLast(why Reason, list []int) {
	for n := 1; n <= min(why.Of, len(list)); n++ {
		why.N = n
		d.keep(list[len(list)-n], why)
	}
}

// keepPeriods keeps of list, which is oldest first, the oldest point of each of the
// newest periods that have one, counts[p] of them; the newest period counts as 1.
// It is for a peer's backlog unless peer is "".
func (d *Decider) keepPeriods(list []int, peer string, counts [periods]int) {
	for p, found := range d.firstsOf(list, counts) {
		why := Reason{Kind: ruleOf[p], Of: counts[p]}
		if peer != "" {
			why = Reason{Kind: Unsent, Rule: ruleOf[p], Ref: peer, Of: counts[p]}
		}
		d.keepLast(why, found)
	}
}

// keepWithin counts back from the newest point. Gaps longer than MaxSilence do not
// count, as for keepProtected: on a source the first point after a clock jumped is
// the newest, and all others would be too old at once.
func (d *Decider) keepWithin(w time.Duration) {
	if w <= 0 {
		return
	}
	var age time.Duration
	next := d.newest().Retain
	for i := len(d.points) - 1; i >= 0; i-- {
		at := d.points[i].Retain
		if gap := next.Sub(at); gap <= MaxSilence {
			age += gap
		}
		next = at
		if age > w {
			return
		}
		d.keep(i, Reason{Kind: Within, Length: w})
	}
}
