package squeeze

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// path is a world to choose in: what a link carries, what the source gives, how
// much there is to pack, and with how many processors.
type path struct {
	link, source float64 // bytes per second
	ratio        float64 // at Fast; each level above makes it a little smaller
	cores, busy  float64 // processors, and those that others use
}

// speed is how much one processor packs, by level.
func (p path) speed() [levels]float64 {
	return [levels]float64{Fast: 300e6, Normal: 150e6, Thorough: 50e6}
}

func (p path) ratioAt(l Level) float64 {
	if p.ratio >= WorthIt || l == Off {
		return 1
	}
	r := p.ratio
	for range l - Fast {
		r *= 0.96
	}
	return r
}

// at is what can be measured at a level, and the speed of the stream.
func (p path) at(l Level) Reading {
	free := max(0, p.cores-p.busy)
	raw := min(p.source, p.link/p.ratioAt(l))
	if l > Off && p.ratio < WorthIt {
		raw = min(raw, free*p.speed()[l])
		free -= raw / p.speed()[l]
	}
	r := Reading{Raw: raw, Wire: raw * p.ratioAt(l), Ratio: p.ratioAt(l), Idle: free, Lanes: 8, Speed: p.speed()}
	if l == Off {
		r.Ratio = p.ratio
	}
	if r.Link = 0.3 * r.Wire / p.link; r.Wire >= p.link*0.999 {
		r.Link = 0.95
	}
	return r
}

// settled is the level after two minutes on one path.
func settled(s State, p path) State {
	for range 120 {
		s = s.Next(p.at(s.Level))
	}
	return s
}

func TestChoice(t *testing.T) {
	for _, tt := range []struct {
		name string
		path path
		want Level
	}{
		{"one machine, no limit: the source is the bound", path{link: 4e9, source: 150e6, ratio: 0.5, cores: 2, busy: 1.3}, Off},
		{"one machine, no limit: the processors are the bound", path{link: 150e6, source: 400e6, ratio: 0.5, cores: 2, busy: 2}, Off},
		{"20 Mbit/s, idle processors", path{link: 2.5e6, source: 400e6, ratio: 0.4, cores: 2, busy: 0.1}, Thorough},
		{"200 Mbit/s, two processors", path{link: 25e6, source: 400e6, ratio: 0.4, cores: 2, busy: 0.3}, Normal},
		{"1 Gbit/s, two processors", path{link: 125e6, source: 400e6, ratio: 0.5, cores: 2, busy: 0.6}, Fast},
		{"10 Gbit/s, two processors", path{link: 1.25e9, source: 2e9, ratio: 0.5, cores: 2, busy: 1}, Off},
		{"films on a slow link", path{link: 2.5e6, source: 400e6, ratio: 0.99, cores: 8}, Off},
		{"a slow source is faster than the link, and packed not", path{link: 25e6, source: 40e6, ratio: 0.5, cores: 4}, Fast},
		{"a busy machine on a slow link", path{link: 2.5e6, source: 400e6, ratio: 0.4, cores: 2, busy: 1.99}, Off},
	} {
		if got := settled(State{}, tt.path); got.Level != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got.Level, tt.want)
		}
	}
}

func TestChoiceFollowsThePath(t *testing.T) {
	slow := path{link: 25e6, source: 400e6, ratio: 0.4, cores: 2, busy: 0.3}
	fast, films, busy := slow, slow, slow
	fast.link, films.ratio, busy.busy = 1e9, 0.99, 1.6
	s := settled(State{}, slow)
	for _, next := range []struct {
		name string
		path path
		want Level
	}{
		{"the link is not the bound any more", fast, Off}, {"and again", slow, Normal}, {"the machine is busy", busy, Fast}, {"and idle", slow, Normal},
	} {
		if s = settled(s, next.path); s.Level != next.want {
			t.Errorf("%s: got %s, want %s", next.name, s.Level, next.want)
		}
	}
}

// Wherever it settles, the stream is hardly slower than at Off, nor much slower than
// at the best level; and where packing brings nothing there is none.
func TestChoiceCostsNoSpeed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := path{
			link: rapid.Float64Range(1e6, 2e9).Draw(t, "link"), source: rapid.Float64Range(1e6, 1e9).Draw(t, "source"),
			ratio: rapid.Float64Range(0.05, 1).Draw(t, "ratio"), cores: rapid.Float64Range(1, 16).Draw(t, "cores"),
		}
		p.busy = rapid.Float64Range(0, 1).Draw(t, "busy") * p.cores
		s := settled(State{}, p)
		off, got := p.at(Off).Raw, p.at(s.Level).Raw
		if got < off*0.95 {
			t.Fatalf("at %s the stream makes %.3g bytes/s, at off %.3g", s.Level, got, off)
		}
		if s.Level > Off && (p.ratio >= WorthIt || p.source < p.link*0.9) {
			t.Fatalf("at %s, and the link is not the bound or there is nothing to pack", s.Level)
		}
	})
}

func TestGauge(t *testing.T) {
	now := time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC)
	g := Gauge{Now: func() time.Time { return now }, Idle: func() float64 { return 2 }}
	const chunk = 1 << 20
	// Eight lanes on a link of 16 MiB/s: each chunk takes half a second.
	second := func(sending time.Duration) {
		for range 16 {
			now = now.Add(time.Second / 16)
			if l, isCurious := g.Level(); l == Off && isCurious {
				g.Looked(0.4)
			}
			l, _ := g.Level()
			s := Sent{Raw: chunk, Wire: chunk, Sending: sending, Whole: time.Second / 2}
			if l > Off {
				s.Wire = chunk * 4 / 10
				g.Packed(l, chunk, 5*time.Millisecond)
			}
			g.Note(s)
		}
	}
	for range 5 {
		second(10 * time.Millisecond)
	}
	if l, isCurious := g.Level(); l != Off || isCurious {
		t.Errorf("lanes that wait for the source: got %s, curious %t; want off, and no look at the stream", l, isCurious)
	}
	for range 10 {
		second(480 * time.Millisecond)
	}
	if l, _ := g.Level(); l == Off {
		t.Errorf("lanes that wait for the link: got %s, want a level", l)
	}
	now = now.Add(time.Hour)
	second(480 * time.Millisecond)
	if l, _ := g.Level(); l == Off {
		t.Error("after a pause the choice is forgotten")
	}
}
