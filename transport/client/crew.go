package client

import (
	"context"
	"errors"
	"sync"
	"time"

	"antipode/transport/fleet"
	"antipode/transport/wire"
)

const (
	// steerEvery is how often stalls and the number of lanes are looked at.
	steerEvery = 200 * time.Millisecond
	// glanceEvery is how often it is asked whether the link still answers, and darkRTTs,
	// darkLeast how long it may say nothing: what is given to the kernel from then on
	// would be lost with the link.
	glanceEvery         = steerEvery / 5
	darkRTTs, darkLeast = 0.25, 50 * time.Millisecond
	// A connection that moves nothing for so long, while the link is there, is
	// stuck: a retransmission or two may have been lost in that time.
	stuckRTTs, stuckLeast = 10, 2 * time.Second
	// lossMemory is how long a loss counts as a recent one.
	lossMemory = 2 * time.Second

	// farRTT is from where on a path is a long one: smaller chunks let more lanes
	// share a window, and a lost lane takes less along.
	farRTT = 5 * time.Millisecond
	// farChunk is for a few lanes that are quick, lossyChunk for many of which some
	// are always slow: a chunk of theirs holds back all that was sent behind it.
	farChunk, lossyChunk = 256 << 10, wire.MinChunk
	// leastLanes: when one lane stalls another goes on. Where each loss slows a lane
	// down more are there from the beginning, and go if they bring nothing.
	leastLanes, startLossBased = 2, 4
	// leastBBR are kept on a long path: every 10 s BBR leaves the path all but empty for
	// a round trip, to measure it, and what two lanes leave nobody fills. With each more
	// there is more on the way, which is lost with the link; more than three bring nothing.
	leastBBR = 3
	// chunksPerLane is how many chunks of the window each lane needs: one that it
	// writes and one whose acknowledgement is on its way.
	chunksPerLane = 2
)

var errStalled = errors.New("lane is stuck: nothing of it arrives")

// chunkFor is the size of chunks on a path. A stream that is shorter goes in one
// request; for lanes there is a smaller one.
func chunkFor(p Path) (whole, lanes int) {
	switch {
	case p.MinRTT < farRTT:
		return wire.MaxChunk, wire.MaxChunk
	case p.LossBased:
		return farChunk, lossyChunk
	}
	return farChunk, farChunk
}

// lanesFor is how many lanes a transfer starts with on a path, and how many it keeps
// at least.
func lanesFor(p Path) (start, least int) {
	switch {
	case p.MinRTT < farRTT:
		return leastLanes, leastLanes
	case p.LossBased:
		return startLossBased, leastLanes
	}
	return leastBBR, leastBBR
}

// crew keeps as many lanes connected as the pilot wants. Its methods are called
// by one goroutine, steer's.
type crew struct {
	t       *transfer
	parts   *sync.WaitGroup
	fail    func(error)
	pilot   *fleet.Pilot
	ceiling fleet.Ceiling
	lost    time.Time // when a packet was last seen to be sent again

	mu    sync.Mutex // guards hands: they leave by themselves
	hands map[int]*hand
}

func newCrew(t *transfer, parts *sync.WaitGroup, fail func(error)) *crew {
	return &crew{t: t, parts: parts, fail: fail, pilot: fleet.New(lanesFor(t.c.newest())), hands: map[int]*hand{}}
}

// steer holds the number of lanes and ends those that stall, until ctx ends.
func (c *crew) steer(ctx context.Context) {
	defer c.t.c.join()()
	for {
		now := c.t.c.opts.Now()
		sample := c.sample(now)
		c.man(ctx, c.pilot.Decide(sample))
		c.t.tx.Limit(c.ceiling.Decide(sample, c.lostWithin(now, lossMemory)))
		heard := c.t.lastHeard()
		for _, h := range c.list() {
			h.endStalled(now, heard)
		}
		c.t.tx.Hurry()
		if c.t.lanes.Load() == 0 && now.Sub(heard) > silence {
			if !sleep(ctx, watchEvery) { // the link is lost, maybe for a day
				return
			}
			continue
		}
		for range steerEvery / glanceEvery {
			c.t.tx.Hold(c.isDark())
			if !sleep(ctx, glanceEvery) {
				return
			}
		}
	}
}

// isDark asks every lane whether the link still answers.
func (c *crew) isDark() bool {
	var lanes []Path
	for _, h := range c.list() {
		if p, known := h.glance(); known {
			lanes = append(lanes, p)
		}
	}
	return isDark(lanes, c.t.c.opts.Now().Sub(c.t.lastHeard()))
}

// isDark reports whether a link has stopped answering: no lane gets anything
// acknowledged of what it has on its way, and the target has been silent too. One lane
// that goes on is proof of the link; lanes without anything on their way are of nothing.
func isDark(lanes []Path, silent time.Duration) bool {
	dark := false
	for _, p := range lanes {
		if p.Quiet == 0 {
			continue
		}
		if min(p.Quiet, silent) < max(darkLeast, time.Duration(darkRTTs*float64(p.RTT))) {
			return false
		}
		dark = true
	}
	return dark
}

// sample gathers what the pilot wants to know.
func (c *crew) sample(now time.Time) fleet.Sample {
	s := fleet.Sample{
		Now: now, Acked: c.t.tx.Acked(), Open: int(c.t.lanes.Load()), Hungry: c.t.tx.IsHungry(), Bound: c.bound(),
	}
	known, lossBased := time.Duration(0), false
	for _, h := range c.list() {
		p, lost, ok := h.look()
		if !ok {
			continue
		}
		known++
		s.RTT += p.RTT
		if s.MinRTT == 0 || p.MinRTT < s.MinRTT {
			s.MinRTT = p.MinRTT
		}
		s.Ramping = s.Ramping || p.Ramping
		lossBased = lossBased || p.LossBased
		if lost > 0 {
			c.lost = now
		}
	}
	if known > 0 {
		s.RTT /= known
	}
	s.LossBound = lossBased && c.lostWithin(now, max(lossMemory, stuckRTTs*s.RTT))
	return s
}

// lostWithin reports whether a packet was seen to be sent again so lately.
func (c *crew) lostWithin(now time.Time, d time.Duration) bool {
	return !c.lost.IsZero() && now.Sub(c.lost) <= d
}

// bound is this transfer's part of the lanes: even among the client's transfers,
// and no more than its window feeds.
func (c *crew) bound() int {
	n := min(c.t.c.laneShare(), wire.MaxLanes, c.t.window()/chunksPerLane)
	return max(n, 1)
}

// man starts and retires lanes until so many run.
func (c *crew) man(ctx context.Context, want int) {
	var at []*hand
	for _, h := range c.list() {
		if !h.isRetired() {
			at = append(at, h)
		}
	}
	for _, h := range at[min(want, len(at)):] {
		h.retire()
	}
	for range want - len(at) {
		c.hire(ctx)
	}
}

// hire starts a lane under the lowest free number, if one is free.
func (c *crew) hire(ctx context.Context) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for c.hands[n] != nil {
		n++
	}
	if n >= wire.MaxLanes {
		return // a retired one is still finishing
	}
	ctx, cancel := context.WithCancel(ctx)
	h := &hand{t: c.t, n: n, cancel: cancel}
	c.hands[n] = h
	c.parts.Go(func() {
		defer cancel()
		h.run(ctx, c.fail)
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.hands, n)
	})
}

// list is the lanes by their number.
func (c *crew) list() []*hand {
	c.mu.Lock()
	defer c.mu.Unlock()
	hands := make([]*hand, 0, len(c.hands))
	for n := range wire.MaxLanes {
		if h := c.hands[n]; h != nil {
			hands = append(hands, h)
		}
	}
	return hands
}
