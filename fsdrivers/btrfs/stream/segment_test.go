package stream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"antipode/fsdrivers/dataset"
)

// inSegments copies a stream in segments of n commands each, which are made with
// identities that count up, and starts anew from its last position before each.
func inSegments(t *testing.T, in []byte, n int, fresh bool) (segments [][]byte, at []Position) {
	t.Helper()
	c, err := NewCopier(NewReader(bytes.NewReader(in)), incrementalPlan())
	if err != nil {
		t.Fatal(err)
	}
	for last := false; !last; {
		if fresh && len(at) > 0 {
			p := at[len(at)-1]
			if c, err = NewCopierAt(NewReader(bytes.NewReader(in[p.Done:])), incrementalPlan(), p); err != nil {
				t.Fatal(err)
			}
		}
		var out bytes.Buffer
		s := Segment{Name: fmt.Sprint("segment-", len(segments)), UUID: UUID{0x70, byte(len(segments))}}
		if len(segments) > 0 {
			s.After = UUID{0x70, byte(len(segments) - 1)}
		}
		if err := c.Begin(&out, s); err != nil {
			t.Fatal(err)
		}
		for range n {
			if last, err = c.Ready(); err != nil {
				t.Fatal(err)
			}
			if last {
				break
			}
			if err := errors.Join(c.step(), c.out.flush()); err != nil {
				t.Fatal(err)
			}
		}
		if last {
			if err := c.Finish(); err != nil {
				t.Fatal(err)
			}
		}
		at = append(at, c.Position()) // the last one is before END too
		if err := c.End(); err != nil {
			t.Fatal(err)
		}
		segments = append(segments, out.Bytes())
	}
	return segments, at
}

// bodies are the commands of a stream between its first and its last.
func bodies(t *testing.T, in []byte) (all []byte) {
	t.Helper()
	b := boundaries(in)
	return in[b[2]:b[len(b)-2]]
}

// Whatever it is cut into, and wherever it is gone on from, every command arrives
// once and in order, each segment opens with the one before, and the times of the
// root are those of the whole.
func TestSegmentsAreTheStream(t *testing.T) {
	for _, version := range []uint32{1, 2} {
		in := honestStream(t, version)
		whole, err := Copy(io.Discard, NewReader(bytes.NewReader(in)), incrementalPlan(), oneSegment())
		if err != nil {
			t.Fatal(err)
		}
		for n := 1; n < 8; n++ {
			for _, fresh := range []bool{false, true} {
				segments, at := inSegments(t, in, n, fresh)
				if len(segments) < 2 {
					t.Fatalf("%d commands each: %d segments, so that nothing is tested", n, len(segments))
				}
				if got := at[len(at)-1].Root; got != whole.Root || got.IsZero() {
					t.Errorf("%d commands each: times of the root are %v, want %v", n, got, whole.Root)
				}
				wantSegments(t, in, segments)
			}
		}
	}
}

func wantSegments(t *testing.T, in []byte, segments [][]byte) {
	t.Helper()
	var joined []byte
	for i, s := range segments {
		own := UUID{0x70, byte(i)}
		first, sources := identities(t, s)
		want := First{Name: fmt.Sprint("segment-", i), UUID: own, Ctransid: 9, CloneUUID: idMintedBase, CloneCtransid: 7}
		if i > 0 {
			want.CloneUUID, want.CloneCtransid = UUID{0x70, byte(i - 1)}, 9
		}
		if first != want {
			t.Errorf("segment %d opens with %+v, want %+v", i, first, want)
		}
		for _, source := range sources {
			if source != own && source != idMintedBase {
				t.Errorf("segment %d clones from %v, want from itself or the base", i, source)
			}
		}
		joined = append(joined, reseal(append([]byte(magic+"\x01\x00\x00\x00"), bytes.ReplaceAll(bodies(t, s), own[:], idSelf[:])...))[headerBytes:]...)
	}
	want := reseal(append([]byte(magic+"\x01\x00\x00\x00"), bytes.ReplaceAll(bodies(t, in), idBase[:], idMintedBase[:])...))[headerBytes:]
	if !bytes.Equal(joined, want) {
		t.Errorf("%d segments: their commands are not those of the stream", len(segments))
	}
}

func TestNothingIsPassedOnBehindAnEndThatWasRefused(t *testing.T) {
	in := append(bytes.Clone(honestStream(t, 1)), 'x')
	c, err := NewCopier(NewReader(bytes.NewReader(in)), incrementalPlan())
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := c.Begin(&out, oneSegment()); err != nil {
		t.Fatal(err)
	}
	if err := c.Pass(); err != nil {
		t.Fatal(err)
	}
	if err := c.Finish(); !errors.Is(err, dataset.ErrRefused) {
		t.Errorf("Finish = %v, want ErrRefused", err)
	}
}

func TestPositionThatIsNone(t *testing.T) {
	_, at := inSegments(t, honestStream(t, 1), 3, false)
	bad := at[0]
	bad.Prefix = bad.Prefix[1:]
	if _, err := NewCopierAt(NewReader(nil), incrementalPlan(), bad); err == nil {
		t.Error("a damaged digest state was taken")
	}
	foreign := at[0]
	foreign.First.UUID = UUID{8}
	if _, err := NewCopierAt(NewReader(nil), incrementalPlan(), foreign); !errors.Is(err, dataset.ErrRefused) {
		t.Errorf("a position in another stream: %v, want ErrRefused", err)
	}
	bound := incrementalPlan()
	bound.MaxBytes = at[1].Done + 1
	c, err := NewCopierAt(NewReader(bytes.NewReader(honestStream(t, 1)[at[1].Done:])), bound, at[1])
	if err == nil {
		_, err = c.Ready()
	}
	if !errors.Is(err, dataset.ErrRefused) {
		t.Errorf("what was received before does not count for max_bytes: %v", err)
	}
}

// marksOf are what a target would remember of the positions.
func marksOf(t *testing.T, at []Position) (marks []Mark) {
	t.Helper()
	for _, p := range at {
		state, err := restorePrefix(p.Prefix)
		if err != nil {
			t.Fatal(err)
		}
		marks = append(marks, Mark{Done: p.Done - p.Head, Digest: state.digest()})
	}
	return marks
}

func TestSkipGoesOnWhereTheStreamIsTheSame(t *testing.T) {
	in := honestStream(t, 2)
	_, at := inSegments(t, in, 3, false)
	marks := marksOf(t, at)
	renamed := incrementalFirst()
	renamed.Name = "a longer name than before"
	for name, again := range map[string][]byte{"the same": in, "renamed": streamOf(t, 2, renamed, honest(2, idBase))} {
		r := NewReader(bytes.NewReader(again))
		if _, err := Head(r); err != nil {
			t.Fatal(err)
		}
		told := int64(-1)
		agreed, err := Skip(r, marks, func(done int64) { told = done })
		if err != nil || agreed != len(marks) || told < 0 {
			t.Fatalf("%s: Skip = %d, %v, told %d, want all %d marks", name, agreed, err, told, len(marks))
		}
		rest, err := io.ReadAll(r.Rest())
		if want := in[at[len(at)-1].Done:]; err != nil || !bytes.Equal(rest, want) {
			t.Errorf("%s: %d bytes are left, %v, want the last %d", name, len(rest), err, len(want))
		}
	}
}

func TestSkipTellsHowFarAChangedStreamAgrees(t *testing.T) {
	in := honestStream(t, 2)
	_, at := inSegments(t, in, 2, false)
	marks := marksOf(t, at)
	b := boundaries(in)
	for i := 2; i < len(b)-2; i++ { // each command in turn
		changed := bytes.Clone(in)
		changed[b[i]+commandBytes+4] ^= 1
		changed = reseal(changed)
		want := 0
		for want < len(at) && at[want].Done <= int64(b[i]) {
			want++
		}
		r := NewReader(bytes.NewReader(changed))
		if _, err := Head(r); err != nil {
			t.Fatal(err)
		}
		if agreed, err := Skip(r, marks, func(int64) {}); err != nil || agreed != want {
			t.Errorf("command %d changed: Skip = %d, %v, want %d", i-1, agreed, err, want)
		}
	}
	for name, c := range map[string]struct {
		marks []Mark
		want  int
	}{
		"inside of a command": {[]Mark{marks[0], {Done: marks[1].Done - 1, Digest: marks[1].Digest}}, 1},
		"behind the end":      {append(marks[:len(marks):len(marks)], Mark{Done: 1 << 40}), len(marks)},
		"none":                {nil, 0},
	} {
		r := NewReader(bytes.NewReader(in))
		if _, err := Head(r); err != nil {
			t.Fatal(err)
		}
		if agreed, err := Skip(r, c.marks, func(int64) {}); err != nil || agreed != c.want {
			t.Errorf("%s: Skip = %d, %v, want %d", name, agreed, err, c.want)
		}
	}
	r := NewReader(bytes.NewReader(in[:b[4]+3]))
	if _, err := Head(r); err != nil {
		t.Fatal(err)
	}
	if _, err := Skip(r, marks, func(int64) {}); !errors.Is(err, dataset.ErrCut) {
		t.Errorf("a stream that breaks off while it is read again: %v, want ErrCut", err)
	}
}
