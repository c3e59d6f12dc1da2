package shape_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

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

// out is what went out, and when.
type out struct {
	at []time.Time
	n  []int
}

func (o *out) add(n int) { o.at, o.n = append(o.at, time.Now()), append(o.n, n) }

// most is what the fullest window of so long holds.
func (o *out) most(window time.Duration) (most int) {
	sum, first := 0, 0
	for i, at := range o.at {
		sum += o.n[i]
		for at.Sub(o.at[first]) >= window {
			sum -= o.n[first]
			first++
		}
		most = max(most, sum)
	}
	return most
}

// However long there was nothing to send, however late a sender wakes, and however
// often the same rate is set again: what is made up for fits into any ten seconds.
func TestNoTenSecondsHoldMore(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		r := rapid.SampledFrom([]int64{1000, 100_000, 10_000_000, gbit}).Draw(rt, "rate")
		isBelow := rapid.Bool().Draw(rt, "below a host of the same rate")
		pauses := rapid.SliceOfN(rapid.IntRange(0, 3000), 4, 12).Draw(rt, "pauses, in ms")
		runs := rapid.SliceOfN(rapid.IntRange(100, 8000), len(pauses), len(pauses)).Draw(rt, "runs, in ms")
		isSetAgain := rapid.Bool().Draw(rt, "the rate is set again in each pause")
		synctest.Test(t, func(t *testing.T) {
			host := shape.NewBudget(nil)
			host.SetRate(r)
			b := host
			if isBelow {
				b = shape.NewBudget(host)
				b.SetRate(r)
			}
			sent := &out{}
			for i, pause := range pauses {
				for began := time.Now(); time.Since(began) < time.Duration(runs[i])*time.Millisecond; {
					n := b.Piece(1 << 20)
					if err := b.Wait(t.Context(), n); err != nil {
						rt.Fatal(err)
					}
					sent.add(n)
				}
				wait(t, time.Duration(pause)*time.Millisecond)
				if isSetAgain {
					b.SetRate(r)
				}
			}
			if got, most := sent.most(10*time.Second), int(float64(r)*10*1.03); got > most {
				rt.Fatalf("in ten seconds: got %d bytes, want at most %d", got, most)
			}
		})
	})
}

// A rate that begins has nothing to make up for: it is kept from its first second.
func TestRateBeginsWithoutArrears(t *testing.T) {
	for _, before := range []int64{0, 1000} {
		synctest.Test(t, func(t *testing.T) {
			const r = 500_000
			b := shape.NewBudget(nil)
			b.SetRate(before)
			wait(t, time.Minute)
			b.SetRate(r)
			total, n := 0, b.Piece(1<<20)
			for began := time.Now(); time.Since(began) < time.Second; total += n {
				if err := b.Wait(t.Context(), n); err != nil {
					t.Fatal(err)
				}
			}
			if most := r + r/100 + n; total > most {
				t.Errorf("in the first second after %d bytes per second: got %d bytes, want at most %d", before, total, most)
			}
		})
	}
}
