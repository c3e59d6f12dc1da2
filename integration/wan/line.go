package wan

import (
	"math/rand/v2"
	"time"
)

// line is one direction of the link as arithmetic: what becomes of a packet that
// comes now. It has no clock and no packets.
type line struct {
	shape  Shape
	chance *rand.Rand
	free   time.Time // when the wire is next idle
	last   time.Time // when the newest packet arrives: none overtakes another
	count  Count
}

func newLine(s Shape, seed uint64) *line {
	return &line{shape: s, chance: rand.New(rand.NewPCG(seed, ^seed))}
}

// offer decides on a packet of so many bytes: when it arrives, or that it never
// does.
func (l *line) offer(now time.Time, bytes int) (arrives time.Time, ok bool) {
	s := l.shape
	if s.Down {
		l.count.Cut++
		return time.Time{}, false
	}
	if s.Loss > 0 && l.chance.Float64() < s.Loss {
		l.count.Lost++
		return time.Time{}, false
	}
	if l.free.Before(now) {
		l.free = now
	}
	if s.Rate > 0 {
		if backlog := l.free.Sub(now).Seconds() * float64(s.Rate); int64(backlog)+int64(bytes) > s.queue() {
			l.count.Dropped++
			return time.Time{}, false
		}
		l.free = l.free.Add(time.Duration(float64(bytes) / float64(s.Rate) * float64(time.Second)))
	}
	if arrives = l.free.Add(s.Delay); arrives.Before(l.last) {
		arrives = l.last
	}
	l.last = arrives
	l.count.Packets++
	l.count.Bytes += int64(bytes)
	return arrives, true
}
