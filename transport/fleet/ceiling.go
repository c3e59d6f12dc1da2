package fleet

import "time"

const (
	// ceilingPaths and ceilingMore are how much of what the path holds may be on its
	// way: what lies in the kernel and what waits for its acknowledgement are beside it,
	// and a transfer has to begin, or to go on after its source has paused.
	ceilingPaths, ceilingMore = 2, 4 << 20
	// ceilingMemory is how long a rate counts: BBR's dips to measure the path are shorter.
	ceilingMemory = 3 * time.Second
)

// Ceiling bounds the bytes that are on their way and not acknowledged, because they
// are lost with the link: queues in the network and in kernels take far more than
// they need. On a path that loses packets nothing is bounded, for there what has
// arrived waits for what was lost before it. The zero value is ready.
type Ceiling struct {
	last  Sample
	rates []measured // newest last
}

type measured struct {
	at   time.Time
	rate float64 // bytes per second
}

// Decide takes a sample and returns how many bytes may be on their way; 0 for no
// bound.
func (c *Ceiling) Decide(s Sample, isLossy bool) int64 {
	if passed := s.Now.Sub(c.last.Now); passed > 0 && !c.last.Now.IsZero() {
		c.rates = append(c.rates, measured{s.Now, float64(s.Acked-c.last.Acked) / passed.Seconds()})
	}
	c.last = s
	for len(c.rates) > 0 && s.Now.Sub(c.rates[0].at) > ceilingMemory {
		c.rates = c.rates[1:]
	}
	if isLossy || s.MinRTT == 0 {
		return 0
	}
	most := 0.0
	for _, r := range c.rates {
		most = max(most, r.rate)
	}
	return int64(ceilingPaths*most*s.MinRTT.Seconds()) + ceilingMore
}
