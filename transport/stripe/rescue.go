package stripe

import "time"

// A chunk that lies on a slow lane holds back all that was sent behind it: the
// target keeps order, and its window fills. So a chunk that is overdue is sent a
// second time, on a lane that is quick, and whichever copy comes first counts.
// This is what RACK (RFC 8985) does for segments: late is what was sent long before
// something that has already arrived.
const (
	// overduePaces is how often as long as a chunk usually takes one may take.
	overduePaces = 2
	// overtakenPaces is how much later something that has arrived was sent.
	overtakenPaces = 0.5
	// reach is how far behind the chunk that is needed next is looked for others.
	reach = 64
	// One byte in rescueShare of those acknowledged may be sent twice. What was not
	// needed is kept up to spareBytes: an outage must not spend what a week has saved.
	rescueShare, spareBytes = 64, 1 << 20
	// paceShift makes pace the mean of about so many chunks, as a power of two.
	paceShift, lanePaceShift = 5, 2
)

// Flight is what is known of a chunk that a lane has.
type Flight struct {
	Taken  time.Time     // when the lane took it
	Heard  time.Time     // the target's last word
	Newest time.Time     // when the newest of those that have arrived was taken
	Pace   time.Duration // from being taken to being acknowledged, usually; 0 if not known
}

// IsOverdue reports whether the chunk should have arrived long ago. A path that
// delays or loses everything makes nothing overdue: what was sent later is no
// better off.
func (f Flight) IsOverdue() bool {
	pace := float64(f.Pace)
	return f.Pace > 0 && float64(f.Newest.Sub(f.Taken)) > overtakenPaces*pace && float64(f.Heard.Sub(f.Taken)) > overduePaces*pace
}

// earn is how many bytes may be sent a second time, once so many more are acknowledged.
func earn(spare int64, acked int) int64 {
	return min(spare+int64(acked)/rescueShare, spareBytes)
}

// smooth takes one more measurement into a mean; the first one is it.
func smooth(mean, one time.Duration, shift int) time.Duration {
	if mean == 0 {
		return one
	}
	return mean + (one-mean)>>shift
}

// rescue finds a chunk that lane l should send again; nil if there is none. The
// caller holds s.mu.
func (l *Lane) rescue() *chunk {
	s := l.s
	if s.dark || l.pace == 0 || l.pace > s.pace || !s.isPressed() {
		return nil
	}
	for n := s.next; n <= min(s.cut, s.next+reach); n++ { // the end's number is that of the cut
		c := s.chunks[n]
		if c == nil {
			continue // it has arrived, or there is no end yet
		}
		f := Flight{Taken: c.taken, Heard: s.heard, Newest: s.newest, Pace: s.pace}
		switch {
		case c.lane == nil:
			return nil // what the target needs next has not even been sent
		case c.lane == l || c.second != nil:
		case !f.IsOverdue():
			return nil
		case s.spare >= int64(len(c.payload)):
			return c
		default:
			return nil
		}
	}
	return nil
}

// isPressed holds when what lies behind the chunk that is needed next fills three
// quarters of what the target takes, which would have taken more by then if it could,
// or nothing else is left to send: then it is time, and before it is not worth a
// repetition.
func (s *Sender) isPressed() bool {
	top := s.cut
	if len(s.queue) > 0 {
		top = s.queue[0].header.Number
	} else if s.ended {
		return true
	}
	return 4*(top-min(top, s.next)) >= 3*(s.credit-min(s.credit, s.next))
}

// takeAgain gives a chunk that another lane has to l too.
func (l *Lane) takeAgain(c *chunk) Frame {
	c.second = l
	l.s.again += int64(len(c.payload))
	l.s.spare -= int64(len(c.payload))
	return l.write(c)
}

// Hurry lets the lanes that have nothing to do look for what is overdue: time alone
// may have made it so.
func (s *Sender) Hurry() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.signal.fire()
}
