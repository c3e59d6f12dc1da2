package segment_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"antipode/fsdrivers/btrfs/segment"
	"antipode/fsdrivers/btrfs/stream"
	"antipode/fsdrivers/dataset"
)

const step = dataset.StepID("0123456789abcdef0123456789abcdef")

// sealed is the n-th segment of a stream in which each has a hundred bytes.
func sealed(n int) segment.Sealed {
	return segment.Sealed{
		Number: n, UUID: stream.UUID{1, byte(n >> 8), byte(n)}, Digest: stream.Digest{byte(n >> 8), byte(n)},
		At: stream.Position{Version: 1, Head: 50, Done: 50 + 100*int64(n), First: stream.First{Name: "theirs"}},
	}
}

func journal(n int) (j segment.Journal) {
	for i := range n {
		j = j.Add(sealed(i + 1))
	}
	return j
}

func numbers(j segment.Journal) (all []int) {
	for _, s := range j.Kept {
		all = append(all, s.Number)
	}
	return all
}

func TestKeptSegments(t *testing.T) {
	for n, want := range map[int][]int{
		0: nil, 1: {1}, 4: {1, 2, 3, 4}, 6: {2, 3, 4, 5, 6}, 16: {4, 8, 10, 12, 13, 14, 15, 16},
		100: {32, 48, 64, 72, 80, 88, 92, 94, 96, 97, 98, 99, 100},
	} {
		if got := numbers(journal(n)); !slices.Equal(got, want) {
			t.Errorf("of %d segments %v are kept, want %v", n, got, want)
		}
	}
}

// What is kept after any number of segments is what the rule says of that number:
// nothing that it needs was dropped before. Distances are geometric, and few are kept.
func TestKeepingIsStableFewAndGeometric(t *testing.T) {
	j := segment.Journal{}
	for n := 1; n <= 30_000; n++ {
		j = j.Add(sealed(n))
		if n%997 != 0 && n > 300 {
			continue
		}
		for k := 1; k <= n; k++ {
			if segment.Keeps(k, n) != slices.Contains(numbers(j), k) {
				t.Fatalf("after %d segments: %d is kept %t, the rule says %t", n, k, !segment.Keeps(k, n), segment.Keeps(k, n))
			}
		}
		if err := j.Validate(); err != nil || len(j.Kept) > 34 {
			t.Fatalf("after %d segments: %d are kept, %v", n, len(j.Kept), err)
		}
		kept := append([]int{0}, numbers(j)...)
		for i := 1; i < len(kept); i++ {
			if gap, behind := kept[i]-kept[i-1], n-kept[i]; gap > behind+1 && kept[i-1] != 0 {
				t.Fatalf("after %d segments: from %d back to %d, with only %d behind it", n, kept[i], kept[i-1], behind)
			}
		}
	}
}

func TestIsFull(t *testing.T) {
	l := segment.Limits{Bytes: 1000, Least: 30 * time.Second, Most: 5 * time.Minute}
	for _, c := range []struct {
		bytes int64
		age   time.Duration
		want  bool
	}{
		{999, time.Minute, false},
		{1000, 29 * time.Second, false},
		{1000, 30 * time.Second, true},
		{1 << 40, 0, false},
		{1, 5 * time.Minute, true},
		{0, time.Hour, false},
	} {
		if got := l.IsFull(c.bytes, c.age); got != c.want {
			t.Errorf("IsFull(%d, %s) = %t, want %t", c.bytes, c.age, got, c.want)
		}
	}
}

func TestNames(t *testing.T) {
	for s, want := range map[string]bool{
		segment.Name(1): true, segment.Name(27_000): true, "segment-": false, "segment-0": false, "segment-01": false,
		"segment--1": false, "segment-1x": false, "base": false, "received": false, "segment-99999999999999999999": false,
	} {
		if segment.IsName(s) != want {
			t.Errorf("IsName(%q) = %t, want %t", s, !want, want)
		}
	}
}

func TestUpto(t *testing.T) {
	j := journal(6)
	got, found := j.Upto(50 + 400)
	if want := []int{2, 3, 4}; !found || !slices.Equal(numbers(got), want) {
		t.Errorf("up to segment 4: %v, %t, want %v", numbers(got), found, want)
	}
	for _, done := range []int64{0, 50 + 100, 50 + 401, 1 << 40} {
		if got, found := j.Upto(done); found || len(got.Kept) != 0 {
			t.Errorf("up to byte %d: %v, want none", done, numbers(got))
		}
	}
	if again := j.Add(sealed(3)); !slices.Equal(numbers(again), numbers(j)) {
		t.Errorf("a segment that was there before: %v", numbers(again))
	}
}

func TestJournalThatIsNone(t *testing.T) {
	for name, change := range map[string]func(*segment.Journal){
		"numbers fall":     func(j *segment.Journal) { j.Kept[1].Number = j.Kept[0].Number },
		"places fall":      func(j *segment.Journal) { j.Kept[1].At.Done = j.Kept[0].At.Done },
		"no identity":      func(j *segment.Journal) { j.Kept[1].UUID = stream.UUID{} },
		"no head":          func(j *segment.Journal) { j.Kept[1].At.Head = 0 },
		"inside its head":  func(j *segment.Journal) { j.Kept[0].At.Head = j.Kept[0].At.Done + 1 },
		"number 0":         func(j *segment.Journal) { j.Kept[0].Number = 0 },
		"far too many":     func(j *segment.Journal) { j.Kept = make([]segment.Sealed, segment.MaxKept+1) },
		"negative, at all": func(j *segment.Journal) { j.Kept[0].At.Done = -1 },
	} {
		j := journal(4)
		change(&j)
		if err := j.Validate(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// A source learns from the checkpoint every kept place, and names one of them when
// only the beginning is the same.
func TestCheckpointLeadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := journal(rapid.IntRange(1, 3000).Draw(t, "segments"))
		c, err := j.Checkpoint(step)
		if err != nil || len(c.Opaque) > dataset.MaxCheckpointBytes || c.Done != j.Newest().At.Done || c.Kind != segment.Kind {
			t.Fatalf("checkpoint %+v, %v", c, err)
		}
		p, err := segment.ParsePlaces(c, step)
		if err != nil || p.Version != 1 || p.Total() != c.Done-50 {
			t.Fatalf("places %+v, %v", p, err)
		}
		marks := p.Marks()
		if len(marks) != len(j.Kept) {
			t.Fatalf("%d marks for %d segments", len(marks), len(j.Kept))
		}
		agreed := rapid.IntRange(0, len(marks)-1).Draw(t, "agreed")
		var stale *dataset.StaleCheckpointError
		if err := p.Stale(agreed); !errors.As(err, &stale) || !errors.Is(err, dataset.ErrStaleCheckpoint) {
			t.Fatalf("stale = %v", err)
		}
		if agreed == 0 {
			if !stale.Fits.IsZero() {
				t.Fatalf("nothing agrees, and %+v fits", stale.Fits)
			}
			return
		}
		if _, found := j.Upto(stale.Fits.Done); !found || stale.Fits.Done >= c.Done {
			t.Fatalf("the target does not keep byte %d", stale.Fits.Done)
		}
		back, err := segment.ParsePlaces(stale.Fits, step)
		if err != nil || len(back.Marks()) != agreed {
			t.Fatalf("the earlier checkpoint has %d marks, %v, want %d", len(back.Marks()), err, agreed)
		}
	})
}

func TestEmptyJournalIsNoCheckpoint(t *testing.T) {
	if c, err := (segment.Journal{}).Checkpoint(step); err != nil || !c.IsZero() {
		t.Errorf("got %+v, %v", c, err)
	}
}

// FuzzParsePlaces must accept or call stale whatever a target sends.
func FuzzParsePlaces(f *testing.F) {
	c, err := journal(100).Checkpoint(step)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(c.Opaque, c.Done)
	f.Add([]byte(`{"version":1,"head":-9223372036854775808,"kept":[{"done":9223372036854775807}]}`), int64(9223372036854775807))
	f.Add([]byte(`{"kept":[{"done":5},{"done":5}]}`), int64(5))
	f.Fuzz(func(t *testing.T, opaque []byte, done int64) {
		p, err := segment.ParsePlaces(dataset.Checkpoint{Kind: segment.Kind, Step: step, Done: done, Opaque: opaque}, step)
		if err != nil {
			if !errors.Is(err, dataset.ErrStaleCheckpoint) {
				t.Fatalf("error %v is not stale", err)
			}
			return
		}
		last := int64(-1)
		for _, m := range p.Marks() {
			if m.Done <= last {
				t.Fatalf("marks do not rise: %d after %d", m.Done, last)
			}
			last = m.Done
		}
		if p.Total() != last {
			t.Errorf("total %d, the last mark is at %d", p.Total(), last)
		}
	})
}
