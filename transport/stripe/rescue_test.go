package stripe

import (
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"antipode/transport/wire"
)

func TestIsOverdue(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(seconds float64) time.Time { return start.Add(time.Duration(seconds * float64(time.Second))) }
	for _, tc := range []struct {
		name string
		f    Flight
		want bool
	}{
		{"long ago, and overtaken", Flight{start, at(2.1), at(0.6), time.Second}, true},
		{"not long ago", Flight{start, at(1.9), at(0.6), time.Second}, false},
		{"what was sent much later has not arrived either", Flight{start, at(60), at(0.4), time.Second}, false},
		{"nothing has arrived yet", Flight{start, at(60), time.Time{}, time.Second}, false},
		{"it is not known how long one takes", Flight{start, at(60), at(59), 0}, false},
	} {
		if got := tc.f.IsOverdue(); got != tc.want {
			t.Errorf("%s: got %v, want %v", tc.name, got, tc.want)
		}
	}
}

// A stream may send one byte in 64 again, and does not save up for long.
func TestWhatIsEarnedIsBounded(t *testing.T) {
	for _, tc := range []struct {
		spare int64
		acked int
		want  int64
	}{
		{0, 0, 0},
		{0, wire.MinChunk, wire.MinChunk / 64},
		{spareBytes - 10, wire.MinChunk, spareBytes},
		{spareBytes, wire.MaxChunk, spareBytes},
	} {
		if got := earn(tc.spare, tc.acked); got != tc.want {
			t.Errorf("%d bytes left, %d acknowledged: got %d, want %d", tc.spare, tc.acked, got, tc.want)
		}
	}
	s, _, quick, _ := slowAndQuick(t, 6, 6)
	s.spare = wire.MinChunk - 1
	if f, ok := poll(quick); ok {
		t.Errorf("chunk %d went again, and there was nothing left for it", f.Header.Number)
	}
}

// slowAndQuick is a sender of n chunks whose chunk 1 lies on a slow lane while
// the quick one has brought all others but, maybe, the end. The target takes room
// chunks.
func slowAndQuick(t *testing.T, n, room int) (s *Sender, slow, quick *Lane, now *time.Time) {
	t.Helper()
	at := time.Unix(1000, 0)
	now = &at
	s = NewSender(SenderOptions{Pool: NewPool(wire.MaxChunk), ChunkBytes: wire.MinChunk, Window: window(n + 1), Now: func() time.Time { return *now }})
	if err := s.Run(t.Context(), io.LimitReader(zeros{}, int64(n)*wire.MinChunk)); err != nil {
		t.Fatal(err)
	}
	slow, quick = s.Lane(), s.Lane()
	acknowledge := func(p wire.Progress) {
		t.Helper()
		at = at.Add(100 * time.Millisecond)
		p.Credit = uint64(room)
		if err := s.Acknowledge(p); err != nil {
			t.Fatal(err)
		}
	}
	acknowledge(wire.Progress{})
	take := func(l *Lane, want int) {
		t.Helper()
		f, err := l.Next(t.Context())
		if err != nil || f.Header.Number != uint64(want) {
			t.Fatalf("Next = chunk %d, %v; want %d", f.Header.Number, err, want)
		}
	}
	take(quick, 0)
	take(slow, 1)
	acknowledge(wire.Progress{Next: 1})
	sent := min(n+1, room)
	for k := 2; k < sent; k++ {
		take(quick, k)
	}
	for range 2 {
		acknowledge(wire.Progress{Next: 1, Have: []wire.Range{{2, uint64(sent)}}})
	}
	quick.Release()
	return s, slow, quick, now
}

// What is overdue goes by the quick lane too, once; which copy comes first does not
// matter, nor which lane dies.
func TestOverdueChunkGoesByAnotherLane(t *testing.T) {
	s, slow, quick, _ := slowAndQuick(t, 6, 6)
	if _, ok := poll(slow); ok {
		t.Error("the slow lane was given something, and all is sent but its own")
	}
	f, ok := poll(quick)
	if !ok || f.Header.Number != 1 {
		t.Fatalf("the quick lane got chunk %d, %v; want 1", f.Header.Number, ok)
	}
	if _, ok := poll(quick); ok {
		t.Error("it went a third time")
	}
	if s.again != wire.MinChunk {
		t.Errorf("%d bytes are counted as sent again, want %d", s.again, wire.MinChunk)
	}
	if err := s.Acknowledge(wire.Progress{Next: 6, Credit: 7}); err != nil {
		t.Fatal(err)
	}
	if slow.unacked != 0 || quick.unacked != 0 {
		t.Errorf("lanes owe %d and %d acknowledgements, want none", slow.unacked, quick.unacked)
	}
	if f, ok := poll(quick); !ok || f.Header.Type != wire.FrameEnd {
		t.Errorf("then comes %+v, %v; want the end", f.Header, ok)
	}
	if err := s.Acknowledge(wire.Progress{Next: 7, Credit: 7}); err != nil {
		t.Fatal(err)
	}
	slow.Release()
	if s.Held() != 0 {
		t.Errorf("%d buffers held at the end, want 0", s.Held())
	}
	if _, err := quick.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("Next at the end: %v, want %v", err, io.EOF)
	}
}

// At the end nothing presses, and everybody waits for the last chunks.
func TestLastChunksDoNotWaitForASlowLane(t *testing.T) {
	_, _, quick, _ := slowAndQuick(t, 6, 100)
	if f, ok := poll(quick); !ok || f.Header.Number != 1 {
		t.Errorf("the quick lane got %+v, %v; want chunk 1", f.Header, ok)
	}
}

func TestChunkOfTwoLanesOutlivesEither(t *testing.T) {
	for name, which := range map[string]func(slow, quick *Lane) (dies, lives *Lane){
		"the slow one dies":  func(slow, quick *Lane) (*Lane, *Lane) { return slow, quick },
		"the quick one dies": func(slow, quick *Lane) (*Lane, *Lane) { return quick, slow },
	} {
		t.Run(name, func(t *testing.T) {
			s, slow, quick, _ := slowAndQuick(t, 6, 6)
			if f, ok := poll(quick); !ok || f.Header.Number != 1 {
				t.Fatalf("the quick lane got %+v, %v; want chunk 1", f.Header, ok)
			}
			dies, lives := which(slow, quick)
			dies.Close()
			if n := len(s.queue); n != 1 { // the end
				t.Errorf("%d chunks are queued, and the other lane has it still", n)
			}
			lives.Close()
			if n := len(s.queue); n != 2 || s.queue[0].header.Number != 1 {
				t.Errorf("%d chunks are queued, want the chunk that both had, and the end", n)
			}
		})
	}
}

// A lane that is blocked in the middle of a chunk is stuck, also if that chunk has
// come by another: it would never be ended.
func TestLaneThatWritesWhatHasComeIsStuck(t *testing.T) {
	s, slow, quick, now := slowAndQuick(t, 6, 6)
	if f, ok := poll(quick); !ok || f.Header.Number != 1 {
		t.Fatalf("the quick lane got %+v, %v; want chunk 1", f.Header, ok)
	}
	if err := s.Acknowledge(wire.Progress{Next: 6, Credit: 6}); err != nil {
		t.Fatal(err)
	}
	*now = now.Add(time.Minute)
	if !slow.IsStalled(*now, time.Minute) {
		t.Error("it is not called stalled")
	}
	slow.Release()
	if slow.IsStalled(*now, time.Minute) {
		t.Error("a lane that owes nothing is called stalled")
	}
}

// Room grows where nothing else is missing, and by itself only.
func TestRoomGrowsUpToTheMemory(t *testing.T) {
	r := newRoom(wire.MaxChunk)
	if got := r.chunks(1000); got != firstWindow/wire.MaxChunk {
		t.Errorf("at first %d chunks, want %d", got, firstWindow/wire.MaxChunk)
	}
	if got := r.chunks(3); got != 3 {
		t.Errorf("with memory for 3: %d", got)
	}
	for n := 0; r.grow(40); n++ {
		if n > 20 {
			t.Fatal("it grows for ever")
		}
	}
	if got := r.chunks(1000); got != 40 {
		t.Errorf("at last %d chunks, want the 40 that there is memory for", got)
	}
	if r = newRoom(wire.MinChunk); r.grow(2) || r.chunks(2) != 2 {
		t.Errorf("with memory for 2: %d", r.chunks(2))
	}
}

// A source that is quick fills what room there is, and no more; there is more once
// a lane has nothing to do, and the target would take it.
func TestSenderTakesMoreRoomOnlyForLanesThatWait(t *testing.T) {
	first := newRoom(wire.MinChunk).chunks(1000)
	most := first + first/2
	for _, tc := range []struct{ credit, held int }{{first / 2, first}, {2 * most, most}} {
		synctest.Test(t, func(t *testing.T) {
			s := NewSender(SenderOptions{Pool: NewPool(wire.MaxChunk), ChunkBytes: wire.MinChunk, Window: window(most), Now: time.Now})
			go s.Run(t.Context(), zeros{})
			if err := s.Acknowledge(wire.Progress{Credit: uint64(tc.credit)}); err != nil {
				t.Fatal(err)
			}
			l := s.Lane()
			for range 2 * most {
				synctest.Wait()
				poll(l)
			}
			if got := s.Held(); got != tc.held {
				t.Errorf("credit for %d chunks: holds %d, want %d", tc.credit, got, tc.held)
			}
			s.Fail(io.ErrClosedPipe)
		})
	}
}

// While the link is dark no lane takes anything more, be it new or overdue; the
// target's next word is the light.
func TestNothingIsTakenInTheDark(t *testing.T) {
	_, _, quick, _ := slowAndQuick(t, 6, 6)
	quick.s.Hold(true)
	if f, ok := poll(quick); ok {
		t.Errorf("in the dark it got chunk %d, which is overdue", f.Header.Number)
	}
	quick.s.Hold(false)
	if f, ok := poll(quick); !ok || f.Header.Number != 1 {
		t.Errorf("in the light it got %+v, %v; want chunk 1", f.Header, ok)
	}
	s, _, quick, _ := slowAndQuick(t, 9, 6)
	s.Hold(true)
	if err := s.Acknowledge(wire.Progress{Next: 6, Credit: 9}); err != nil {
		t.Fatal(err)
	}
	if f, ok := poll(quick); !ok || f.Header.Number != 6 {
		t.Errorf("after the target's word it got %+v, %v; want chunk 6", f.Header, ok)
	}
}

func TestNothingNewIsTakenInTheDark(t *testing.T) {
	s, _, quick, _ := slowAndQuick(t, 9, 6)
	if err := s.Acknowledge(wire.Progress{Next: 6, Credit: 9}); err != nil {
		t.Fatal(err)
	}
	s.Hold(true)
	if f, ok := poll(quick); ok {
		t.Errorf("it got chunk %d", f.Header.Number)
	}
}

// What lanes have on their way is bounded, down to one chunk, and what a lane that
// ends leaves behind counts no more.
func TestWhatIsOnItsWayIsBounded(t *testing.T) {
	s := NewSender(SenderOptions{Pool: NewPool(wire.MaxChunk), ChunkBytes: wire.MinChunk, Window: window(10), Now: time.Now})
	if err := s.Run(t.Context(), io.LimitReader(zeros{}, 9*wire.MinChunk)); err != nil {
		t.Fatal(err)
	}
	if err := s.Acknowledge(wire.Progress{Credit: 9}); err != nil {
		t.Fatal(err)
	}
	takes := func(l *Lane, want int) {
		t.Helper()
		for n := range want {
			if _, ok := poll(l); !ok {
				t.Fatalf("%d chunks were taken, want %d", n, want)
			}
		}
		if f, ok := poll(l); ok {
			t.Fatalf("chunk %d was taken too", f.Header.Number)
		}
	}
	s.Limit(3 * wire.MinChunk)
	first, second := s.Lane(), s.Lane()
	takes(first, 3)
	if s.IsHungry() {
		t.Error("another lane is wanted, which could take nothing")
	}
	if err := s.Acknowledge(wire.Progress{Next: 2, Credit: 9}); err != nil {
		t.Fatal(err)
	}
	takes(second, 2)
	first.Close()
	takes(second, 1)
	s.Limit(1)
	if err := s.Acknowledge(wire.Progress{Next: 5, Credit: 9}); err != nil {
		t.Fatal(err)
	}
	takes(second, 1)
	s.Limit(0)
	takes(second, 3)
}
