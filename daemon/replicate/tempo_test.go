package replicate

import (
	"testing"
	"time"
)

// settle feeds steps that take what a world says for so many at once, and returns
// where the number ends and the highest that it came to.
func settle(t *tempo, steps int, takes func(atOnce int) time.Duration) (end, top int) {
	for range steps {
		t.step(takes(t.limit))
		top = max(top, t.limit)
	}
	return t.kept, top
}

func TestTempoFindsWhatIsWorthIt(t *testing.T) {
	const rtt = 200 * time.Millisecond
	machine := func(cores int, each time.Duration) func(int) time.Duration {
		return func(n int) time.Duration { return max(rtt, time.Duration(n)*each/time.Duration(cores)) }
	}
	for name, tc := range map[string]struct {
		takes     func(int) time.Duration
		low, high int
	}{
		"only the link takes time":         {func(int) time.Duration { return rtt }, tempoMost, tempoMost},
		"a machine that does 100 a second": {machine(1, 10*time.Millisecond), 16, 32},
		"a machine that does 20 a second":  {machine(1, 50*time.Millisecond), tempoFirst, tempoFirst},
		"no link to speak of":              {func(n int) time.Duration { return time.Duration(n) * 5 * time.Millisecond }, tempoFirst, tempoFirst},
	} {
		t.Run(name, func(t *testing.T) {
			tempo := newTempo()
			if end, _ := settle(&tempo, 20_000, tc.takes); end < tc.low || end > tc.high {
				t.Errorf("settled at %d, want %d to %d", end, tc.low, tc.high)
			}
		})
	}
}

func TestTempoFollowsAWayThatChanges(t *testing.T) {
	tempo := newTempo()
	fast := func(int) time.Duration { return 200 * time.Millisecond }
	slow := func(n int) time.Duration { return time.Duration(n) * 50 * time.Millisecond }
	if end, _ := settle(&tempo, 1000, fast); end != tempoMost {
		t.Fatalf("settled at %d, want %d", end, tempoMost)
	}
	if end, _ := settle(&tempo, 200_000, slow); end > 2*tempoFirst {
		t.Errorf("on a machine that became slow it stays at %d, want about %d", end, tempoFirst)
	}
	if end, _ := settle(&tempo, 200_000, fast); end != tempoMost {
		t.Errorf("on a fast one again it stays at %d, want %d", end, tempoMost)
	}
}

// Five hundred steps must not be over before the number has grown.
func TestTempoGrowsFast(t *testing.T) {
	tempo := newTempo()
	if _, top := settle(&tempo, 8+16+32+64, func(int) time.Duration { return 200 * time.Millisecond }); top != tempoMost {
		t.Errorf("after 120 steps %d at once, want %d", top, tempoMost)
	}
}
