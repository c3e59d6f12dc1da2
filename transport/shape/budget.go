// Package shape keeps what is sent within rate budgets: a job has one, whose
// parent is the host's, and both have to agree to every byte. Rates change
// while bytes are moving, which is also how time windows will come: whoever
// watches the clock calls SetRate. The package does not know what the bytes
// mean.
//
// What counts are the bytes given to TLS, repetitions included: Writer and
// Reader stand where frames go into a lane's body, because that is the last
// place which still knows the job; HTTP and TLS add less than 1 % below it.
package shape

import (
	"context"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// MaxSlice is the most bytes that one waiter takes in one turn.
const MaxSlice = 16 << 10

const (
	// burstTime is how long a sender that fell behind (a late timer, a slow
	// disk) may go faster to make up for it. It fills a queue of 10 ms at most.
	burstTime = 0.010
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

	mu      sync.Mutex // guards what follows
	rate    int64
	bucket  *rate.Limiter
	changed chan struct{} // closed and replaced by SetRate
}

// NewBudget returns an unlimited budget below parent, which may be nil.
func NewBudget(parent *Budget) *Budget {
	return &Budget{
		parent:  parent,
		turn:    make(chan struct{}, 1),
		bucket:  rate.NewLimiter(rate.Inf, MaxSlice),
		changed: make(chan struct{}),
	}
}

// SetRate changes the rate, also for those who wait now; 0 or less is
// unlimited.
func (b *Budget) SetRate(bytesPerSecond int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rate = max(0, bytesPerSecond)
	now := time.Now()
	limit := rate.Inf
	if b.rate > 0 {
		limit = rate.Limit(b.rate)
	}
	// The old rate is settled first: what it has not yet earned, it loses.
	b.bucket.SetLimitAt(now, limit)
	b.bucket.SetBurstAt(now, burst(b.rate))
	close(b.changed)
	b.changed = make(chan struct{})
}

// Rate returns bytes per second; 0 is unlimited.
func (b *Budget) Rate() int64 {
	if b == nil {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.rate
}

// Wait returns when n bytes may be sent. They are granted in slices that take
// turns with the other waiters'; a grant that ctx cuts short is lost. The
// error is that of ctx.
func (b *Budget) Wait(ctx context.Context, n int) error {
	if b == nil {
		return ctx.Err()
	}
	for n > 0 {
		k := min(n, b.slice())
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
	if err := b.take(ctx, n); err != nil {
		return err
	}
	return b.parent.Wait(ctx, n)
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
	n = min(n, b.sliceLocked())
	if b.bucket.AllowN(now, n) {
		return n, 0, b.changed
	}
	missing := float64(n) - b.bucket.TokensAt(now)
	wait = time.Duration(math.Ceil(missing / float64(b.rate) * float64(time.Second)))
	return 0, max(1, wait), b.changed
}

// slice is how much may be granted at once: the smallest of the budget and its
// parents, so that what a slow parent has let through does not go out in a lump.
func (b *Budget) slice() int {
	if b == nil {
		return MaxSlice
	}
	b.mu.Lock()
	own := b.sliceLocked()
	b.mu.Unlock()
	return min(own, b.parent.slice())
}

// sliceLocked is half the burst, so that a timer that fires late finds its
// tokens kept; the caller holds mu.
func (b *Budget) sliceLocked() int {
	if b.rate == 0 {
		return MaxSlice
	}
	return max(1, min(MaxSlice, burst(b.rate)/2))
}

// burst returns how many unused bytes a rate may keep for later.
func burst(bytesPerSecond int64) int {
	if bytesPerSecond == 0 {
		return MaxSlice
	}
	r := float64(bytesPerSecond)
	return int(max(1, r*burstTime, min(minBurstBytes, r*minBurstTime)))
}
