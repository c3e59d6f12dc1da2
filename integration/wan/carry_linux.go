package wan

import (
	"math/bits"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// naps is how exactly packets are delivered: those that are due within it are
// written together, which saves most of the waking up.
const naps = 200 * time.Microsecond

// direction carries packets one way.
type direction struct {
	from, to *os.File
	arena    arena
	odd      atomic.Int64 // packets that could not be understood, and are lost

	mu   sync.Mutex // guards below
	line *line

	way     sync.Mutex // guards below
	waiting []flight   // by time of arrival
	some    *sync.Cond // waiting is not empty, or closed
	closed  bool
}

// flight is a packet on its way.
type flight struct {
	raw []byte
	due time.Time
}

func newDirection(from, to *os.File, s Shape, seed uint64) *direction {
	d := &direction{from: from, to: to, line: newLine(s, seed)}
	d.some = sync.NewCond(&d.way)
	return d
}

// take reads packets until the device is closed.
func (d *direction) take() {
	defer d.close()
	hurry()
	buf := make([]byte, maxPacket)
	var pieces []flight
	for {
		n, err := d.from.Read(buf)
		if err != nil {
			return
		}
		t, err := parse(buf[:n])
		if err != nil {
			d.odd.Add(1)
			continue
		}
		pieces = d.split(pieces[:0], t, time.Now())
		d.push(pieces)
	}
}

// split decides on each packet of a train and appends what arrives, in pieces as
// long as nothing between is lost.
func (d *direction) split(pieces []flight, t train, now time.Time) []flight {
	d.mu.Lock()
	defer d.mu.Unlock()
	first, n := 0, t.len()
	var due time.Time
	end := func(to int) {
		if to > first {
			pieces = append(pieces, flight{t.appendPart(d.arena.get(vnetBytes+t.header+(to-first)*max(t.size, t.bytes(0))), first, to), due})
		}
		first = to + 1
	}
	for i := range n {
		arrives, ok := d.line.offer(now, t.bytes(i))
		if !ok {
			end(i)
			continue
		}
		due = arrives
	}
	end(n)
	return pieces
}

func (d *direction) push(pieces []flight) {
	if len(pieces) == 0 {
		return
	}
	d.way.Lock()
	defer d.way.Unlock()
	d.waiting = append(d.waiting, pieces...)
	d.some.Signal()
}

func (d *direction) close() {
	d.way.Lock()
	defer d.way.Unlock()
	d.closed = true
	d.some.Signal()
}

// deliver writes packets when they are due, until close. It sleeps in the kernel
// and not on Go's timers, which come up to a millisecond late.
func (d *direction) deliver() {
	hurry()
	var ready []flight
	for {
		var wait time.Duration
		var open bool
		if ready, wait, open = d.ripe(ready[:0]); !open {
			return
		}
		for _, f := range ready {
			_, _ = d.to.Write(f.raw) // a device that goes away ends take as well
			d.arena.put(f.raw)
		}
		if len(ready) == 0 && wait > 0 {
			ts := unix.NsecToTimespec(int64(max(wait, naps)))
			_ = unix.Nanosleep(&ts, nil) // woken early, it looks again
		}
	}
}

// hurry puts this goroutine's thread before all others of the machine, if we may: a
// link that waits for a processor is not the link that it says. The thread ends
// with the goroutine.
func hurry() {
	runtime.LockOSThread()
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1}, 0)
}

// ripe takes out what is due, or says how long it is until something is. It
// waits while there is nothing.
func (d *direction) ripe(into []flight) (ready []flight, wait time.Duration, open bool) {
	d.way.Lock()
	defer d.way.Unlock()
	for len(d.waiting) == 0 && !d.closed {
		d.some.Wait()
	}
	if d.closed {
		return into, 0, false
	}
	now := time.Now()
	n := 0
	for n < len(d.waiting) && !d.waiting[n].due.After(now) {
		n++
	}
	into = append(into, d.waiting[:n]...)
	clear(d.waiting[:n])
	if d.waiting = d.waiting[n:]; len(d.waiting) > 0 {
		wait = d.waiting[0].due.Sub(now)
	}
	return into, wait, true
}

// set changes the shape of the line.
func (d *direction) set(s Shape) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.line.shape = s
}

func (d *direction) count() Count {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.line.count
}

// arena lends buffers by powers of two: thousands of packets are on their way,
// and few of them are whole trains.
type arena struct{ free [18]sync.Pool }

func (a *arena) get(n int) []byte {
	class := bits.Len(uint(n - 1))
	if b, ok := a.free[class].Get().(*[]byte); ok {
		return (*b)[:0]
	}
	return make([]byte, 0, 1<<class)
}

func (a *arena) put(b []byte) {
	if class := bits.Len(uint(cap(b) - 1)); cap(b) == 1<<class {
		a.free[class].Put(&b)
	}
}
