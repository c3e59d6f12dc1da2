package squeeze

// Reading is what was measured over a second or more.
type Reading struct {
	// Link is the share of the lanes' time, 0 to 1, that they waited for the
	// link, or for the budget, with something to send.
	Link  float64
	Wire  float64 // bytes per second given to the link
	Raw   float64 // the same before packing
	Ratio float64 // packed over raw, of all that went out; at Off, what looks say
	Idle  float64 // processors that had nothing to do
	Lanes float64 // that were at work
	// Speed is how many raw bytes a second one processor packs, by level.
	Speed [levels]float64
}

// State is a choice with what it remembers.
type State struct {
	Level Level
	// Cap is what the link carries, in bytes per second, as it was last full.
	Cap  float64
	rest int // readings to let pass before the next change
	// slacks counts readings in a row in which the link was far from full, so that
	// nobody knows any more what it carries; after so many Off is tried, each time
	// later than the last.
	slacks, patience int
}

const (
	// full and slack: the link is the bound above the one, and is not below the
	// other. Between them nothing changes.
	full  = 0.7
	slack = 0.4
	// margin is the part of the idle processors that packing may take: they are
	// there for others too.
	margin = 0.6
	// spent is when so few processors are idle that they are the bound.
	spent = 0.1
	// step is about how much smaller the next level makes a chunk.
	step = 0.93

	settle  = 1 // readings after a change, which still show what was before
	regret  = 8 // after a step back
	fitting = 0.95

	firstTrial, lastTrial = 30, 240 // readings
)

// Next chooses by one more reading. The level rises while the link is the bound and
// processors are idle enough for it; it falls when the link would carry the stream
// with less, or processors are the bound.
func (s State) Next(r Reading) State {
	if r.Wire <= 0 {
		return s // nothing went out: that tells nothing
	}
	if r.Link >= full {
		s.Cap = r.Wire
	} else {
		s.Cap = max(s.Cap, r.Wire)
	}
	if s.slacks++; r.Link >= slack {
		s.slacks = 0
	}
	switch {
	case s.rest > 0:
		s.rest--
	case s.isTrialDue():
		s.patience = min(2*max(s.patience, firstTrial), lastTrial)
		s.Level, s.Cap, s.rest, s.slacks = Off, 0, settle, 0
	case s.mayRise(r):
		s.Level++
		s.rest = settle
	case s.mayFall(r):
		s.Level--
		s.rest = regret
	}
	return s
}

// isTrialDue: it is time to see whether the link would carry the stream as it is.
func (s State) isTrialDue() bool { return s.Level == Fast && s.slacks >= max(s.patience, firstTrial) }

// mayRise: the link is full, the next level makes the stream smaller, and there is
// the time to do it.
func (s State) mayRise(r Reading) bool {
	if s.Level == Thorough || r.Link < full || r.Ratio >= WorthIt || r.Ratio <= 0 {
		return false
	}
	raw := s.Cap / r.Ratio // what the link would carry
	next, now := r.Speed[s.Level+1], r.Speed[s.Level]
	if next <= 0 {
		return false
	}
	cores := raw / next
	if s.Level > Off && now > 0 {
		cores -= r.Raw / now // these it has already
	}
	return cores <= r.Idle*margin && raw <= r.Lanes*next
}

// mayFall: the link is not full, and less packing would not make it so; or the
// processors are what is short.
func (s State) mayFall(r Reading) bool {
	if s.Level == Off || r.Link >= slack {
		return false
	}
	if s.Level == Fast {
		return r.Raw <= fitting*s.Cap
	}
	return r.Idle < spent || r.Raw*r.Ratio/step <= fitting*s.Cap
}
