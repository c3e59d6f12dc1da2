package stripe

import (
	"context"
	"errors"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/transport/wire"
)

// window is one that never changes.
func window(chunks int) func() int { return func() int { return chunks } }

func receiver() *Receiver {
	return NewReceiver(ReceiverOptions{Pool: NewPool(wire.MaxChunk), ChunkBytes: wire.MinChunk, Window: window(3)})
}

// chunkOf is chunk n of size bytes that are all fill.
func chunkOf(n uint64, size int, fill byte) (wire.Header, []byte) {
	b := make([]byte, wire.MaxChunk)[:size]
	for i := range b {
		b[i] = fill
	}
	h := wire.ChunkHeader(n, b)
	return h, b
}

func TestShare(t *testing.T) {
	var none *Share
	s := NewShare(8 * wire.MinChunk)
	alone := s.Join()
	for _, tc := range []struct {
		name  string
		share *Share
		join  int
		most  int // chunks
		want  int
	}{
		{"no bound", none, 0, 100, 100},
		{"alone, all of it", s, 0, 100, 8},
		{"alone, within its own bound", s, 0, 3, 3},
		{"two", s, 1, 100, 4},
		{"two, within its own bound", s, 0, 3, 3},
		{"more than there are chunks", s, 10, 100, 2},
	} {
		for range tc.join {
			defer tc.share.Join()()
		}
		if got := tc.share.Window(tc.most*wire.MinChunk, wire.MinChunk, 2); got != tc.want {
			t.Errorf("%s: got %d chunks, want %d", tc.name, got, tc.want)
		}
	}
	alone()
	none.Join()()
}

func TestReceiverRefuses(t *testing.T) {
	full := wire.MinChunk
	type frame struct {
		number uint64
		size   int // 0: the end, of total bytes
		total  int
	}
	for _, tc := range []struct {
		name   string
		before []frame
		frame  frame
		want   error
	}{
		{"beyond the credit", nil, frame{3, full, 0}, wire.ErrBeyondCredit},
		{"an end beyond the credit", nil, frame{3, 0, 3 * full}, wire.ErrBeyondCredit},
		{"longer than announced", nil, frame{0, full + 1, 0}, wire.ErrTooLarge},
		{"a short chunk that is not the last", []frame{{1, full, 0}}, frame{0, 5, 0}, wire.ErrMalformed},
		{"behind a short chunk", []frame{{0, 5, 0}}, frame{1, full, 0}, wire.ErrTooLarge},
		{"behind the end", []frame{{1, 0, full}}, frame{1, full, 0}, wire.ErrTooLarge},
		{"an end before what came", []frame{{1, full, 0}}, frame{1, 0, full}, wire.ErrTooLarge},
		{"an end that is not behind the short chunk", []frame{{0, 5, 0}}, frame{2, 0, full}, wire.ErrTooLarge},
		{"another end", []frame{{1, 0, full}}, frame{1, 0, full - 1}, wire.ErrMalformed},
		{"last chunk twice", []frame{{0, 5, 0}, {1, 0, 5}}, frame{0, 5, 0}, nil},
		{"end twice", []frame{{0, 5, 0}, {1, 0, 5}}, frame{1, 0, 5}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := receiver()
			put := func(f frame) error {
				if f.size == 0 {
					return r.Put(wire.EndHeader(f.number, uint64(f.total)), nil)
				}
				h, b := chunkOf(f.number, f.size, 1)
				return r.Put(h, b)
			}
			for _, f := range tc.before {
				if err := put(f); err != nil {
					t.Fatalf("before: %v", err)
				}
			}
			if err := put(tc.frame); !errors.Is(err, tc.want) {
				t.Errorf("Put: %v, want %v", err, tc.want)
			}
			if err := r.Err(); err != nil {
				t.Errorf("the transfer has ended: %v", err)
			}
		})
	}
}

func TestReceiverDigests(t *testing.T) {
	h, b := chunkOf(0, wire.MinChunk, 1)
	wrong := h
	wrong.Digest++
	t.Run("payload is not what it says", func(t *testing.T) {
		r := receiver()
		if err := r.Put(wrong, b); !errors.Is(err, wire.ErrDigest) || r.Err() != nil {
			t.Errorf("Put: %v, transfer %v", err, r.Err())
		}
		if isNew, err := r.Admit(h); err != nil || !isNew {
			t.Errorf("the chunk is not wanted any more: %v %v", isNew, err)
		}
	})
	for _, delivered := range []bool{false, true} {
		r := receiver()
		if err := r.Put(h, b); err != nil {
			t.Fatal(err)
		}
		if delivered {
			if _, err := io.ReadFull(r, make([]byte, wire.MinChunk)); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Repeat(h); err != nil {
			t.Errorf("the same again, delivered %v: %v", delivered, err)
		}
		if err := r.Repeat(wrong); !errors.Is(err, wire.ErrMismatch) || !errors.Is(r.Err(), wire.ErrMismatch) {
			t.Errorf("another under the same number, delivered %v: %v, transfer %v", delivered, err, r.Err())
		}
	}
}

func TestReceiverEnds(t *testing.T) {
	t.Run("total differs", func(t *testing.T) {
		r := receiver()
		h, b := chunkOf(0, wire.MinChunk, 1)
		if err := errors.Join(r.Put(h, b), r.Put(wire.EndHeader(1, wire.MinChunk-1), nil)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(r); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("ReadAll: %v, want %v", err, wire.ErrMalformed)
		}
	})
	t.Run("a reader that waits is woken", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := receiver()
			got := make(chan error, 1)
			go func() { _, err := r.Read(make([]byte, 1)); got <- err }()
			synctest.Wait()
			r.Fail(wire.ErrAborted)
			if err := <-got; !errors.Is(err, wire.ErrAborted) {
				t.Errorf("Read: %v, want %v", err, wire.ErrAborted)
			}
			if _, err := r.Admit(wire.EndHeader(0, 0)); !errors.Is(err, wire.ErrAborted) {
				t.Errorf("Admit after the end: %v, want %v", err, wire.ErrAborted)
			}
		})
	})
	t.Run("not complete without the end", func(t *testing.T) {
		r := receiver()
		h, b := chunkOf(0, 5, 1)
		if err := r.Put(h, b); err != nil || r.IsComplete() {
			t.Errorf("Put: %v; complete %v", err, r.IsComplete())
		}
		if err := r.Put(wire.EndHeader(1, 5), nil); err != nil || !r.IsComplete() {
			t.Errorf("Put end: %v; complete %v", err, r.IsComplete())
		}
	})
}

// A buffer that a stalled lane still writes from must not be used again, even
// if the chunk arrived by another lane.
func TestBufferOutlivesAcknowledgement(t *testing.T) {
	s := NewSender(SenderOptions{Pool: NewPool(wire.MaxChunk), ChunkBytes: wire.MinChunk, Window: window(1), Now: time.Now})
	if err := s.Run(t.Context(), io.LimitReader(zeros{}, 100)); err != nil {
		t.Fatal(err)
	}
	if err := s.Acknowledge(wire.Progress{Credit: 5}); err != nil {
		t.Fatal(err)
	}
	stalled, other := s.Lane(), s.Lane()
	f, err := stalled.Next(t.Context())
	if err != nil || f.Header.Number != 0 {
		t.Fatalf("Next = %+v, %v", f.Header, err)
	}
	stalled.Close()
	if g, err := other.Next(t.Context()); err != nil || g.Header.Number != 0 {
		t.Fatalf("the other lane got %+v, %v; want chunk 0 again", g.Header, err)
	}
	if err := s.Acknowledge(wire.Progress{Next: 2, Credit: 5}); err != nil {
		t.Fatal(err)
	}
	other.Release()
	if s.Held() != 1 {
		t.Errorf("%d buffers held while a lane writes, want 1", s.Held())
	}
	stalled.Release()
	if s.Held() != 0 {
		t.Errorf("%d buffers held at the end, want 0", s.Held())
	}
	if _, err := other.Next(t.Context()); !errors.Is(err, io.EOF) {
		t.Errorf("Next at the end: %v, want %v", err, io.EOF)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestSenderRefusesAcknowledgementOfTheUnsent(t *testing.T) {
	for _, p := range []wire.Progress{{Next: 3, Credit: 9}, {Have: []wire.Range{{2, 4}}, Credit: 9}} {
		s := NewSender(SenderOptions{Pool: NewPool(wire.MaxChunk), ChunkBytes: wire.MinChunk, Window: window(4), Now: time.Now})
		if err := s.Run(t.Context(), io.LimitReader(zeros{}, 100)); err != nil {
			t.Fatal(err)
		}
		if err := s.Acknowledge(p); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("Acknowledge(%+v) = %v, want %v", p, err, wire.ErrMalformed)
		}
	}
}

func TestSenderHonoursCredit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewSender(SenderOptions{Pool: NewPool(wire.MaxChunk), ChunkBytes: wire.MinChunk, Window: window(4), Now: time.Now})
		go s.Run(t.Context(), io.LimitReader(zeros{}, 3*wire.MinChunk))
		l := s.Lane()
		got := make(chan uint64)
		go func() {
			defer close(got)
			for {
				f, err := l.Next(t.Context())
				if err != nil {
					return
				}
				got <- f.Header.Number
			}
		}()
		synctest.Wait()
		select {
		case n := <-got:
			t.Fatalf("chunk %d without credit", n)
		default:
		}
		if err := s.Acknowledge(wire.Progress{Credit: 1}); err != nil {
			t.Fatal(err)
		}
		if n := <-got; n != 0 {
			t.Errorf("got chunk %d, want 0", n)
		}
		// A line that is older than one before changes nothing.
		if err := errors.Join(s.Acknowledge(wire.Progress{Credit: 2}), s.Acknowledge(wire.Progress{Credit: 1})); err != nil {
			t.Fatal(err)
		}
		if n := <-got; n != 1 {
			t.Errorf("got chunk %d, want 1", n)
		}
		synctest.Wait()
		select {
		case n := <-got:
			t.Errorf("chunk %d beyond the credit", n)
		default:
		}
		s.Fail(io.ErrClosedPipe)
	})
}

func TestRunEndsOnlyAtABareEOF(t *testing.T) {
	for _, tc := range []struct {
		name string
		err  error
		ends bool
	}{
		{"end", io.EOF, true},
		{"unexpected end", io.ErrUnexpectedEOF, false},
		{"cut", dataset.ErrCut, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := NewSender(SenderOptions{Pool: NewPool(wire.MaxChunk), ChunkBytes: wire.MinChunk, Window: window(4), Now: time.Now})
			err := s.Run(t.Context(), io.MultiReader(io.LimitReader(zeros{}, 10), failing{tc.err}))
			if tc.ends != (err == nil) || s.ended != tc.ends {
				t.Errorf("Run = %v, ended %v; want ended %v", err, s.ended, tc.ends)
			}
		})
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestStalledLane(t *testing.T) {
	now := time.Unix(100, 0)
	s := NewSender(SenderOptions{Pool: NewPool(wire.MaxChunk), ChunkBytes: wire.MinChunk, Window: window(4), Now: func() time.Time { return now }})
	if err := s.Run(t.Context(), io.LimitReader(zeros{}, 10)); err != nil {
		t.Fatal(err)
	}
	l := s.Lane()
	now = now.Add(time.Hour)
	if l.IsStalled(now, time.Minute) {
		t.Error("a lane without work is called stalled")
	}
	if err := s.Acknowledge(wire.Progress{Credit: 9}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Next(context.Background()); err != nil {
		t.Fatal(err)
	}
	if l.IsStalled(now, time.Minute) {
		t.Error("a lane that just began is called stalled")
	}
	l.Throttle(true)
	now = now.Add(time.Hour)
	if l.IsStalled(now, time.Minute) {
		t.Error("a lane that waits for its budget is called stalled")
	}
	l.Throttle(false)
	now = now.Add(time.Minute - 1)
	if l.IsStalled(now, time.Minute) {
		t.Error("the time of waiting for the budget counts as silence")
	}
	now = now.Add(1)
	if !l.IsStalled(now, time.Minute) {
		t.Error("a lane that owes and is silent is not called stalled")
	}
	l.Close()
	if l.IsStalled(now, time.Minute) {
		t.Error("a closed lane is called stalled")
	}
}

func TestPool(t *testing.T) {
	p := NewPool(wire.MaxChunk)
	a := p.Get(wire.MinChunk - 5)
	if len(a) != wire.MinChunk-5 || cap(a) != wire.MinChunk {
		t.Errorf("buffer of %d bytes, room for %d", len(a), cap(a))
	}
	a[0] = 7
	p.Put(a)
	if b := p.Get(wire.MinChunk); b[0] != 7 || len(b) != wire.MinChunk {
		t.Errorf("a buffer that came back is not lent again")
	}
	if b := p.Get(wire.MaxChunk); len(b) != wire.MaxChunk {
		t.Errorf("buffer of %d bytes, want %d", len(b), wire.MaxChunk)
	}
	p.Put(nil)
	p.Put(make([]byte, wire.MinChunk+1))
	for range 3 {
		p.Put(make([]byte, wire.MaxChunk))
	}
	if p.kept > wire.MaxChunk || len(p.free[classes-1]) != 1 {
		t.Errorf("%d bytes kept, want at most %d", p.kept, wire.MaxChunk)
	}
}

// More holes than a line can name: the lowest are named, the rest is acknowledged
// later.
func TestProgressNamesTheLowestRanges(t *testing.T) {
	r := NewReceiver(ReceiverOptions{Pool: NewPool(wire.MaxChunk), ChunkBytes: wire.MinChunk, Window: window(1000)})
	for n := uint64(1); n < 200; n += 2 { // room for 256 at first
		h, b := chunkOf(n, wire.MinChunk, 1)
		if err := r.Put(h, b); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Put(wire.EndHeader(200, 200*wire.MinChunk), nil); err != nil {
		t.Fatal(err)
	}
	p, _ := r.Progress()
	if n := len(p.Have); n != wire.MaxRanges || p.Validate() != nil {
		t.Fatalf("%d ranges, %v; want %d", n, p.Validate(), wire.MaxRanges)
	}
	for n := range uint64(200) {
		if got, want := p.Has(n), n%2 == 1 && n < 2*wire.MaxRanges; got != want {
			t.Errorf("chunk %d is acknowledged: got %v, want %v", n, got, want)
		}
	}
}
