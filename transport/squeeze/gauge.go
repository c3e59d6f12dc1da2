package squeeze

import (
	"sync"
	"time"
)

// enough is the shortest time that a reading stands for.
const enough = time.Second

// pause is how long a path may be without anything to send before what was gathered
// is dropped.
const pause = 5 * time.Second

// guess is how fast a processor packs before it was measured, in bytes per second;
// rather too low.
func guess() [levels]float64 { return [levels]float64{Fast: 200e6, Normal: 100e6, Thorough: 40e6} }

// tlsSpeed is about how fast a lane hands bytes on when nothing holds it up; the
// time that this takes is not the link's.
const tlsSpeed = 500e6

// Gauge gathers what the lanes of a path measured, and holds the choice for it. It
// is safe for concurrent use.
type Gauge struct {
	Now  func() time.Time
	Idle func() float64 // processors idle since it was last asked

	mu    sync.Mutex // guards what follows
	state State
	speed [levels]float64
	since time.Time // the gathering began
	last  time.Time // something was gathered
	sum   Sent
	link  time.Duration
	total time.Duration
	looks struct{ n, ratio float64 }
	// curious: the link was full, so that a look at the stream is worth its time.
	curious bool
}

// Sent is one chunk that went out, or several.
type Sent struct {
	Raw, Wire int64         // bytes before packing and as sent
	Sending   time.Duration // from its first byte to its last
	Whole     time.Duration // Sending, packing, and waiting for something to send
}

// Level is the choice; isCurious says, at Off, that chunks should be looked at all
// the same.
func (g *Gauge) Level() (l Level, isCurious bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state.Level, g.curious
}

// Looked notes what a look at a chunk said.
func (g *Gauge) Looked(ratio float64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.looks.n++
	g.looks.ratio += ratio
}

// Packed notes how long a chunk took at a level.
func (g *Gauge) Packed(l Level, rawBytes int, took time.Duration) {
	if took <= 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	now := float64(rawBytes) / took.Seconds()
	if g.speed[l] == 0 {
		g.speed[l] = now
	}
	g.speed[l] += (now - g.speed[l]) / 8
}

// Note takes in what a lane did, and chooses anew once there is enough.
func (g *Gauge) Note(s Sent) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.Now()
	if now.Sub(g.last)-s.Whole > pause { // nothing ran; that tells nothing of the link
		g.restart(now.Add(-s.Whole))
		g.Idle() // from here on
	}
	g.last = now
	g.sum.Raw += s.Raw
	g.sum.Wire += s.Wire
	g.link += max(0, s.Sending-time.Duration(float64(s.Wire)/tlsSpeed*float64(time.Second)))
	g.total += s.Whole
	if passed := now.Sub(g.since); passed >= enough {
		r := g.reading(passed)
		g.state, g.curious = g.state.Next(r), r.Link >= full
		g.restart(now)
	}
}

// restart begins to gather anew.
func (g *Gauge) restart(now time.Time) {
	g.since, g.sum, g.link, g.total = now, Sent{}, 0, 0
	g.looks.n, g.looks.ratio = 0, 0
}

func (g *Gauge) reading(passed time.Duration) Reading {
	r := Reading{
		Wire: float64(g.sum.Wire) / passed.Seconds(), Raw: float64(g.sum.Raw) / passed.Seconds(),
		Ratio: 1, Idle: g.Idle(), Speed: guess(), Lanes: max(1, g.total.Seconds()/passed.Seconds()),
	}
	if g.total > 0 {
		r.Link = g.link.Seconds() / g.total.Seconds()
	}
	switch {
	case g.state.Level > Off && g.sum.Raw > 0:
		r.Ratio = float64(g.sum.Wire) / float64(g.sum.Raw)
	case g.looks.n > 0:
		r.Ratio = g.looks.ratio / g.looks.n
	}
	for l, v := range g.speed {
		if v > 0 {
			r.Speed[l] = v
		}
	}
	return r
}
