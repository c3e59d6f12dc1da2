package cli

import (
	"context"
	"fmt"
	"sync"
	"time"

	"antipode/fsdrivers/zfs/naming"
)

// stallTick is how long a send or receive may stand still before its pool is looked at.
const stallTick = 30 * time.Second

// Watch ends ctx when its pool is suspended while nothing moves: a send or receive waits
// there for ever, and nothing else tells it apart from one with a slow other side, or with
// much to read and little to send. moved is another number whenever anything went on. stop
// waits for the watch to end.
func (t *Tool) Watch(ctx context.Context, on string, moved func() int64) (watched context.Context, stop func()) {
	watched, cancel := context.WithCancelCause(ctx)
	pool := naming.PoolOf(on)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(min(stallTick, t.giveUp))
		defer tick.Stop()
		for last := int64(-1); ; {
			select {
			case <-watched.Done():
				return
			case <-tick.C:
			}
			now := moved()
			if now == last && t.isSuspended(watched, pool) && moved() == last {
				cancel(fmt.Errorf("pool %s: %w; %s", pool, errSuspended, cureSuspended))
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

// isSuspended waits until the pool says whether it is: one that does not answer is not known
// to be. It is asked also while a child hangs there, which is when it matters.
func (t *Tool) isSuspended(ctx context.Context, name string) bool {
	pool, err := t.look(ctx, name)
	return err == nil && pool.Health == suspended
}

const suspended = "SUSPENDED"
