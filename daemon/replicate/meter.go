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
	wire    atomic.Int64 // what this try gave to TLS
	since   time.Time
	base    int64 // acked at since
	rate    float64
	over    time.Duration // what the rate is averaged over
	reread  status.Reread // while what the target has is read again
}

func newMeter(now time.Time, resumed int64) *meter {
	m := &meter{resumed: resumed, since: now, base: resumed}
	m.acked.Store(resumed)
	return m
}

// begin notes at which byte the stream begins; it is called before the first show.
func (m *meter) begin(now time.Time, at int64, line *status.Moving) {
	m.resumed, m.since, m.base, m.rate, m.over = at, now, at, 0, 0
	m.acked.Store(at)
	line.Bytes, line.Reread = at, nil
}

// again brings a line of the board up to date while the source reads again. It is
// called often, and looks at the time about once a second.
func (m *meter) again(now time.Time, done, of int64, line *status.Moving) {
	if done < m.reread.Done || of != m.reread.Of { // another reading: it went back
		m.reread, m.rate, m.over, m.since, m.base = status.Reread{Of: of}, 0, 0, now, done
	}
	m.reread.Done = done
	if passed := now.Sub(m.since); passed >= time.Second {
		m.average(passed, done-m.base)
		m.since, m.base = now, done
		m.reread.Rate = int64(m.rate)
	}
	m.reread.ETA = 0
	if m.rate > 1 {
		m.reread.ETA = time.Duration(float64(of-done) / m.rate * float64(time.Second))
	}
	shown := m.reread
	line.Reread = &shown
}

// average takes what moved in a while into the rate.
func (m *meter) average(passed time.Duration, bytes int64) {
	m.over = min(m.over+passed, rateOver) // a plain mean until there is enough to average over
	m.rate += min(passed.Seconds()/m.over.Seconds(), 1) * (float64(bytes)/passed.Seconds() - m.rate)
}

// bytes is what this try has moved.
func (m *meter) bytes() int64 { return m.acked.Load() - m.resumed }

// show brings a line of the board up to date.
func (m *meter) show(now time.Time, p client.Progress, line *status.Moving) {
	m.acked.Store(m.resumed + p.Acked)
	m.wire.Store(p.Wire)
	if m.rate == 0 && m.acked.Load() == m.base {
		m.since = now // the time until the first byte is not the link's
	}
	if passed := now.Sub(m.since); passed >= time.Second {
		m.average(passed, m.acked.Load()-m.base)
		m.since, m.base = now, m.acked.Load()
	}
	line.Bytes, line.Rate, line.Lanes = m.acked.Load(), int64(m.rate), p.Lanes
	line.Wire, line.Packing = p.Wire, p.Packing
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
