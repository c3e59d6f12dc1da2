package stripe

import (
	"errors"
	"fmt"
	"io"
	"math"
	"sync"

	"antipode/transport/wire"
)

// errNoEnd guards against a reader that outlives its receiver.
var errNoEnd = errors.New("receive was ended")

// digestsKept is how many digests of delivered chunks are remembered. It is far
// above any window, so that every chunk a sender can still hold is compared.
const digestsKept = 1 << 10

// ReceiverOptions is what a Receiver is made of; all must be given.
type ReceiverOptions struct {
	Pool       *Pool
	ChunkBytes int // largest payload
	// Window is how many chunks may be held now at most, 1 to digestsKept. It is asked
	// again and again, by whoever holds the receiver's lock.
	Window func() int
}

// Receiver puts chunks back in order. Lanes call Admit and Put; one goroutine,
// the driver's, calls Read; all may be called concurrently.
type Receiver struct {
	opts ReceiverOptions

	// The reader's own: what is left of the chunk that it delivers, and its
	// whole buffer.
	rest, buf []byte

	mu       sync.Mutex // guards all below
	signal   signal
	slots    map[uint64]slot // received and not yet with the reader
	next     uint64          // all below is received
	room     room            // how many chunks may be held
	head     uint64          // the chunk with the reader, or the one it waits for
	digests  [digestsKept]uint64
	last     uint64 // number of the one chunk below MinChunk; MaxUint64 until it is seen
	highest  uint64 // above the highest chunk number seen
	granted  uint64 // the highest credit that was ever told
	end      *wire.Header
	received int64 // bytes in order and not
	err      error
	notice   *wire.Error
}

type slot struct {
	payload []byte
	digest  uint64
}

// NewReceiver makes a receiver that waits for chunk 0.
func NewReceiver(o ReceiverOptions) *Receiver {
	return &Receiver{opts: o, slots: map[uint64]slot{}, last: math.MaxUint64, room: newRoom(o.ChunkBytes)}
}

// Admit judges a frame by its header, before its payload is read or room is
// taken for it. isNew: Put it; otherwise it is a repetition, to be read for its
// digest and dropped by Repeat. Errors: wire.ErrBeyondCredit, ErrTooLarge,
// ErrMalformed, which are the lane's fault and leave the transfer as it is, or
// the error that has ended it.
func (r *Receiver) Admit(h wire.Header) (isNew bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return false, r.err
	}
	return r.admit(h)
}

func (r *Receiver) admit(h wire.Header) (bool, error) {
	switch {
	case h.Number >= r.credit():
		return false, fmt.Errorf("%w: %d, and the credit ends at %d", wire.ErrBeyondCredit, h.Number, r.credit())
	case h.Type == wire.FrameEnd:
		return r.admitEnd(h)
	case int(h.Raw) > r.opts.ChunkBytes:
		return false, fmt.Errorf("%w: chunk of %d bytes, announced were %d", wire.ErrTooLarge, h.Raw, r.opts.ChunkBytes)
	case r.end != nil && h.Number >= r.end.Number, h.Number > r.last:
		return false, fmt.Errorf("%w: chunk %d behind the end of the stream", wire.ErrTooLarge, h.Number)
	case h.Raw < wire.MinChunk && h.Number+1 < r.highest:
		return false, fmt.Errorf("%w: chunk %d has %d bytes and is not the last", wire.ErrMalformed, h.Number, h.Raw)
	}
	return !r.has(h.Number), nil
}

func (r *Receiver) admitEnd(h wire.Header) (bool, error) {
	switch {
	case r.end != nil && *r.end != h:
		return false, fmt.Errorf("%w: two ends, of %d and %d chunks", wire.ErrMalformed, r.end.Number, h.Number)
	case h.Number < r.highest, r.last != math.MaxUint64 && h.Number != r.last+1:
		return false, fmt.Errorf("%w: end after %d chunks, and there are more", wire.ErrTooLarge, h.Number)
	}
	return r.end == nil, nil
}

func (r *Receiver) has(number uint64) bool {
	_, ok := r.slots[number]
	return ok || number < r.next
}

// Put takes in a chunk that Admit called new, or the end (payload nil). The
// payload is a buffer of the pool and belongs to the receiver from now on,
// also when there is an error. Errors as for Admit, and wire.ErrDigest (the
// lane's fault) or wire.ErrMismatch, which ends the transfer.
func (r *Receiver) Put(h wire.Header, payload []byte) error {
	if h.Type == wire.FrameChunk && wire.Digest(payload) != h.Digest {
		r.opts.Pool.Put(payload)
		return fmt.Errorf("%w: chunk %d", wire.ErrDigest, h.Number)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	isNew, err := false, r.err
	if err == nil {
		isNew, err = r.admit(h)
	}
	switch {
	case err == nil && isNew:
		r.store(h, payload)
		return nil
	case err == nil:
		err = r.compare(h)
	}
	r.opts.Pool.Put(payload)
	return err
}

// Repeat notes a repetition whose payload had the digest that its header says.
// Errors: wire.ErrMismatch, which ends the transfer.
func (r *Receiver) Repeat(h wire.Header) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		return r.err
	}
	return r.compare(h)
}

// compare holds a repetition to the chunk that was first: a sender that says
// two things under one number cannot be trusted with either.
func (r *Receiver) compare(h wire.Header) error {
	if h.Type == wire.FrameEnd {
		return nil // admitEnd has compared it
	}
	var first uint64
	if s, ok := r.slots[h.Number]; ok {
		first = s.digest
	} else if h.Number+digestsKept >= r.next {
		first = r.digests[h.Number%digestsKept]
	} else {
		return nil // older than any honest sender holds; dropped in any case
	}
	if first != h.Digest {
		r.fail(fmt.Errorf("%w: chunk %d", wire.ErrMismatch, h.Number))
		return r.err
	}
	r.signal.fire() // the sender has missed an acknowledgement
	return nil
}

func (r *Receiver) store(h wire.Header, payload []byte) {
	if h.Type == wire.FrameEnd {
		r.end = &h
	} else {
		r.slots[h.Number] = slot{payload: payload, digest: h.Digest}
		r.received += int64(len(payload))
		r.highest = max(r.highest, h.Number+1)
		if h.Raw < wire.MinChunk {
			r.last = h.Number
		}
	}
	for s, ok := r.slots[r.next]; ok; s, ok = r.slots[r.next] {
		r.digests[r.next%digestsKept] = s.digest
		r.next++
	}
	if r.end != nil && r.next == r.end.Number {
		r.next++
	}
	r.maybeGrow()
	r.signal.fire()
}

// maybeGrow makes more room before what came out of order fills it, while the reader
// waits for what is missing. A reader that is slow gets none.
func (r *Receiver) maybeGrow() {
	if filled := r.highest - min(r.highest, r.head); r.next == r.head && 2*filled >= (r.granted-min(r.granted, r.head)) {
		r.room.grow(r.opts.Window())
	}
}

// credit never falls: what was granted before the window became smaller stays so.
func (r *Receiver) credit() uint64 {
	r.granted = max(r.granted, r.head+uint64(r.room.chunks(r.opts.Window())))
	return r.granted
}

// Read hands out the stream in order. It waits for chunks, also while no lane
// is there; io.EOF only behind the end. After Fail it answers that error, even
// if there are bytes left.
func (r *Receiver) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(r.rest) == 0 {
		if err := r.advance(); err != nil {
			return 0, err
		}
	} else if err := r.Err(); err != nil {
		return 0, err
	}
	n := copy(p, r.rest)
	if r.rest = r.rest[n:]; len(r.rest) == 0 {
		r.delivered()
	}
	return n, nil
}

// advance waits for the chunk at head.
func (r *Receiver) advance() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for {
		if r.err != nil {
			return r.err
		}
		if s, ok := r.slots[r.head]; ok {
			delete(r.slots, r.head)
			r.rest, r.buf = s.payload, s.payload
			return nil
		}
		if r.end != nil && r.head == r.end.Number {
			return r.complete()
		}
		changed := r.signal.wait()
		r.mu.Unlock()
		<-changed
		r.mu.Lock()
	}
}

func (r *Receiver) complete() error {
	if uint64(r.received) != r.end.Total {
		r.fail(fmt.Errorf("%w: %d bytes came, the end says %d", wire.ErrMalformed, r.received, r.end.Total))
		return r.err
	}
	return io.EOF
}

// delivered gives the reader's buffer back, which raises the credit.
func (r *Receiver) delivered() {
	r.opts.Pool.Put(r.buf)
	r.buf = nil
	r.mu.Lock()
	defer r.mu.Unlock()
	r.head++
	r.signal.fire()
}

// Fail ends the transfer for lanes and reader; the first error counts, and nil
// is as good as any.
func (r *Receiver) Fail(err error) {
	if err == nil {
		err = errNoEnd
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail(err)
}

func (r *Receiver) fail(err error) {
	if r.err != nil {
		return
	}
	r.err = err
	for n, s := range r.slots {
		r.opts.Pool.Put(s.payload)
		delete(r.slots, n)
	}
	r.signal.fire()
}

// Err is what has ended the transfer; nil while nothing has.
func (r *Receiver) Err() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}
