package stream

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/fletcher"
)

// Reader splits a stream into records. It bounds every length before it believes
// it, and verifies every checksum; it does not know which records make sense.
type Reader struct {
	src   io.Reader
	buf   []byte // buf[start:end] is read and not yet given out
	start int
	end   int
	taken int64 // bytes of the stream that were given out
	max   int64 // bytes; 0 is no bound
	index int64 // of the next record
	head  *head // what Head read
	eof   bool  // the source has answered io.EOF

	sum    fletcher.Sum // of all up to and with the header of the next record
	before fletcher.Sum // the same without that header, which is what END repeats
}

// NewReader reads a stream from src, in pieces of up to 1 MiB. It holds as much
// memory as the biggest record, at most MaxPayload and 1 MiB.
func NewReader(src io.Reader) *Reader {
	return &Reader{src: src, buf: make([]byte, firstBytes)}
}

// Bytes is how much of the stream was given out.
func (r *Reader) Bytes() int64 { return r.taken }

// Next returns the next record, proven by the header behind it. Between two
// reads from the source the records lie in memory one right behind the other.
// Errors: dataset.ErrCut (the stream ends here), *RefusedError.
func (r *Reader) Next() (Record, error) {
	if err := r.fill(recordBytes); err != nil {
		return Record{}, err
	}
	if r.index == 0 {
		r.sum.Add(r.buf[r.start : r.start+recordBytes])
	}
	rec := r.peek(0)
	size, err := r.size(rec)
	if err != nil {
		return Record{}, err
	}
	if rec.Type != End {
		if err := r.prove(size); err != nil {
			return Record{}, err
		}
		rec = r.peek(size - recordBytes)
	}
	r.start += size
	r.taken += int64(size)
	r.index++
	return rec, nil
}

// peek is the next record with that much payload, which is in the buffer.
func (r *Reader) peek(payload int) Record {
	raw := r.buf[r.start : r.start+recordBytes+payload]
	return Record{Type: Type(binary.LittleEndian.Uint32(raw)), Index: r.index, Raw: raw}
}

// size is the size of the record, whose 312 bytes are in the buffer, with its
// payload.
func (r *Reader) size(rec Record) (int, error) {
	if rec.Index == 0 {
		if err := checkOpening(rec); err != nil {
			return 0, err
		}
	}
	payload, limit := rec.payloadSize(), uint64(MaxPayload)
	if rec.Type == Begin {
		limit = MaxBeginPayload
	}
	switch {
	case payload > limit:
		return 0, refuse(rec, "%d bytes follow it, more than %d", payload, limit)
	case payload%4 != 0:
		return 0, refuse(rec, "%d bytes follow it, which no sender writes", payload)
	case r.max > 0 && r.taken+recordBytes+int64(payload) > r.max:
		return 0, refuse(rec, "the stream is longer than the %d bytes it may have", r.max)
	}
	return recordBytes + int(payload), nil
}

// prove makes sure that the record of that size is in the buffer, and the header
// behind it with a checksum that fits both.
func (r *Reader) prove(size int) error {
	if err := r.fill(size + recordBytes); err != nil {
		return err
	}
	at := r.start + size
	next := r.buf[at : at+recordBytes]
	sum := r.sum
	sum.Add(r.buf[r.start+recordBytes : at])
	before := sum
	sum.Add(next[:sumOffset])
	if sum.Bytes() != [fletcher.Size]byte(next[sumOffset:]) {
		return &RefusedError{
			Index: r.index + 1, Type: Type(binary.LittleEndian.Uint32(next)),
			What: "the checksum of it, and of what stands before it, is wrong", corrupt: true,
		}
	}
	sum.Add(next[sumOffset:])
	r.sum, r.before = sum, before
	return nil
}

// Buffered reports whether Next would return without reading from the source,
// so that records given out before stay valid.
func (r *Reader) Buffered() bool {
	have := r.end - r.start
	if have < recordBytes {
		return false
	}
	rec := r.peek(0)
	size, err := r.size(rec)
	return err != nil || rec.Type == End || have >= size+recordBytes
}

// AtEOF demands that the stream ends here. Errors: *RefusedError if something
// follows, dataset.ErrCut if the source fails.
func (r *Reader) AtEOF() error {
	follows := r.end - r.start
	if follows == 0 && !r.eof {
		// Not into the buffer, where END still waits to be passed on: what Read
		// does not fill it may use as it likes.
		var err error
		if follows, err = r.read(make([]byte, 1)); err != nil {
			return r.cut(err)
		}
	}
	if follows > 0 {
		return &RefusedError{Index: r.index, What: "something follows the end of the stream"}
	}
	return nil
}

// fill makes sure that n bytes are in the buffer. If it must read, what was given
// out before is lost.
func (r *Reader) fill(n int) error {
	if r.end-r.start >= n {
		return nil
	}
	r.makeRoom(n)
	for r.end < n {
		if r.eof {
			return r.cut(io.ErrUnexpectedEOF)
		}
		got, err := r.read(r.buf[r.end:])
		r.end += got
		if err != nil {
			return r.cut(err)
		}
	}
	return nil
}

// makeRoom moves what is left to the front of a buffer that holds n bytes.
func (r *Reader) makeRoom(n int) {
	to := r.buf
	switch {
	case n > len(to) && n > firstBytes:
		to = make([]byte, n+bufferBytes)
	case len(to) < bufferBytes && r.end == len(to):
		to = make([]byte, bufferBytes)
	}
	r.end = copy(to, r.buf[r.start:r.end])
	r.buf, r.start = to, 0
}

// read reads once, or until something comes.
func (r *Reader) read(p []byte) (int, error) {
	for range 100 { // as bufio does: a source that gives nothing for ever is broken
		n, err := r.src.Read(p)
		switch {
		case errors.Is(err, io.EOF):
			r.eof = true
			return n, nil
		case err != nil:
			return n, err
		case n > 0:
			return n, nil
		}
	}
	return 0, io.ErrNoProgress
}

// cut says where the stream broke off. A source that failed is named too.
func (r *Reader) cut(err error) error {
	return fmt.Errorf("zfs stream broke off after %d bytes, in or before record %d: %w: %w",
		r.taken+int64(r.end-r.start), r.index, dataset.ErrCut, err)
}
