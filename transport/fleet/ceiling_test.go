package fleet

import (
	"testing"
	"time"
)

func TestCeilingFollowsWhatThePathHolds(t *testing.T) {
	const rtt, rate = 200 * time.Millisecond, 25 << 20 // bytes per second
	var c Ceiling
	now, acked := time.Unix(1000, 0), int64(0)
	look := func(perSecond int64, passed time.Duration, lossy bool) int64 {
		var got int64
		for range passed / (200 * time.Millisecond) {
			now, acked = now.Add(200*time.Millisecond), acked+perSecond/5
			got = c.Decide(Sample{Now: now, Acked: acked, MinRTT: rtt}, lossy)
		}
		return got
	}
	if got := look(0, time.Second, false); got != ceilingMore {
		t.Errorf("at first %d bytes, want %d", got, ceilingMore)
	}
	const full = ceilingPaths*rate/5 + ceilingMore
	if got := look(rate, time.Second, false); got != full {
		t.Errorf("at full rate %d bytes, want %d", got, full)
	}
	if got := look(0, 2*time.Second, false); got != full {
		t.Errorf("in a dip %d bytes, want %d still", got, full)
	}
	if got := look(rate, time.Second, true); got != 0 {
		t.Errorf("where packets are lost %d bytes, want no bound", got)
	}
	if got := look(0, 4*time.Second, false); got != ceilingMore {
		t.Errorf("after a pause %d bytes, want %d", got, ceilingMore)
	}
	if got := c.Decide(Sample{Now: now, Acked: acked}, false); got != 0 {
		t.Errorf("on a path that nothing is known of %d bytes, want no bound", got)
	}
}
