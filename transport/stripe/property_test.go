package stripe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"antipode/transport/wire"
)

const (
	windowChunks = 4
	laneCount    = 3
)

// world runs a sender and a receiver on one goroutine's choices: what is on the
// way of each lane, and lines of progress that may come late, twice or never.
type world struct {
	t      *rapid.T
	tx     *Sender
	rx     *Receiver
	pool   *Pool
	lanes  []*Lane
	way    [][]onWay // by lane
	lines  []wire.Progress
	credit uint64 // highest that the receiver has shown
	share  *Share
	out    bytes.Buffer
	done   bool
	now    time.Time
}

type onWay struct {
	h       wire.Header
	payload []byte
}

func newWorld(t *rapid.T) *world {
	pool := NewPool(2 * windowChunks * wire.MinChunk)
	share := NewShare(windowChunks * wire.MinChunk)
	window := func() int { return share.Window(windowChunks*wire.MinChunk, wire.MinChunk, 1) }
	w := &world{
		now: time.Unix(0, 0), t: t, pool: pool, way: make([][]onWay, laneCount), share: share,
		rx: NewReceiver(ReceiverOptions{Pool: pool, ChunkBytes: wire.MinChunk, Window: window}),
	}
	w.tx = NewSender(SenderOptions{Pool: pool, ChunkBytes: wire.MinChunk, Window: window, Now: func() time.Time { return w.now }})
	for range laneCount {
		w.lanes = append(w.lanes, w.tx.Lane())
	}
	return w
}

func (w *world) write(n int) {
	f, ok := poll(w.lanes[n])
	if !ok {
		return
	}
	w.way[n] = append(w.way[n], onWay{f.Header, slices.Clone(f.Payload)})
	w.lanes[n].Release()
}

// arrive delivers the first frame on the lane; isTwice also a second time.
func (w *world) arrive(n int, isTwice bool) {
	if len(w.way[n]) == 0 {
		return
	}
	f := w.way[n][0]
	w.way[n] = w.way[n][1:]
	w.deliver(f)
	if isTwice {
		w.deliver(f)
	}
}

func (w *world) deliver(f onWay) {
	isNew, err := w.rx.Admit(f.h)
	if err != nil {
		w.t.Fatalf("Admit %d: %v", f.h.Number, err)
	}
	switch {
	case !isNew:
		err = w.rx.Repeat(f.h)
	case f.h.Type == wire.FrameEnd:
		err = w.rx.Put(f.h, nil)
	default:
		buf := w.pool.Get(len(f.payload))
		copy(buf, f.payload)
		err = w.rx.Put(f.h, buf)
	}
	if err != nil {
		w.t.Fatalf("Put %d: %v", f.h.Number, err)
	}
}

// die loses what is on the lane's way; a new lane takes its place.
func (w *world) die(n int) {
	w.way[n] = nil
	w.lanes[n].Close()
	w.lanes[n] = w.tx.Lane()
}

// tell puts the receiver's state on its way.
func (w *world) tell() {
	p, _ := w.rx.Progress()
	if p.Credit < w.credit {
		w.t.Fatalf("credit fell from %d to %d", w.credit, p.Credit)
	}
	if p.Credit < p.Next || p.Validate() != nil {
		w.t.Fatalf("bad progress %+v: %v", p, p.Validate())
	}
	w.credit = p.Credit
	w.lines = append(w.lines, p)
}

// hear brings any line that is on its way, in any order, and may keep it.
func (w *world) hear(i int, keep bool) {
	if len(w.lines) == 0 {
		return
	}
	i %= len(w.lines)
	if err := w.tx.Acknowledge(w.lines[i]); err != nil {
		w.t.Fatalf("Acknowledge %+v: %v", w.lines[i], err)
	}
	if !keep {
		w.lines = slices.Delete(w.lines, i, i+1)
	}
}

// canRead reports whether Read would not wait.
func (w *world) canRead() bool {
	w.rx.mu.Lock()
	defer w.rx.mu.Unlock()
	_, there := w.rx.slots[w.rx.head]
	return len(w.rx.rest) > 0 || there || w.rx.end != nil && w.rx.head == w.rx.end.Number
}

func (w *world) read(n int) {
	if w.done || !w.canRead() {
		return
	}
	b := make([]byte, n)
	k, err := w.rx.Read(b)
	w.out.Write(b[:k])
	if w.done = errors.Is(err, io.EOF); !w.done && err != nil {
		w.t.Fatalf("Read: %v", err)
	}
}

func (w *world) check() {
	if h := w.tx.Held(); h > windowChunks {
		w.t.Fatalf("sender holds %d chunks, more than %d", h, windowChunks)
	}
	if h := w.rx.Held(); h > windowChunks {
		w.t.Fatalf("receiver holds %d chunks, more than %d", h, windowChunks)
	}
}

// Whatever is lost, delayed, doubled, reordered or stalled, whichever lanes die
// and however the windows change: what comes out is what went in, within both.
func TestAnyOrderOfFaultsDeliversTheStream(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]int{0, 1, wire.MinChunk - 1, wire.MinChunk, wire.MinChunk + 1, 9*wire.MinChunk + 17, 12 * wire.MinChunk}).Draw(t, "size")
		want := pattern(size)
		w := newWorld(t)
		cut := make(chan error, 1)
		ctx, cancel := context.WithCancel(context.Background())
		go func() { cut <- w.tx.Run(ctx, bytes.NewReader(want)) }()
		defer func() { cancel(); w.tx.Fail(errors.New("test is over")); <-cut }()
		for range rapid.IntRange(0, 150).Draw(t, "steps") {
			w.step(rapid.IntRange(0, 9).Draw(t, "what"), rapid.IntRange(0, laneCount-1).Draw(t, "lane"), rapid.IntRange(1, 300_000).Draw(t, "n"))
			w.check()
		}
		w.settle()
		if !bytes.Equal(w.out.Bytes(), want) {
			t.Fatalf("delivered %d bytes, want %d equal ones", w.out.Len(), len(want))
		}
		if got := w.tx.Acked(); got != int64(len(want)) {
			t.Fatalf("%d bytes acknowledged, want %d", got, len(want))
		}
	})
}

func (w *world) step(what, lane, n int) {
	w.now = w.now.Add(time.Duration(n) * time.Microsecond)
	switch what {
	case 0, 1:
		w.write(lane)
	case 2:
		w.arrive(lane, false)
	case 3:
		w.arrive(lane, true)
	case 4:
		w.die(lane)
	case 5:
		w.tell()
	case 6:
		w.hear(n, n%2 == 0)
	case 7, 8:
		w.read(n)
	case 9:
		w.share.users.Store(int64(n % 6)) // others come and go
	}
}

// settle lets everything flow until the stream is out; faults are over.
func (w *world) settle() {
	deadline := time.Now().Add(20 * time.Second)
	for !w.done || w.tx.Held() > 0 {
		for n := range w.lanes {
			w.write(n)
			w.arrive(n, false)
		}
		w.tell()
		w.hear(len(w.lines)-1, false)
		w.read(wire.MinChunk)
		w.check()
		if time.Now().After(deadline) {
			w.t.Fatalf("it does not go on: %s", w)
		}
	}
}

func (w *world) String() string {
	p, _ := w.rx.Progress()
	return fmt.Sprintf("target %+v, sender holds %d of %d cut, %d queued", p, w.tx.Held(), w.tx.cut, len(w.tx.queue))
}

func pattern(n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewPCG(3, uint64(n)))
	for i := 0; i < n; i += 512 {
		b[i] = byte(r.Uint32())
	}
	return b
}
