package prune

import "time"

// ClampAhead is how far a point's retention time may be ahead of the target's
// clock: the skew that is put up with between honest machines.
const ClampAhead = 5 * time.Minute

// ClampRetain is the time that retention counts a received point with
// (ARCHITECTURE decision 7): what the source declares, clamped to
// (newestRetain, now+ClampAhead]. newestRetain is that of the newest point the
// target holds, zero when it holds none; now is the target's clock.
//
// The result is strictly later than newestRetain, always. So a point received
// later is never first in a period that has a point already, and cannot
// displace it. Where both bounds cannot be met, because the target's clock was
// set back, the lower one wins by a nanosecond: Decide freezes until the clock
// has caught up, and order is what its rules stand on. Times before 1970 are
// taken for 1970, so that the result can be written everywhere.
func ClampRetain(declared, newestRetain, now time.Time) time.Time {
	t := declared
	if epoch := time.Unix(0, 0); t.Before(epoch) {
		t = epoch
	}
	if limit := now.Add(ClampAhead); t.After(limit) {
		t = limit
	}
	if !newestRetain.IsZero() && !t.After(newestRetain) {
		t = newestRetain.Add(time.Nanosecond)
	}
	return t.UTC()
}
