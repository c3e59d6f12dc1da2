package stripe

import (
	"context"
	"errors"
	"io"
	"time"
)

// Lane is one connection's part of a Sender. One goroutine, the writer, calls
// Next and Release; anyone may call the others.
type Lane struct {
	s *Sender

	// Guarded by s.mu.
	writing   *chunk
	unacked   int
	pace      time.Duration // from taking a chunk to its acknowledgement, usually
	active    time.Time     // last sign of life
	throttled bool
	waiting   time.Time // since when it is throttled
	closed    bool
	retired   bool
}

// ErrRetired is Next's answer once the lane was retired.
var ErrRetired = errors.New("lane was retired")

// Lane adds a lane.
func (s *Sender) Lane() *Lane { return &Lane{s: s, active: s.opts.Now()} }

// Next waits for the next frame: one that is overdue on another lane, or the lowest
// number inside the credit that no lane has. io.EOF: everything is acknowledged.
// io.ErrClosedPipe: the lane was closed. ErrRetired: there will be nothing more for
// it. Else the error of Fail or ctx.
func (l *Lane) Next(ctx context.Context) (Frame, error) {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	l.release()
	for {
		switch {
		case s.err != nil:
			return Frame{}, s.err
		case l.closed:
			return Frame{}, io.ErrClosedPipe
		case l.retired:
			return Frame{}, ErrRetired
		case s.isDone():
			return Frame{}, io.EOF
		}
		if c := l.rescue(); c != nil {
			return l.takeAgain(c), nil
		}
		if s.isNextAllowed() {
			return l.take(), nil
		}
		if s.isFull && s.cut < s.credit && s.room.grow(s.opts.Window()) {
			s.signal.fire() // the lane has nothing to do, and only room is missing
		}
		if err := s.waitLocked(ctx); err != nil {
			return Frame{}, err
		}
	}
}

func (l *Lane) take() Frame {
	c := l.s.queue[0]
	l.s.queue = l.s.queue[1:]
	l.s.out += int64(len(c.payload))
	c.lane, c.taken = l, l.s.opts.Now()
	return l.write(c)
}

// write begins to write a chunk, of which more than one lane may have a copy.
func (l *Lane) write(c *chunk) Frame {
	if l.unacked == 0 {
		l.active = l.s.opts.Now()
	}
	l.unacked++
	c.writers++
	l.writing = c
	return Frame{Header: c.header, Payload: c.payload}
}

// Release says that the writer has left the last frame's payload alone.
func (l *Lane) Release() {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	l.release()
}

func (l *Lane) release() {
	c := l.writing
	if c == nil {
		return
	}
	l.writing = nil
	c.writers--
	l.s.maybeFree(c)
	l.s.signal.fire()
}

// Close gives what is not acknowledged to the other lanes. The writer may
// still be in the middle of a frame.
func (l *Lane) Close() {
	s := l.s
	s.mu.Lock()
	defer s.mu.Unlock()
	l.closed = true
	for _, c := range s.chunks {
		switch {
		case c.second == l:
			c.second = nil
		case c.lane == l && c.second != nil:
			c.lane, c.second = c.second, nil
		case c.lane == l:
			s.out -= int64(len(c.payload))
			s.insert(c)
		}
	}
	l.unacked = 0
	s.signal.fire()
}

// Retire lets the lane finish what it has, and gives it nothing more. What it has
// stays its own until Close.
func (l *Lane) Retire() {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	l.retired = true
	l.s.signal.fire()
}

// Touch notes a sign of life: bytes of a payload that went out, or that the other
// side has taken.
func (l *Lane) Touch() {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	l.active = l.s.opts.Now()
}

// Throttle says that the writer waits for its own budget, or that it does so no
// more. The time of waiting does not count as silence.
func (l *Lane) Throttle(on bool) {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	now := l.s.opts.Now()
	if l.throttled && !on {
		l.active = l.active.Add(now.Sub(l.waiting))
	}
	l.throttled, l.waiting = on, now
}

// IsStalled reports whether the lane owes acknowledgements and had given no sign
// of life for so long at the time asOf. Its connection should be ended, so that
// Close frees what it holds.
func (l *Lane) IsStalled(asOf time.Time, after time.Duration) bool {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	owes := l.unacked > 0 || l.writing != nil // what it is writing may have come by another lane
	return owes && !l.throttled && !l.closed && asOf.Sub(l.active) >= after
}
