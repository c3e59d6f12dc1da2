package replicate

import "time"

const (
	// tempoFirst and tempoMost bound how many small steps run at once. The most
	// is what a target takes of one peer, and what keeps buffers and children
	// few.
	tempoFirst = 8
	tempoMost  = 128
	// smallStep is below what a step counts: a larger one takes long for its size.
	smallStep = 256 << 10
	// tempoGain is how much more has to get done for more at once to be worth it.
	tempoGain = 1.15
	// tempoRest is how many rounds of steps pass before more is tried again.
	tempoRest = 16
)

// tempo finds out how many small steps to run at once. What they wait for on a long
// link is the round trip, and twice as many bring twice as much; what they wait for
// on a busy machine is each other, and more bring nothing. So the number doubles as
// long as that gets more done, and goes back to where it last did. From time to time
// half as many are tried, and then twice as many: the way may have changed.
//
//	growing -> resting             twice as many brought no more
//	resting -> shrinking           a while has passed
//	shrinking -> shrinking         half as many got as much done
//	shrinking -> growing           they did not
//
// It is pure: the time that steps took comes in, the number goes out.
type tempo struct {
	limit int
	phase phase
	ended int           // steps since the limit changed
	spent time.Duration // by them
	best  float64       // steps per second at the limit that is kept
	kept  int           // that limit; 0: none was measured
	rest  int           // rounds of steps until the next trial
}

type phase uint8

const (
	growing phase = iota
	resting
	shrinking
)

func newTempo() tempo { return tempo{limit: tempoFirst} }

// step notes how long a step took that ran beside as many others as may.
func (t *tempo) step(took time.Duration) {
	t.ended++
	t.spent += max(took, time.Millisecond)
	if t.ended < t.limit {
		return
	}
	// So many run at once, each for so long on average.
	rate := float64(t.limit) * float64(t.ended) / t.spent.Seconds()
	t.ended, t.spent = 0, 0
	switch t.phase {
	case growing:
		if t.kept > 0 && rate < tempoGain*t.best {
			t.settle()
			return
		}
		t.best, t.kept = rate, t.limit
		t.grow()
	case resting:
		t.best += (rate - t.best) / 4
		if t.rest--; t.rest > 0 {
			return
		}
		t.shrink()
	case shrinking:
		if tempoGain*rate < t.best {
			t.grow()
			return
		}
		t.best, t.kept = rate, t.limit
		t.shrink()
	}
}

func (t *tempo) grow() {
	if t.kept >= tempoMost {
		t.settle()
		return
	}
	t.phase, t.limit = growing, min(2*t.kept, tempoMost)
}

func (t *tempo) shrink() {
	switch {
	case t.kept > tempoFirst:
		t.phase, t.limit = shrinking, t.kept/2
	case t.phase == resting:
		t.grow()
	default:
		t.settle()
	}
}

func (t *tempo) settle() { t.phase, t.limit, t.rest = resting, t.kept, tempoRest }
