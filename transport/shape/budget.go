// Package shape keeps what is sent within rate budgets: a transfer has one, whose
// parent is its job's, whose parent is the host's, and all have to agree to every
// byte. Rates change while bytes are moving: whoever watches the clock, or the
// operator, calls SetRate. The package does not know what the bytes mean.
//
// What counts are the bytes given to TLS, repetitions included: a lane waits
// where frames go into its body, because that is the last place which still knows
// the job; HTTP and TLS add less than 1 % below it. Questions and answers are
// not counted.
package shape

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// MaxSlice is the most bytes that one waiter takes in one turn.
const MaxSlice = 128 << 10

const (
	// burstTime is how much goes out at once after a pause: it fills a queue of
	// 10 ms at most.
	burstTime = 0.010
	// A sender that fell behind by more (a busy machine wakes it late) makes up
	// for up to lateTime, by going faster by a fifth: what it sends then finds the
	// queue empty that it left, and ten seconds come out right within 2.5 %.
	lateTime = 0.250
	catchUp  = 1.2
	// Below 280 kB/s 10 ms are less than two packets, and slices would be
	// all header. The second bound keeps any ten seconds within 2 %.
	minBurstBytes = 2800
	minBurstTime  = 0.2
)

// Budget is a rate in bytes per second that all who wait on it share in turn,
// slice by slice. It is safe for concurrent use. A nil *Budget is unlimited.
type Budget struct {
	parent *Budget
	// turn is held by the one who is being served, while it waits for tokens
	// here and at the parent; the runtime serves the others first come, first
	// served. A budget so stands at its parent as one waiter, however many
	// wait on it: jobs share a host evenly, not lanes.
	turn chan struct{}
	// granted is what is left of the last turn at the parent, whose holder takes
	// the parent's piece: with small pieces of its own it would have a small share.
	// Whoever has the turn here may touch it.
	granted int

	rate atomic.Int64 // bytes per second; 0 is unlimited; written under mu

	mu      sync.Mutex    // guards what follows
	bucket  *rate.Limiter // what the rate has earned
	spout   *rate.Limiter // how fast it may be poured out
	changed chan struct{} // closed and replaced by SetRate
}

// NewBudget returns an unlimited budget below parent, which may be nil.
func NewBudget(parent *Budget) *Budget {
	return &Budget{
		parent:  parent,
		turn:    make(chan struct{}, 1),
		bucket:  rate.NewLimiter(rate.Inf, MaxSlice),
		spout:   rate.NewLimiter(rate.Inf, MaxSlice),
		changed: make(chan struct{}),
	}
}

// SetRate changes the rate, also for those who wait now; 0 or less is
// unlimited.
func (b *Budget) SetRate(bytesPerSecond int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	r := max(0, bytesPerSecond)
	was := b.rate.Swap(r)
	now := time.Now()
	earned, poured := rate.Inf, rate.Inf
	if r > 0 {
		earned, poured = rate.Limit(r), rate.Limit(float64(r)*catchUp)
	}
	if was == 0 && r > 0 {
		// Nobody has fallen behind a rate that begins: there is nothing to make up.
		b.bucket = rate.NewLimiter(earned, burst(r))
	}
	// The old rate is settled first: what it has not yet earned, it loses.
	b.bucket.SetLimitAt(now, earned)
	b.bucket.SetBurstAt(now, max(burst(r), int(float64(r)*lateTime)))
	b.spout.SetLimitAt(now, poured)
	b.spout.SetBurstAt(now, burst(r))
	close(b.changed)
	b.changed = make(chan struct{})
}

// Rate returns bytes per second; 0 is unlimited.
func (b *Budget) Rate() int64 {
	if b == nil {
		return 0
	}
	return b.rate.Load()
}

// isFree reports whether neither the budget nor one above it has a limit.
func (b *Budget) isFree() bool {
	return b == nil || b.rate.Load() == 0 && b.parent.isFree()
}

// Piece is how much of up to most bytes should be waited for, and go out, at once:
// at a low rate a large piece would be a burst of its own. It is the smallest of the
// budget's and its parents', and all that one turn takes.
func (b *Budget) Piece(most int) int {
	if b == nil {
		return most
	}
	if r := b.rate.Load(); r > 0 {
		most = min(most, ownSlice(r))
	}
	return b.parent.Piece(most)
}

// Wait returns when n bytes may be sent. They are granted in slices that take
// turns with the other waiters'; a grant that ctx cuts short is lost. The
// error is that of ctx.
func (b *Budget) Wait(ctx context.Context, n int) error {
	for n > 0 && !b.isFree() {
		k := b.Piece(min(n, MaxSlice))
		if err := b.waitSlice(ctx, k); err != nil {
			return err
		}
		n -= k
	}
	return ctx.Err()
}

func (b *Budget) waitSlice(ctx context.Context, n int) error {
	select {
	case b.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-b.turn }()
	if err := b.fetch(ctx, n); err != nil {
		return err
	}
	return b.take(ctx, n)
}

// fetch gets n bytes from the parent; the caller has the turn.
func (b *Budget) fetch(ctx context.Context, n int) error {
	piece := b.parent.Piece(MaxSlice)
	b.granted = min(b.granted, piece)
	for b.granted < n {
		if err := b.parent.Wait(ctx, piece); err != nil {
			return err
		}
		b.granted += piece
	}
	b.granted -= n
	return nil
}

// take waits for n tokens, which may take several looks if the rate changes;
// the caller has the turn.
func (b *Budget) take(ctx context.Context, n int) error {
	for n > 0 {
		k, wait, changed := b.try(n)
		n -= k
		if wait <= 0 {
			continue
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-changed:
		case <-ctx.Done():
		}
		t.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// try takes n tokens, or fewer if the burst has become smaller than n, or tells
// how long to wait before trying again.
func (b *Budget) try(n int) (taken int, wait time.Duration, changed <-chan struct{}) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	r := b.rate.Load()
	if r == 0 {
		return n, 0, b.changed
	}
	n = min(n, ownSlice(r))
	late := max(missing(b.bucket, now, n), missing(b.spout, now, n))
	if late <= 0 {
		b.bucket.AllowN(now, n)
		b.spout.AllowN(now, n)
		return n, 0, b.changed
	}
	return 0, max(1, time.Duration(math.Ceil(late*float64(time.Second)))), b.changed
}

// missing is how many seconds it takes until the limiter has n tokens.
func missing(l *rate.Limiter, now time.Time, n int) float64 {
	return (float64(n) - l.TokensAt(now)) / float64(l.Limit())
}

// ownSlice is half the burst, so that a timer that fires late finds its tokens
// kept.
func ownSlice(bytesPerSecond int64) int { return max(1, min(MaxSlice, burst(bytesPerSecond)/2)) }

// burst returns how many unused bytes a rate may let out at once.
func burst(bytesPerSecond int64) int {
	if bytesPerSecond == 0 {
		return MaxSlice
	}
	r := float64(bytesPerSecond)
	return int(max(1, r*burstTime, min(minBurstBytes, r*minBurstTime)))
}
