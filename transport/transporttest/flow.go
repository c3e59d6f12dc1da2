package transporttest

import (
	"io"
	"math"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const never = math.MaxInt64

// packet is what one write put on the way.
type packet struct {
	data  []byte
	ready time.Time // when it arrives
}

// flow is one direction of a link. All of it is guarded by the net's mu.
type flow struct {
	link      *Link
	direction Direction
	changed   *sync.Cond

	queue     []packet
	held      int       // bytes in queue
	last      time.Time // when the newest packet, or the end, arrives
	written   int64
	delivered int64

	finished bool      // the writer has closed: io.EOF once last has passed
	refused  time.Time // when the writer learns that the reader has closed; zero if nothing will tell it
	cut      bool      // reached cutAt: reset behind the last byte

	cutAt, stallAt, corruptAt int64 // positions; never if unset

	readBy, writeBy deadline
	readShut        bool // the reader's end is closed
	writeShut       bool // the writer's end is closed, or half-closed
}

func newFlow(l *Link, d Direction) *flow {
	return &flow{
		link: l, direction: d, changed: sync.NewCond(&l.net.mu),
		cutAt: never, stallAt: never, corruptAt: never,
	}
}

// read takes what has arrived; the caller holds mu.
func (f *flow) read(p []byte) (int, error) {
	for {
		switch {
		case f.readShut:
			return 0, net.ErrClosed
		case f.readBy.passed():
			return 0, os.ErrDeadlineExceeded
		case f.link.dead || f.back().cut:
			return 0, syscall.ECONNRESET
		case len(p) == 0:
			return 0, nil
		}
		if n := f.take(p); n > 0 {
			return n, nil
		}
		switch {
		case len(f.queue) > 0 || !f.flowing() || time.Now().Before(f.last):
		case f.cut:
			return 0, syscall.ECONNRESET
		case f.finished:
			return 0, io.EOF
		}
		f.changed.Wait()
	}
}

// take moves arrived bytes into p, as far as nothing stalls them.
func (f *flow) take(p []byte) int {
	n := 0
	for n < len(p) && len(f.queue) > 0 && f.flowing() && !time.Now().Before(f.queue[0].ready) {
		head := &f.queue[0]
		room := min(int64(len(p)-n), f.stallAt-f.delivered)
		k := copy(p[n:n+int(room)], head.data)
		head.data = head.data[k:]
		if len(head.data) == 0 {
			f.queue = f.queue[1:]
		}
		n += k
		f.held -= k
		f.delivered += int64(k)
	}
	if n > 0 {
		f.changed.Broadcast() // there is room for a writer
	}
	return n
}

// flowing tells whether anything arrives now.
func (f *flow) flowing() bool {
	return !f.link.net.down && f.delivered < f.stallAt
}

func (f *flow) back() *flow { return f.link.flows[f.direction.opposite()] }

// write puts all of p on the way, or as much as it can; the caller holds mu.
func (f *flow) write(p []byte) (int, error) {
	n := 0
	for {
		if err := f.writeError(); err != nil {
			return n, err
		}
		n += f.put(p[n:])
		if n == len(p) {
			return n, nil
		}
		if !f.cut {
			f.changed.Wait()
		}
	}
}

func (f *flow) writeError() error {
	switch {
	case f.writeShut:
		return net.ErrClosed
	case f.writeBy.passed():
		return os.ErrDeadlineExceeded
	case f.link.dead || f.cut || f.back().cut:
		return syscall.ECONNRESET
	case !f.refused.IsZero() && !time.Now().Before(f.refused) && f.back().flowing():
		return syscall.EPIPE
	}
	return nil
}

// put queues as much of p as there is room for, up to where the link is cut.
func (f *flow) put(p []byte) int {
	room := min(int64(f.link.net.buffer-f.held), int64(len(p)), f.cutAt-f.written)
	if room <= 0 {
		return 0
	}
	data := append([]byte(nil), p[:room]...)
	if i := f.corruptAt - f.written; i >= 0 && i < room {
		data[i] ^= 1
	}
	f.held += len(data)
	f.written += room
	f.link.net.carried[f.direction] += room
	f.queue = append(f.queue, packet{data: data, ready: f.arrival()})
	if f.readShut && f.refused.IsZero() {
		f.refuse(2 * f.link.net.latency)
	}
	if f.written == f.cutAt {
		f.cutHere()
	}
	return int(room)
}

// arrival returns when what is sent now arrives, and has the reader look then.
func (f *flow) arrival() time.Time {
	f.last = time.Now().Add(f.link.net.latency)
	f.wakeAt(f.link.net.latency)
	return f.last
}

func (f *flow) wakeAt(wait time.Duration) {
	if wait <= 0 {
		f.changed.Broadcast()
		return
	}
	time.AfterFunc(wait, f.wakeNow)
}

func (f *flow) wakeNow() {
	f.link.net.mu.Lock()
	defer f.link.net.mu.Unlock()
	f.changed.Broadcast()
}

// cutHere is the reset behind the last byte of this direction.
func (f *flow) cutHere() {
	f.cut = true
	f.link.forget()
	f.link.wake()
}

// finish is the writer's close.
func (f *flow) finish() {
	if f.writeShut {
		return
	}
	f.writeShut, f.finished = true, true
	f.arrival()
	f.changed.Broadcast()
}

// hangUp is the reader's close: what is under way is lost. The writer is told
// as TCP tells it: at once if it has sent what nobody read, else by the answer
// to the first thing that it still sends.
func (f *flow) hangUp() {
	unread := f.held > 0
	f.readShut = true
	f.queue, f.held = nil, 0
	if unread {
		f.refuse(f.link.net.latency)
	}
	f.changed.Broadcast()
}

// refuse fails the writer's later writes, once the news has reached it.
func (f *flow) refuse(news time.Duration) {
	f.refused = time.Now().Add(news)
	f.wakeAt(news)
}
