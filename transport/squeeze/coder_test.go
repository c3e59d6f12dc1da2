package squeeze

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// prose is text that packs well; noise does not pack at all.
func prose(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "%016x snapshot %d of generation %d was received and published\n", r.Uint64(), r.IntN(1000), r.IntN(100))
	}
	return b.Bytes()[:n]
}

func noise(n int) []byte {
	b := make([]byte, n)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

func TestWhatIsPackedIsUnpacked(t *testing.T) {
	c := NewCoder()
	for name, raw := range map[string][]byte{
		"one byte": {7}, "prose": prose(MaxBytes), "noise": noise(MaxBytes), "zeros": make([]byte, MaxBytes), "short": prose(1000),
	} {
		before := len(raw)
		for l := Fast; l <= Thorough; l++ {
			packed, _ := c.Pack(nil, raw, l)
			got := make([]byte, len(raw))
			if err := c.Unpack(got, packed); err != nil || !bytes.Equal(got, raw) {
				t.Errorf("%s, %s: got %v, want what was packed", name, l, err)
			}
			if name == "prose" && (l == Fast || l == Thorough) && len(packed) >= before {
				t.Errorf("%s packs prose to %d bytes, the level below or nothing to %d", l, len(packed), before)
			}
			before = len(packed)
		}
	}
}

// Every one of these is refused, and nothing is written or taken beyond the room
// that was announced.
func TestUnpackRefuses(t *testing.T) {
	c := NewCoder()
	raw := prose(300_000)
	good, _ := c.Pack(nil, raw, Fast)
	other := func(raw []byte, o ...zstd.EOption) []byte {
		e, err := zstd.NewWriter(nil, o...)
		if err != nil {
			t.Fatal(err)
		}
		return e.EncodeAll(raw, nil)
	}
	stream := func() []byte { // says no size
		var b bytes.Buffer
		e, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		for part := raw; len(part) > 0; part = part[1000:] {
			if _, err := e.Write(part[:1000]); err != nil {
				t.Fatal(err)
			}
			if err := e.Flush(); err != nil {
				t.Fatal(err)
			}
		}
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	lies := bytes.Clone(good)
	lies[5]++ // of the content's size
	broken := bytes.Clone(good)
	broken[len(broken)/2] ^= 0x55
	for name, tt := range map[string]struct {
		packed []byte
		room   int
	}{
		"nothing":                        {nil, 10},
		"no zstd":                        {[]byte("hello, hello, hello"), 10},
		"cut":                            {good[:len(good)-1], len(raw)},
		"the head alone":                 {good[:8], len(raw)},
		"less room":                      {good, len(raw) - 1},
		"more room":                      {good, len(raw) + 1},
		"a bomb: 64 MiB of zeros":        {other(make([]byte, 64<<20)), MaxBytes},
		"a bomb in a second frame":       {append(bytes.Clone(good), other(make([]byte, 64<<20))...), len(raw)},
		"a size that is not true":        {lies, len(raw) + 256},
		"no size":                        {stream(), len(raw)},
		"a frame to skip, and then good": {append([]byte{0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 0}, good...), len(raw)},
		"rubbish behind it":              {append(bytes.Clone(good), "rubbish"...), len(raw)},
	} {
		room := make([]byte, tt.room+100)
		copy(room[tt.room:], bytes.Repeat([]byte{0xaa}, 100))
		if err := c.Unpack(room[:tt.room], tt.packed); !errors.Is(err, ErrPacked) {
			t.Errorf("%s: got %v, want ErrPacked", name, err)
		}
		if !bytes.Equal(room[tt.room:], bytes.Repeat([]byte{0xaa}, 100)) {
			t.Errorf("%s: wrote beyond its room", name)
		}
	}
	// One that no digest of its own guards may come out wrong, and the chunk's finds it.
	_ = c.Unpack(make([]byte, len(raw)), broken)
}

// A bomb must not cost memory for what it claims.
func TestUnpackAllocatesNothingForABomb(t *testing.T) {
	c := NewCoder()
	e, err := zstd.NewWriter(nil, zstd.WithSingleSegment(true))
	if err != nil {
		t.Fatal(err)
	}
	bomb := e.EncodeAll(make([]byte, 256<<20), nil)
	room := make([]byte, MaxBytes)
	_ = c.Unpack(room, bomb) // what is made once
	per := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = c.Unpack(room, bomb)
		}
	}).AllocedBytesPerOp()
	if per > 64<<10 {
		t.Errorf("each costs %d bytes of memory, want next to none", per)
	}
}

func FuzzUnpack(f *testing.F) {
	c := NewCoder()
	for _, raw := range [][]byte{{1}, prose(5000), noise(500), make([]byte, MaxBytes)} {
		for l := Fast; l <= Thorough; l++ {
			packed, _ := c.Pack(nil, raw, l)
			f.Add(packed, len(raw))
		}
	}
	f.Fuzz(func(t *testing.T, packed []byte, n int) {
		if n <= 0 || n > MaxBytes || len(packed) > MaxBytes {
			return
		}
		room := make([]byte, n, n+1)
		room[:n+1][n] = 0xaa
		err := c.Unpack(room, packed)
		if err != nil && !errors.Is(err, ErrPacked) {
			t.Errorf("got %v, want ErrPacked", err)
		}
		if room[:n+1][n] != 0xaa {
			t.Error("wrote beyond its room")
		}
		if err != nil {
			return
		}
		again, _ := c.Pack(nil, room, Fast)
		got := make([]byte, n)
		if err := c.Unpack(got, again); err != nil || !bytes.Equal(got, room) {
			t.Errorf("what was unpacked cannot be packed: %v", err)
		}
	})
}

func TestProbe(t *testing.T) {
	c := NewCoder()
	var p Probe
	look := func(chunk []byte, n int) (looked int, worth int) {
		for range n {
			if !p.IsDue() {
				continue
			}
			looked++
			ratio := p.Look(c, chunk)
			p.Learn(ratio)
			if ratio < WorthIt {
				worth++
			}
		}
		return looked, worth
	}
	if looked, worth := look(prose(MaxBytes), 20); looked != 20 || worth != 20 {
		t.Errorf("text: looked at %d of 20, worth it %d; want all", looked, worth)
	}
	if looked, worth := look(noise(MaxBytes), 100); looked > 25 || worth != 0 {
		t.Errorf("films: looked at %d of 100, worth it %d; want a fifth, none", looked, worth)
	}
	if looked, worth := look(prose(MaxBytes), 20); looked < 16 || worth != looked {
		t.Errorf("text again: looked at %d of 20, worth it %d; want all but the first four", looked, worth)
	}
	if ratio := p.Look(c, prose(700)); ratio > 0.7 {
		t.Errorf("a small chunk of text: got %.2f, want it looked at whole", ratio)
	}
	mixed := append(noise(MaxBytes/2), prose(MaxBytes/2)...)
	packed, _ := c.Pack(nil, mixed, Fast)
	if got, want := p.Look(c, mixed), float64(len(packed))/float64(len(mixed)); got < want-0.15 || got > want+0.15 {
		t.Errorf("half and half: the sample says %.2f, it packs to %.2f", got, want)
	}
}
