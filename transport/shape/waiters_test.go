package shape_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"antipode/transport/shape"
)

// lumps remembers how much went out at each instant.
type lumps struct {
	mu sync.Mutex
	at map[time.Time]int
}

func (l *lumps) add(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.at[time.Now()] += n
}

// A lane waits for a piece, then sends it. However many there are, no queue gets
// more at once than the burst.
func TestPiecesDoNotGoOutTogether(t *testing.T) {
	for _, tt := range []struct {
		name string
		rate int64
		most int // at one instant
	}{
		{"80 Mbit/s", 10_000_000, 100_000},
		{"2 Mbit/s", 250_000, 2800},
		{"8 kbit/s", 1000, 200},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				host := shape.NewBudget(nil)
				host.SetRate(tt.rate)
				out := &lumps{at: map[time.Time]int{}}
				var wg sync.WaitGroup
				for range 2 {
					transfer := shape.NewBudget(shape.NewBudget(host))
					for range 8 {
						wg.Go(func() {
							for n := transfer.Piece(1 << 20); transfer.Wait(ctx, n) == nil; {
								out.add(n)
							}
						})
					}
				}
				wg.Wait()
				total := 0
				for at, n := range out.at {
					total += n
					if n > tt.most {
						t.Errorf("%v: got %d bytes at once, want at most %d", at, n, tt.most)
					}
				}
				within(t, "all", int64(total), float64(tt.rate)*10, 0.03)
			})
		})
	}
}

// A lane asks for pieces of its own budget's size; beside large ones they must not
// be a small share.
func TestSmallPiecesAreNoSmallShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		host := shape.NewBudget(nil)
		host.SetRate(2_000_000)
		var wg sync.WaitGroup
		var got [2]atomic.Int64
		for i, r := range []int64{500_000, 0} {
			job := shape.NewBudget(host)
			job.SetRate(r)
			wg.Go(func() {
				for n := job.Piece(1 << 20); job.Wait(ctx, n) == nil; {
					got[i].Add(int64(n))
				}
			})
		}
		wg.Wait()
		within(t, "the limited job", got[0].Load(), 5_000_000, 0.03)
		within(t, "the other", got[1].Load(), 15_000_000, 0.03)
	})
}

// A machine that wakes its timers late must not lose rate, and must not pour out
// what it missed.
func TestWhoIsLateCatchesUpSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const r = 10_000_000
		b := shape.NewBudget(nil)
		b.SetRate(r)
		start, total := time.Now(), 0
		for i := 0; time.Since(start) < 10*time.Second; i++ {
			n := b.Piece(1 << 20)
			if err := b.Wait(t.Context(), n); err != nil {
				t.Fatal(err)
			}
			total += n
			if i%100 == 0 {
				wait(t, 40*time.Millisecond) // about every half second
				before, now := total, time.Now()
				for time.Since(now) < 50*time.Millisecond {
					if err := b.Wait(t.Context(), n); err != nil {
						t.Fatal(err)
					}
					total += n
				}
				if got := total - before; got > r/100+r/20*12/10+n {
					t.Errorf("in the 50 ms after a pause: got %d bytes, want the burst and a fifth more than the rate", got)
				}
			}
		}
		within(t, "with pauses", int64(total), r*time.Since(start).Seconds(), 0.03)
	})
}
