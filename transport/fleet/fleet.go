// Package fleet decides how many lanes a transfer should have: values and now
// in, a number out. It knows no connections and has no clock.
//
// It starts with few. A trial changes the number, waits until the lanes have
// settled, measures the goodput and keeps the change or takes it back:
//
//	resting -> measuring -> (change) settling -> judging -> resting
//
// More lanes are kept if they bring a fair part of what they should, fewer if
// they cost nothing. There is no trial while something else is the limit: the
// source, the target, a budget, or a path whose queue fills already.
//
// A congestion control that slows down for every loss cannot fill a path that
// loses by chance, and each lane adds its part. Then the number doubles without
// waiting for judgement, until the path's queue or the bound says stop; the
// trials bring down what was too much.
package fleet

import "time"

const (
	measureLeast, measureRTTs = 2 * time.Second, 8
	// Lanes are connected after about three round trips.
	settleLeast, settleRTTs    = 200 * time.Millisecond, 4
	settleMost, settleMostRTTs = 2 * time.Second, 10
	rushLeast, rushRTTs        = 200 * time.Millisecond, 2
	// On a shorter path losses are those of a queue that is too short to be seen.
	rushFrom            = 20 * time.Millisecond
	restLeast, restMost = 10 * time.Second, 5 * time.Minute

	worthOfMore = 0.3  // of the gain that as many more lanes could bring
	worthOfLess = 0.97 // of the goodput must be left
	part        = 4    // a trial is of a quarter of the lanes, or more

	queueShare = 0.25 // of the round trip: a queue that fills
	queueLeast = 10 * time.Millisecond
)

// Sample is what a transfer knows of itself.
type Sample struct {
	Now   time.Time
	Acked int64 // bytes acknowledged since the transfer began
	Open  int   // lanes that are connected
	// Hungry is: chunks wait that another lane could take at once.
	Hungry bool
	// Ramping is: some lane has not yet found out how much the path holds.
	Ramping bool
	// LossBound is: lanes slow down for losses, and there were some just now.
	LossBound bool
	// RTT is the smoothed round trip, MinRTT the shortest; 0 if not known.
	RTT, MinRTT time.Duration
	Bound       int // lanes that are allowed now, at least 1
}

// isFull holds when what is sent waits in a queue on the path.
func (s Sample) isFull() bool {
	return s.MinRTT > 0 && s.RTT > s.MinRTT+max(time.Duration(queueShare*float64(s.MinRTT)), queueLeast)
}

type phase int

const (
	settling phase = iota
	measuring
	judging
	resting
)

// Pilot is the state of one transfer. It is not safe for concurrent use.
type Pilot struct {
	want   int
	least  int // what is never gone below, but for the bound
	phase  phase
	since  time.Time // of the phase
	from   int64     // Acked at since
	seen   int       // samples of the phase
	hungry int       // of these

	trial  *trial
	stride int           // by how many the next trial grows
	pause  time.Duration // until the next trial
	shrink bool          // the next trial is one with fewer
	rushed time.Time     // when the number was last doubled
	calm   bool          // fewer lanes did as well: no rush until more bring something twice
}

// trial is the change that is being judged.
type trial struct {
	lanes int     // before
	rate  float64 // bytes per second, before
}

// New makes a pilot that starts with so many lanes, and never wants fewer than least
// while the bound allows them.
func New(start, least int) *Pilot {
	return &Pilot{want: max(start, least, 1), least: max(least, 1), stride: 1, pause: restLeast}
}

// Decide takes in a sample and returns how many lanes there should be, 1 to
// s.Bound. Samples come in order, a few in a second.
func (p *Pilot) Decide(s Sample) int {
	if p.since.IsZero() {
		p.enter(settling, s)
	}
	if p.want > s.Bound {
		p.trial = nil
		p.change(max(s.Bound, 1), s)
	}
	p.seen++
	if s.Hungry {
		p.hungry++
	}
	if p.mayRush(s) {
		p.rushed = s.Now
		p.trial, p.shrink = nil, true
		p.change(min(2*p.want, s.Bound), s)
		return p.want
	}
	p.step(s)
	return p.want
}

// mayRush holds for lanes that losses keep slow on a path that has room. A trial of
// fewer lanes is judged first: it is all that tells losses by chance from those of a
// queue that is too short to be seen.
func (p *Pilot) mayRush(s Sample) bool {
	wait := max(rushLeast, rushRTTs*s.RTT)
	return !p.calm && !p.triesFewer() && s.LossBound && s.Hungry && !s.isFull() && s.MinRTT >= rushFrom &&
		p.want < s.Bound && 2*s.Open >= p.want && s.Now.Sub(p.rushed) >= wait
}

func (p *Pilot) triesFewer() bool { return p.trial != nil && p.want < p.trial.lanes }

// step moves on to the next phase when its time has come.
func (p *Pilot) step(s Sample) {
	passed := s.Now.Sub(p.since)
	switch p.phase {
	case settling:
		isQuiet := s.Open >= p.want && !s.Ramping && passed >= max(settleLeast, settleRTTs*s.RTT)
		if isQuiet || passed >= settleMost+settleMostRTTs*s.RTT {
			p.enter(judging, s)
		}
	case judging:
		if passed >= measureTime(s) {
			p.judge(s)
		}
	case resting:
		if passed >= p.pause {
			p.enter(measuring, s)
		}
	case measuring:
		if passed >= measureTime(s) {
			p.try(s)
		}
	}
}

func measureTime(s Sample) time.Duration { return max(measureLeast, measureRTTs*s.RTT) }

func (p *Pilot) enter(ph phase, s Sample) {
	p.phase, p.since, p.from, p.seen, p.hungry = ph, s.Now, s.Acked, 0, 0
}

func (p *Pilot) change(lanes int, s Sample) {
	p.want = lanes
	p.enter(settling, s)
}

// rate is the goodput since the phase began, in bytes per second.
func (p *Pilot) rate(s Sample) float64 {
	return float64(s.Acked-p.from) / s.Now.Sub(p.since).Seconds()
}

// isLimit reports whether lanes were what limited the phase.
func (p *Pilot) isLimit() bool { return 2*p.hungry > p.seen }

// judge keeps the change or takes it back. Without a trial it goes on to one.
func (p *Pilot) judge(s Sample) {
	t := p.trial
	p.trial = nil
	switch {
	case t == nil:
		p.try(s)
	case !p.isLimit(), p.want > t.lanes && !isWorth(t, p.want, p.rate(s)), p.want < t.lanes && p.rate(s) < worthOfLess*t.rate:
		p.stride, p.shrink = 1, p.want > t.lanes && t.lanes > p.least
		p.change(min(t.lanes, s.Bound), s)
		p.rest(min(2*p.pause, restMost), s)
	case p.want > t.lanes:
		p.calm = p.calm && p.stride == 1 // the first of a row may be chance
		p.stride, p.pause, p.shrink = 2*p.stride, restLeast, false
		p.try(s)
	default: // fewer do as well
		p.stride, p.shrink, p.calm = 1, p.want > p.least, true
		p.rest(restLeast, s)
	}
}

// isWorth reports whether so many lanes instead of the trial's are repaid by the
// goodput.
func isWorth(t *trial, lanes int, rate float64) bool {
	more := float64(lanes)/float64(t.lanes) - 1
	return rate >= t.rate*(1+worthOfMore*more) && rate > 0
}

func (p *Pilot) rest(pause time.Duration, s Sample) {
	p.pause = pause
	p.enter(resting, s)
}

// try begins the next trial from what was measured, if there is one to make.
func (p *Pilot) try(s Sample) {
	t := &trial{lanes: p.want, rate: p.rate(s)}
	next := min(p.want+min(max(p.stride, p.want/part), p.want), s.Bound)
	if p.shrink || s.isFull() || next == p.want {
		next = max(p.want-max(p.want/part, 1), min(p.least, s.Bound))
	}
	p.shrink = false
	if !p.isLimit() || next == p.want {
		p.rest(p.pause, s)
		return
	}
	p.trial = t
	p.change(next, s)
}
