package wan

import (
	"math"
	"testing"
	"time"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// Packets offered as fast as they come leave at the rate, to the nanosecond.
func TestRateIsExact(t *testing.T) {
	const packet, n = 1500, 10_000
	l := newLine(Shape{Rate: Mbit(200), Delay: 100 * time.Millisecond, Queue: packet * n}, 1)
	var last time.Time
	for range n {
		due, ok := l.offer(start, packet)
		if !ok {
			t.Fatal("a packet was lost")
		}
		last = due
	}
	want := start.Add(100*time.Millisecond + time.Duration(float64(packet*n)/25e6*1e9))
	if d := last.Sub(want).Abs(); d > 10*time.Microsecond {
		t.Errorf("the last packet arrives at %s, want %s", last, want)
	}
	if got := l.count; got != (Count{Bytes: packet * n, Packets: n}) {
		t.Errorf("counted %+v", got)
	}
}

// A sender below the rate sees the delay and nothing else.
func TestDelayOfAnIdleLine(t *testing.T) {
	l := newLine(Shape{Rate: Mbit(200), Delay: 100 * time.Millisecond}, 1)
	for i := range 1000 {
		now := start.Add(time.Duration(i) * time.Millisecond)
		due, ok := l.offer(now, 1500)
		if want := now.Add(100*time.Millisecond + 60*time.Microsecond); !ok || !due.Equal(want) {
			t.Fatalf("packet %d arrives at %s, %v; want %s", i, due, ok, want)
		}
	}
}

// The queue takes what it holds and drops what comes on top of it.
func TestQueueIsBounded(t *testing.T) {
	l := newLine(Shape{Rate: 1500, Queue: 15_000}, 1)
	for i := range 20 {
		if _, ok := l.offer(start, 1500); ok != (i < 10) {
			t.Errorf("packet %d: passed %v", i, ok)
		}
	}
	if l.count.Dropped != 10 {
		t.Errorf("%d dropped, want 10", l.count.Dropped)
	}
	if _, ok := l.offer(start.Add(time.Second), 1500); !ok {
		t.Error("a second later there is room for one")
	}
}

func TestQueueIsOneRoundTripByDefault(t *testing.T) {
	if got := (Shape{Rate: Mbit(200), Delay: 100 * time.Millisecond}).queue(); got != 5_000_000 {
		t.Errorf("queue %d, want 5,000,000", got)
	}
}

func TestLossIsAsLikelyAsItSays(t *testing.T) {
	const n = 1_000_000
	for _, p := range []float64{0, 0.001, 0.01, 0.5, 1} {
		l := newLine(Shape{Loss: p}, 7)
		for range n {
			l.offer(start, 1500)
		}
		got := float64(l.count.Lost) / n
		if sigma := math.Sqrt(p * (1 - p) / n); math.Abs(got-p) > 5*sigma {
			t.Errorf("loss %g: %g were lost, which is more than 5 sigma (%g) off", p, got, sigma)
		}
	}
}

func TestSwitchAndChangesWhileItRuns(t *testing.T) {
	l := newLine(Shape{Delay: time.Second}, 1)
	first, _ := l.offer(start, 100)
	l.shape.Down = true
	if _, ok := l.offer(start, 100); ok || l.count.Cut != 1 {
		t.Errorf("passed %v while the link was down; counted %+v", ok, l.count)
	}
	l.shape.Down, l.shape.Delay = false, 0
	due, ok := l.offer(start, 100)
	if !ok || due.Before(first) {
		t.Errorf("a packet overtakes the one before it: %s, %s", due, first)
	}
}
