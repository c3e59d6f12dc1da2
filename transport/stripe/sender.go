package stripe

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"antipode/transport/wire"
)

// SenderOptions is what a Sender is made of; all must be given.
type SenderOptions struct {
	Pool       *Pool
	ChunkBytes int        // wire.MinChunk to wire.MaxChunk
	Window     func() int // chunks that may be held now at most, at least 1; asked under the sender's lock
	Now        func() time.Time
}

// Sender cuts a stream and gives the chunks to lanes. One goroutine calls Run;
// all else may be called concurrently.
type Sender struct {
	opts SenderOptions

	mu     sync.Mutex // guards all below
	signal signal
	chunks map[uint64]*chunk // cut and not acknowledged, the end among them
	queue  []*chunk          // those that no lane has, by rising number
	cut    uint64            // number of the next one
	held   int               // buffers in use
	room   room              // how many may be
	isFull bool              // Run waits for one of them
	bytes  int64             // cut
	acked  int64             // bytes acknowledged
	next   uint64            // the target's watermark
	credit uint64
	ended  bool  // the end was cut
	dark   bool  // nothing is given to a lane now
	out    int64 // bytes that lanes have and that are not acknowledged
	most   int64 // how many may be; 0: as many as the window allows
	err    error

	// For rescue.
	pace   time.Duration // of a chunk on any lane
	heard  time.Time     // the target's last word
	newest time.Time     // when the newest acknowledged chunk was taken
	again  int64         // bytes that went to a second lane
	spare  int64         // bytes that still may
}

// chunk is a frame on its way. Its buffer goes back when it is acknowledged and
// no lane is in the middle of writing it.
type chunk struct {
	header  wire.Header
	payload []byte
	lane    *Lane // who has it; nil in the queue
	second  *Lane // who has it as well
	taken   time.Time
	writers int
	acked   bool
}

// Frame is what a lane writes next. Payload may be read until the lane's next
// call of Next or Release.
type Frame struct {
	Header  wire.Header
	Payload []byte
}

// NewSender makes a sender that may send what progress allows: the target's
// answer to the opening.
func NewSender(o SenderOptions) *Sender {
	return &Sender{opts: o, chunks: map[uint64]*chunk{}, room: newRoom(o.ChunkBytes), spare: spareBytes}
}

// Run cuts src until its io.EOF, its error or the end of ctx, and returns when
// the last chunk has found room. Only a bare io.EOF ends the stream: anything
// else, io.ErrUnexpectedEOF too, fails it.
func (s *Sender) Run(ctx context.Context, src io.Reader) error {
	for {
		buf, err := s.buffer(ctx)
		if err != nil {
			return err
		}
		n, err := Fill(src, buf)
		if n > 0 && (err == nil || err == io.EOF) { //nolint:errorlint // see Run
			s.push(wire.ChunkHeader(0, buf[:n]), buf[:n])
		} else {
			s.giveBack(buf)
		}
		switch {
		case err == io.EOF: //nolint:errorlint // see Run
			s.finish()
			return nil
		case err != nil:
			err = fmt.Errorf("read stream: %w", err)
			s.Fail(err)
			return err
		}
	}
}

// Fill is io.ReadFull without its io.ErrUnexpectedEOF, which could be the
// source's own: a short n comes with the source's error, io.EOF too.
func Fill(r io.Reader, b []byte) (n int, err error) {
	for n < len(b) && err == nil {
		var k int
		k, err = r.Read(b[n:])
		n += k
	}
	if n == len(b) && err == io.EOF { // asked again next time
		err = nil
	}
	return n, err
}

// buffer waits until another one may be held.
func (s *Sender) buffer(ctx context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.isFull = false }()
	for s.err == nil && s.held >= s.room.chunks(s.opts.Window()) {
		s.isFull = true
		if err := s.waitLocked(ctx); err != nil {
			return nil, err
		}
	}
	if s.err != nil {
		return nil, s.err
	}
	s.held++
	return s.opts.Pool.Get(s.opts.ChunkBytes), nil
}

// waitLocked lets the lock go until something changes.
func (s *Sender) waitLocked(ctx context.Context) error {
	changed := s.signal.wait()
	s.mu.Unlock()
	defer s.mu.Lock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (s *Sender) push(h wire.Header, payload []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h.Number = s.cut
	s.cut++
	s.bytes += int64(len(payload))
	s.enqueue(&chunk{header: h, payload: payload})
}

func (s *Sender) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	s.enqueue(&chunk{header: wire.EndHeader(s.cut, uint64(s.bytes))})
}

func (s *Sender) enqueue(c *chunk) {
	s.chunks[c.header.Number] = c
	s.insert(c)
	s.signal.fire()
}

// insert keeps the queue sorted: the chunk that the target needs next goes
// first, also when it is a repetition.
func (s *Sender) insert(c *chunk) {
	c.lane = nil
	i, _ := slices.BinarySearchFunc(s.queue, c.header.Number, func(q *chunk, n uint64) int {
		return int(int64(q.header.Number - n))
	})
	s.queue = slices.Insert(s.queue, i, c)
}

func (s *Sender) giveBack(buf []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held--
	s.opts.Pool.Put(buf)
	s.signal.fire()
}

// Acknowledge takes in a line of progress. Older lines than one taken in
// before do no harm. Errors wrap wire.ErrMalformed: the target acknowledges
// what was never sent.
func (s *Sender) Acknowledge(p wire.Progress) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sent := s.cut
	if s.ended {
		sent++
	}
	if n := len(p.Have); p.Next > sent || n > 0 && p.Have[n-1][1] > sent {
		return fmt.Errorf("%w: the target acknowledges chunk %d, and %d were cut", wire.ErrMalformed, p.Next, sent)
	}
	s.heard, s.dark = s.opts.Now(), false
	s.next = max(s.next, p.Next)
	s.credit = max(s.credit, p.Credit)
	for number, c := range s.chunks {
		if p.Has(number) {
			s.acknowledge(c)
		}
	}
	s.signal.fire()
	return nil
}

func (s *Sender) acknowledge(c *chunk) {
	delete(s.chunks, c.header.Number)
	if c.lane != nil {
		s.out -= int64(len(c.payload))
	}
	s.acked += int64(len(c.payload))
	s.spare = earn(s.spare, len(c.payload))
	c.acked = true
	switch {
	case c.lane == nil:
		s.queue = slices.DeleteFunc(s.queue, func(q *chunk) bool { return q == c })
	case c.second != nil:
		// One of them has brought it. Which one is not known, so that it is a sign of
		// life of neither.
		c.lane.unacked--
		c.second.unacked--
	default:
		c.lane.unacked--
		s.arrived(c)
	}
	s.maybeFree(c)
}

// arrived notes what the acknowledgement of a chunk says of the lane that had it.
func (s *Sender) arrived(c *chunk) {
	c.lane.active = s.heard
	took := s.heard.Sub(c.taken)
	s.pace, c.lane.pace = smooth(s.pace, took, paceShift), smooth(c.lane.pace, took, lanePaceShift)
	if c.taken.After(s.newest) {
		s.newest = c.taken
	}
}

// maybeFree gives the buffer back once nobody needs it. The end has none.
func (s *Sender) maybeFree(c *chunk) {
	if c.acked && c.writers == 0 && c.payload != nil {
		s.held--
		s.opts.Pool.Put(c.payload)
		c.payload = nil
	}
}

// Fail ends all waiting with err; the first one counts.
func (s *Sender) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	s.signal.fire()
}

// Acked is how many bytes of the stream the target has.
func (s *Sender) Acked() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acked
}

// Again is how many bytes a second lane was given, because they were overdue on the
// first.
func (s *Sender) Again() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.again
}

// Held is how many buffers are in use.
func (s *Sender) Held() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.held
}

// Hold has the lanes wait with what they have not taken yet, or go on, which the
// target's next word does too. A link that has just gone dark would take it into the
// kernel's buffers, and lose it with the connections.
func (s *Sender) Hold(dark bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dark != dark {
		s.dark = dark
		s.signal.fire()
	}
}

// Limit bounds the bytes that lanes may have without an acknowledgement, down to one
// chunk; 0 is no bound but the window's.
func (s *Sender) Limit(most int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if most == 0 || most > s.most {
		s.signal.fire()
	}
	s.most = most
}

// isNextAllowed holds when the first chunk of the queue may go to a lane now.
func (s *Sender) isNextAllowed() bool {
	if len(s.queue) == 0 || s.queue[0].header.Number >= s.credit || s.dark {
		return false
	}
	return s.most == 0 || s.out == 0 || s.out+int64(len(s.queue[0].payload)) <= s.most
}

// IsHungry reports whether chunks wait that one more lane could take at once. It
// is not when the source, the target's credit, the window or a bound is what everybody
// waits for.
func (s *Sender) IsHungry() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.isNextAllowed()
}

// isDone: everything is acknowledged, the end too.
func (s *Sender) isDone() bool { return s.ended && len(s.chunks) == 0 }
