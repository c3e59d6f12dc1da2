package stream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"
)

// Opening is what BEGIN says about the stream.
type Opening struct {
	Kind     Kind
	ToGUID   uint64
	FromGUID uint64 // 0 for a full stream
	Features Features
	Flags    Flags
	ToName   string // what the sender calls the snapshot; never used
	Created  time.Time
	// Resume is where a resumed stream goes on; nil for one from its beginning.
	Resume *Position
	// Key is the wrapped key of a raw stream; zero for a plain one.
	Key Key
}

// Position is a place inside a stream: the object and the offset in it that
// come next.
type Position struct {
	Object uint64
	Offset uint64
}

// IsRaw reports whether blocks travel as they are on the disk, encrypted.
func (o Opening) IsRaw() bool { return o.Features&Raw != 0 }

// Plan is what a stream must be.
type Plan struct {
	ToGUID   uint64   // the announced identity
	FromGUID uint64   // the base's, 0 for a full stream
	Kind     Kind     // 0 takes either
	Raw      bool     // raw and plain are never mixed in one lineage
	Features Features // what may be used besides Raw and Resuming; 0 is Allowed
	// Resume is where our token said that the stream must go on; nil where it
	// must start at its beginning.
	Resume *Position
	// Key is what a raw stream's wrapped key must be; zero takes any, which the
	// caller then pins.
	Key Key
	// MaxBytes bounds the stream; 0 is no bound.
	MaxBytes int64
}

func (p Plan) validate() error {
	switch {
	case p.ToGUID == 0:
		return errors.New("plan of a zfs stream: no identity")
	case p.MaxBytes < 0:
		return fmt.Errorf("plan of a zfs stream: at most %d bytes", p.MaxBytes)
	case !p.Raw && !p.Key.IsZero():
		return errors.New("plan of a zfs stream: a key for a stream that is not raw")
	}
	return nil
}

// Stats tells what went through.
type Stats struct {
	Bytes   int64 // read, BEGIN and END included
	Written int64 // bytes
	Records int64 // first and last included
	Object  uint64
	End     bool // END was there, and nothing after it
}

// Head reads BEGIN, so that what it announces can be made ready before Copy.
// Called again it answers the same. Errors: dataset.ErrCut, *RefusedError.
func Head(r *Reader) (Opening, error) {
	if r.head != nil {
		return r.head.Opening, nil
	}
	rec, err := r.Next()
	if err != nil {
		return Opening{}, err
	}
	o, err := parseOpening(rec)
	if err != nil {
		return Opening{}, err
	}
	r.head = &head{Opening: o, raw: bytes.Clone(rec.Raw)}
	return o, nil
}

// head is BEGIN, kept until Copy passes it on.
type head struct {
	Opening
	raw []byte
}

// Copy lets a stream through the gate: BEGIN (which it reads too, unless Head
// did) up to END, and then demands the end of the input. What it has written
// before an error is a beginning that zfs receive keeps, at most, as partial
// state. Errors: dataset.ErrCut, *RefusedError, what w answered.
func Copy(w io.Writer, r *Reader, p Plan) (Stats, error) {
	if err := p.validate(); err != nil {
		return Stats{}, err
	}
	r.max = p.MaxBytes
	if _, err := Head(r); err != nil {
		return Stats{}, err
	}
	c := copier{out: batch{w: w}}
	err := c.run(r, p)
	return Stats{Bytes: r.taken, Written: c.out.written, Records: r.index, Object: c.gate.object, End: err == nil}, err
}

// copier is one run of Copy.
type copier struct {
	out  batch
	gate gate
}

func (c *copier) run(r *Reader, p Plan) error {
	g, err := openGate(r.head.Opening, p)
	if err != nil {
		return err
	}
	c.gate = g
	if err := c.out.write(r.head.raw); err != nil {
		return err
	}
	for done := false; !done; {
		if done, err = c.step(r); err != nil {
			return err
		}
	}
	if err := r.AtEOF(); err != nil {
		return err
	}
	return c.out.flush()
}

// step passes on one record, and reports whether it was the last. END waits in
// the batch until the end of the input was seen, so that zfs receive does not
// finish what the gate has yet to refuse.
func (c *copier) step(r *Reader) (done bool, err error) {
	rec, err := r.Next()
	if err != nil {
		return false, err
	}
	if err := c.gate.check(rec, &r.before); err != nil {
		return false, err
	}
	c.out.add(rec.Raw)
	if rec.Type == End {
		return true, nil
	}
	if r.Buffered() {
		return false, nil
	}
	return false, c.out.flush()
}

// batch gathers records that lie one behind the other in the Reader's buffer,
// and writes them at once, without copying.
type batch struct {
	w       io.Writer
	pending []byte
	written int64
}

// add appends a record that follows the pending ones in memory, which is what
// Reader.Next promises.
func (b *batch) add(raw []byte) {
	if b.pending == nil {
		b.pending = raw
		return
	}
	b.pending = b.pending[:len(b.pending)+len(raw)]
}

func (b *batch) flush() error {
	p := b.pending
	b.pending = nil
	return b.write(p)
}

func (b *batch) write(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	n, err := b.w.Write(p)
	b.written += int64(n)
	if err != nil {
		return fmt.Errorf("pass on zfs stream: %w", err)
	}
	return nil
}
