package shape_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"antipode/transport/shape"
)

const gbit = 1_000_000_000 / 8

// pump waits for pieces of n bytes until ctx ends and counts what was granted.
func pump(ctx context.Context, wg *sync.WaitGroup, b *shape.Budget, n int) *atomic.Int64 {
	granted := new(atomic.Int64)
	wg.Go(func() {
		for b.Wait(ctx, n) == nil {
			granted.Add(int64(n))
		}
	})
	return granted
}

func within(t *testing.T, what string, got int64, want, tolerance float64) {
	t.Helper()
	if off := math.Abs(float64(got)-want) / want; off > tolerance {
		t.Errorf("%s: got %d bytes, want %.0f within %.1f %%, is %.2f %% off", what, got, want, tolerance*100, off*100)
	}
}

func TestRateHoldsOverTenSeconds(t *testing.T) {
	tests := []struct {
		name    string
		rate    int64 // bytes per second
		piece   int
		waiters int
	}{
		{"1 kB/s, one byte at a time", 1000, 1, 1},
		{"1 kB/s, 50 bytes, three waiters", 1000, 50, 3},
		{"64 kB/s, packets", 64_000, 1400, 2},
		{"280 kB/s, where 10 ms are two packets", 280_000, 1000, 1},
		{"200 Mbit/s, copies of 32 KiB, eight lanes", gbit / 5, 32 << 10, 8},
		{"10 Gbit/s, chunks", 10 * gbit, 1 << 20, 4},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				b := shape.NewBudget(nil)
				b.SetRate(tt.rate)
				var wg sync.WaitGroup
				var total int64
				var counts []*atomic.Int64
				for range tt.waiters {
					counts = append(counts, pump(ctx, &wg, b, tt.piece))
				}
				wg.Wait()
				least, most := int64(math.MaxInt64), int64(0)
				for _, c := range counts {
					total += c.Load()
					least, most = min(least, c.Load()), max(most, c.Load())
				}
				// Whoever came first had the burst.
				if apart := max(tt.rate/100, min(2800, tt.rate/5)) + int64(2*tt.piece); most-least > apart {
					t.Errorf("shares: got %d to %d bytes, want them at most %d apart", least, most, apart)
				}
				within(t, "all waiters", total, float64(tt.rate)*10, 0.03)
			})
		})
	}
}

// Whatever the past, no window holds more than its rate and the burst.
func TestBurstIsBounded(t *testing.T) {
	tests := []struct {
		name string
		rate int64
		max  float64 // bytes at once after an idle minute
	}{
		{"1 kB/s", 1000, 200},
		{"100 kB/s: two packets", 100_000, 2800},
		{"8 Mbit/s: 10 ms", 1_000_000, 10_000},
		{"10 Gbit/s: 10 ms", 10 * gbit, 12_500_000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := shape.NewBudget(nil)
				b.SetRate(tt.rate)
				wait(t, time.Minute)
				ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
				defer cancel()
				var got float64
				step := max(1, int(tt.max)/200)
				for start := time.Now(); b.Wait(ctx, step) == nil && time.Since(start) == 0; {
					got += float64(step)
				}
				if got > tt.max || got < tt.max*0.9 {
					t.Errorf("went out at once: got %.0f bytes, want at most %.0f and not much less", got, tt.max)
				}
			})
		})
	}
}

func wait(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal("test ended while waiting")
	}
}

func TestChangeReachesThoseWhoWait(t *testing.T) {
	tests := []struct {
		name          string
		before, after int64
		want          time.Duration // from the change on, for what is left of 10,000 bytes
	}{
		{"faster", 10, 1000, 9990 * time.Millisecond},
		{"slower", 100, 10, 900 * time.Second},
		{"unlimited", 10, 0, 0},
		{"the same", 100, 100, 90 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := shape.NewBudget(nil)
				b.SetRate(tt.before)
				done := make(chan time.Time, 1)
				go func() {
					if err := b.Wait(t.Context(), 10_000); err != nil {
						t.Errorf("Wait: %v", err)
					}
					done <- time.Now()
				}()
				wait(t, 10*time.Second)
				changed := time.Now()
				b.SetRate(tt.after)
				got := (<-done).Sub(changed)
				// Left over: 10,000 less ten seconds at the old rate and its burst.
				left := 10_000 - 10*float64(tt.before) - float64(tt.before)*0.2
				want := time.Duration(0)
				if tt.after > 0 {
					want = time.Duration(left / float64(tt.after) * float64(time.Second))
				}
				if d := (got - want).Abs(); d > want/50+time.Millisecond {
					t.Errorf("after the change: got %v, want %v", got, want)
				}
			})
		})
	}
}

func TestJobAndHostBothAgree(t *testing.T) {
	tests := []struct {
		name string
		host int64
		jobs []int64 // rate of each job
		// lanes of each job; they must not weigh
		lanes []int
		want  []float64 // bytes per second of each job
	}{
		{"the job is slower", 1_000_000, []int64{100_000}, []int{1}, []float64{100_000}},
		{"the host is slower", 100_000, []int64{1_000_000}, []int{4}, []float64{100_000}},
		{"jobs share evenly, not lanes", 200_000, []int64{0, 0}, []int{9, 1}, []float64{100_000, 100_000}},
		{"what one does not use the other gets", 200_000, []int64{50_000, 0}, []int{2, 2}, []float64{50_000, 150_000}},
		{"small pieces are no small share", 2_000_000, []int64{500_000, 0}, []int{1, 1}, []float64{500_000, 1_500_000}},
		{"three of them", 3_000_000, []int64{100_000, 1_500_000, 0}, []int{2, 1, 8}, []float64{100_000, 1_450_000, 1_450_000}},
		{"an unlimited host", 0, []int64{70_000, 30_000}, []int{1, 3}, []float64{70_000, 30_000}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				host := shape.NewBudget(nil)
				host.SetRate(tt.host)
				var wg sync.WaitGroup
				counts := make([][]*atomic.Int64, len(tt.jobs))
				for i, r := range tt.jobs {
					job := shape.NewBudget(host)
					job.SetRate(r)
					for range tt.lanes[i] {
						counts[i] = append(counts[i], pump(ctx, &wg, job, 1000))
					}
				}
				wg.Wait()
				for i, lanes := range counts {
					var got int64
					for _, c := range lanes {
						got += c.Load()
					}
					within(t, fmt.Sprintf("job %d", i), got, tt.want[i]*10, 0.04)
				}
			})
		})
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		host := shape.NewBudget(nil)
		host.SetRate(1)
		job := shape.NewBudget(host)
		first, stop := context.WithCancel(t.Context())
		errs := make(chan error, 2)
		go func() { errs <- job.Wait(first, 1000) }() // has the turn, waits at the host
		synctest.Wait()
		second, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() { errs <- job.Wait(second, 1000) }() // waits for the turn
		if err := <-errs; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("behind another: got %v, want deadline exceeded", err)
		}
		stop()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("at the host: got %v, want canceled", err)
		}
		host.SetRate(0)
		if err := job.Wait(t.Context(), 1<<20); err != nil {
			t.Errorf("after both gave up: got %v, want the turn to be free", err)
		}
		if err := job.Wait(first, 0); !errors.Is(err, context.Canceled) {
			t.Errorf("nothing to wait for, ended context: got %v, want canceled", err)
		}
	})
}

func TestNoBudgetIsNoLimit(t *testing.T) {
	var none *shape.Budget
	if err := none.Wait(t.Context(), 1<<30); err != nil {
		t.Errorf("Wait: got %v, want nil", err)
	}
	if got := none.Piece(1 << 20); got != 1<<20 {
		t.Errorf("Piece: got %d, want all", got)
	}
	for _, tt := range []struct{ set, want int64 }{{5, 5}, {0, 0}, {-7, 0}} {
		b := shape.NewBudget(nil)
		b.SetRate(tt.set)
		if got := b.Rate(); got != tt.want {
			t.Errorf("Rate after SetRate(%d): got %d, want %d", tt.set, got, tt.want)
		}
	}
	if got := none.Rate(); got != 0 {
		t.Errorf("Rate of no budget: got %d, want 0", got)
	}
}
