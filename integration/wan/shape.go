package wan

import (
	"fmt"
	"time"
)

// Shape is what the link is like now, the same in both directions.
type Shape struct {
	Rate  int64         // bytes per second of IP packets; 0 is no limit
	Delay time.Duration // one way, half of the round trip
	Loss  float64       // probability for each packet, 0 to 1, independent of the others
	Queue int64         // bytes that wait for the rate at most; 0 is one round trip's worth
	Down  bool          // everything is lost, in silence
}

// minQueue lets a few packets wait, however short the link is.
const minQueue = 64 << 10

// queue is the bound in force.
func (s Shape) queue() int64 {
	if s.Queue > 0 {
		return s.Queue
	}
	return max(int64(float64(s.Rate)*(2*s.Delay).Seconds()), minQueue)
}

func (s Shape) validate() error {
	if s.Rate < 0 || s.Delay < 0 || s.Queue < 0 || s.Loss < 0 || s.Loss > 1 {
		return fmt.Errorf("no link is like this: %+v", s)
	}
	return nil
}

// Mbit is a rate of n Mbit/s.
func Mbit(n float64) int64 { return int64(n * 1e6 / 8) }

// Count is what one direction has done so far.
type Count struct {
	Bytes   int64 // of IP packets that were put on the way
	Packets int64
	Lost    int64 // packets, by chance
	Dropped int64 // packets that found the queue full
	Cut     int64 // packets that came while the link was down
}
