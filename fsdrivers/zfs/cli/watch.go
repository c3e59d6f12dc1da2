package cli

import (
	"context"
	"sync"
	"time"

	"antipode/fsdrivers/zfs/naming"
)

// stallTick is how long a receive may take nothing in before its pool is looked at.
const stallTick = 30 * time.Second

// Watch ends ctx when its pool is suspended while nothing moves: a receive waits
// there for ever, and nothing tells it apart from one with a slow source. stop
// waits for the watch to end.
func (t *Tool) Watch(ctx context.Context, on string, moved func() int64) (watched context.Context, stop func()) {
	watched, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(stallTick)
		defer tick.Stop()
		for last := int64(-1); ; {
			select {
			case <-watched.Done():
				return
			case <-tick.C:
			}
			now := moved()
			if now == last && t.isSuspended(watched, on) {
				cancel(errSuspended)
				return
			}
			last = now
		}
	})
	return watched, func() {
		cancel(context.Canceled)
		wg.Wait()
	}
}

// isSuspended reports whether the pool says so. One that does not answer is not
// known to be.
func (t *Tool) isSuspended(ctx context.Context, on string) bool {
	pool, err := t.pool(ctx, naming.PoolOf(on))
	return err == nil && pool.Health == suspended
}

const suspended = "SUSPENDED"
