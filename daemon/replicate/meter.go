package replicate

import (
	"errors"
	"sync/atomic"
	"time"

	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
	"antipode/transport/client"
)

// rateOver is the time over which the shown rate is averaged.
const rateOver = 5 * time.Second

// meter turns acknowledged bytes into what people read: a rate and an ETA. All but
// bytes is called under the board's lock.
type meter struct {
	resumed int64        // bytes that an earlier try left on the target
	acked   atomic.Int64 // of the stream, from its start
	since   time.Time
	base    int64 // acked at since
	rate    float64
	over    time.Duration // what the rate is averaged over
}

func newMeter(now time.Time, resumed int64) *meter {
	m := &meter{resumed: resumed, since: now, base: resumed}
	m.acked.Store(resumed)
	return m
}

// bytes is what this try has moved.
func (m *meter) bytes() int64 { return m.acked.Load() - m.resumed }

// show brings a line of the board up to date.
func (m *meter) show(now time.Time, p client.Progress, line *status.Moving) {
	m.acked.Store(m.resumed + p.Acked)
	if m.rate == 0 && m.acked.Load() == m.base {
		m.since = now // the time until the first byte is not the link's
	}
	if passed := now.Sub(m.since); passed >= time.Second {
		fresh := float64(m.acked.Load()-m.base) / passed.Seconds()
		m.over = min(m.over+passed, rateOver) // a plain mean until there is enough to average over
		m.rate += min(passed.Seconds()/m.over.Seconds(), 1) * (fresh - m.rate)
		m.since, m.base = now, m.acked.Load()
	}
	line.Bytes, line.Rate, line.Lanes = m.acked.Load(), int64(m.rate), p.Lanes
	line.Waiting, line.Notice = waiting(p), ""
	if line.Waiting == status.WaitingSpace {
		line.Notice = p.Notice.Error()
	}
	line.ETA = 0
	if left := line.Estimate - line.Bytes; left > 0 && m.rate > 1 {
		line.ETA = time.Duration(float64(left) / m.rate * float64(time.Second))
	}
}

// waiting says what keeps a step from moving.
func waiting(p client.Progress) status.Waiting {
	switch {
	case !p.WaitingSince.IsZero():
		return status.WaitingLink
	case errors.Is(p.Notice, dataset.ErrNoSpace):
		return status.WaitingSpace
	default:
		return ""
	}
}
