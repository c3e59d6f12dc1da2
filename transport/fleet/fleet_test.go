package fleet

import (
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const tick = 200 * time.Millisecond

// path is a model of what lanes get: each at most its own rate, all together at
// most the path's.
type path struct {
	capacity  float64 // bytes per second
	each      float64
	rtt       time.Duration
	lossBound bool // what keeps a lane slow is loss
	source    float64
	noise     float64
	unknown   bool // the kernel does not tell
}

// world runs a pilot on a path.
type world struct {
	path
	pilot  *Pilot
	chance *rand.Rand
	s      Sample
	until  [64]time.Time // when each lane is connected
	most   int
	moved  float64
}

func newWorld(p path, start int, seed uint64) *world {
	return &world{path: p, pilot: New(start, 2), chance: rand.New(rand.NewPCG(seed, 1)), s: Sample{Now: time.Unix(0, 0), Bound: 64}}
}

func (w *world) goodput() float64 {
	return min(float64(w.s.Open)*w.each, w.capacity, w.source)
}

func (w *world) run(t interface{ Fatalf(string, ...any) }, d time.Duration) {
	for end := w.s.Now.Add(d); w.s.Now.Before(end); {
		w.s.Now = w.s.Now.Add(tick)
		want := w.pilot.Decide(w.s)
		if want < 1 || want > w.s.Bound {
			t.Fatalf("wants %d lanes of %d", want, w.s.Bound)
		}
		w.most = max(w.most, want)
		w.connect(want)
		rate := w.goodput() * (1 + w.noise*(2*w.chance.Float64()-1))
		w.moved += rate * tick.Seconds()
		w.s.Acked = int64(w.moved)
		w.s.Hungry = w.goodput() < w.source
		isFull := float64(w.s.Open)*w.each > w.capacity
		if !w.unknown {
			w.s.MinRTT, w.s.RTT, w.s.LossBound = w.rtt, w.rtt, w.lossBound
			if isFull {
				w.s.RTT = w.rtt * 3 / 2
			}
		}
	}
}

// connect lets a new lane take three round trips, and an old one go at once.
func (w *world) connect(want int) {
	for n := want; n < len(w.until); n++ {
		w.until[n] = time.Time{}
	}
	w.s.Open = 0
	for n := range want {
		if w.until[n].IsZero() {
			w.until[n] = w.s.Now.Add(3 * w.rtt)
		}
		if !w.s.Now.Before(w.until[n]) {
			w.s.Open++
		}
	}
}

const mb = 1e6

// A path of 200 Mbit/s and 200 ms with random loss, where a lane of CUBIC moves
// 4 Mbit/s: nearly all lanes are there before 5 s have passed.
func TestLossBoundLanesAreManySoon(t *testing.T) {
	w := newWorld(path{capacity: 25 * mb, each: 0.5 * mb, rtt: 200 * time.Millisecond, lossBound: true, source: 1e12, noise: 0.1}, 4, 1)
	w.run(t, 4*time.Second)
	if w.s.Open < 48 {
		t.Errorf("%d lanes after 4 s, want at least the 48 that fill the path", w.s.Open)
	}
	before := w.moved
	w.run(t, 2*time.Minute)
	if share := (w.moved - before) / 120 / w.capacity; share < 0.9 {
		t.Errorf("goodput is %.2f of the path, want at least 0.9", share)
	}
}

func TestPathsThatFewLanesFill(t *testing.T) {
	for name, p := range map[string]path{
		"BBR":                   {capacity: 25 * mb, each: 25 * mb, rtt: 200 * time.Millisecond, source: 1e12, noise: 0.05},
		"nothing known":         {capacity: 25 * mb, each: 25 * mb, rtt: 200 * time.Millisecond, source: 1e12, noise: 0.05, unknown: true},
		"one machine":           {capacity: 800 * mb, each: 800 * mb, source: 1e12, noise: 0.1},
		"losses of a full path": {capacity: 25 * mb, each: 20 * mb, rtt: 100 * time.Millisecond, lossBound: true, source: 1e12, noise: 0.05},
		"slow source":           {capacity: 25 * mb, each: 0.5 * mb, rtt: 200 * time.Millisecond, lossBound: true, source: 0.9 * mb, noise: 0.1},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(p, 2, 1)
			w.run(t, 10*time.Minute)
			if w.most > 8 {
				t.Errorf("it once wanted %d lanes, where 2 do", w.most)
			}
			if got := w.moved / 600 / min(p.capacity, p.source); got < 0.97 {
				t.Errorf("goodput is %.2f of what there is", got)
			}
		})
	}
}

// Whatever lanes move, the number finds its place: most of what the path and the
// bound allow is used, and what brings nothing is given up.
func TestNumberFindsItsPlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := path{
			capacity: 25 * mb, source: 1e12,
			each:      25 * mb / float64(rapid.IntRange(1, 60).Draw(t, "lanes that fill it")),
			rtt:       time.Duration(rapid.IntRange(1, 300).Draw(t, "rtt")) * time.Millisecond,
			lossBound: rapid.Bool().Draw(t, "loss bound"), unknown: rapid.Bool().Draw(t, "unknown"),
			noise: rapid.Float64Range(0, 0.1).Draw(t, "noise"),
		}
		w := newWorld(p, rapid.IntRange(1, 8).Draw(t, "start"), rapid.Uint64().Draw(t, "seed"))
		w.run(t, 15*time.Minute)
		before := w.moved
		w.run(t, 15*time.Minute)
		if share := (w.moved - before) / 900 / p.capacity; share < 0.85 {
			t.Fatalf("goodput is %.2f of the path with %d lanes", share, w.s.Open)
		}
		if need := p.capacity / p.each; float64(w.s.Open) > 2*need+6 {
			t.Fatalf("%d lanes, where %.0f would fill the path", w.s.Open, need)
		}
	})
}

// A queue that is too short to be seen looks like loss by chance: the number runs up
// to the bound. It comes down again, whatever noise makes of single trials.
func TestQueueThatIsNotSeen(t *testing.T) {
	for name, tc := range map[string]struct {
		need int
		seed uint64
	}{
		"no rush cuts a trial of fewer off":       {1, 0},
		"a lost trial of fewer is made again":     {1, 7},
		"one lucky trial of more is not believed": {6, 653},
	} {
		t.Run(name, func(t *testing.T) {
			p := path{capacity: 25 * mb, source: 1e12, rtt: 20 * time.Millisecond, lossBound: true, noise: 0.1}
			p.each = p.capacity / float64(tc.need)
			w := newWorld(p, 1, tc.seed)
			w.run(t, 30*time.Minute)
			if w.most < 64 {
				t.Errorf("never more than %d lanes: the queue was seen", w.most)
			}
			if w.s.Open > 2*tc.need+6 {
				t.Errorf("%d lanes, where %d would fill the path", w.s.Open, tc.need)
			}
		})
	}
}

// A bound that falls, as it does when other transfers begin, holds at once.
func TestBoundHoldsAtOnce(t *testing.T) {
	w := newWorld(path{capacity: 25 * mb, each: 0.5 * mb, rtt: 200 * time.Millisecond, lossBound: true, source: 1e12}, 4, 1)
	w.run(t, 10*time.Second)
	for _, bound := range []int{16, 3, 1, 0} {
		w.s.Bound = bound
		if got := w.pilot.Decide(w.s); got != max(bound, 1) {
			t.Errorf("wants %d lanes of %d", got, bound)
		}
	}
	w.s.Bound = 64
	w.run(t, 20*time.Second)
	if w.s.Open < 32 {
		t.Errorf("%d lanes after the bound has risen again", w.s.Open)
	}
}

// Lanes that are the least are kept, whether they bring anything or not.
func TestLeastIsKept(t *testing.T) {
	w := newWorld(path{capacity: 25 * mb, each: 25 * mb, rtt: 200 * time.Millisecond, source: 1e12, noise: 0.05}, 2, 1)
	w.pilot = New(2, 6)
	for range 100 {
		w.run(t, 6*time.Second)
		if got := w.pilot.Decide(w.s); got < 6 {
			t.Fatalf("wants %d lanes, and 6 are the least", got)
		}
	}
	w.s.Bound = 3
	if got := w.pilot.Decide(w.s); got != 3 {
		t.Errorf("wants %d lanes of 3", got)
	}
}
