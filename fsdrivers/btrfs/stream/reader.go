package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"antipode/fsdrivers/dataset"
)

// Command is one command as it stands in the stream, its checksum verified. It
// is valid until the Reader next reads from its source, see Reader.Buffered.
type Command struct {
	Type  Type
	Index int64  // 0 is the first command
	Raw   []byte // header and body; may be changed in place
}

func (c Command) body() []byte { return c.Raw[commandBytes:] }

// seal makes the checksum right again after a change in place.
func (c Command) seal() {
	field := c.Raw[crcOffset:commandBytes]
	clear(field)
	binary.LittleEndian.PutUint32(field, checksum(c.Raw))
}

// Reader splits a stream into commands. It bounds every length before it
// believes it, and verifies every checksum; it does not know which commands make
// sense.
type Reader struct {
	src     io.Reader
	buf     []byte // buf[start:end] is read and not yet given out
	start   int
	end     int
	taken   int64 // bytes of the stream that were given out
	max     int64 // bytes; 0 is no bound
	index   int64 // of the next command
	version uint32
	head    *First // what Head read
	// headSize is the bytes of the header and the first command, 0 before Head.
	headSize int64
	eof      bool // the source has answered io.EOF
}

// NewReader reads a stream from src, in pieces of up to 2 MiB.
func NewReader(src io.Reader) *Reader {
	return &Reader{src: src, buf: make([]byte, bufferBytes)}
}

// Version is the version of the stream, 0 before Head.
func (r *Reader) Version() uint32 { return r.version }

// Bytes is how much of the stream was given out, its header included.
func (r *Reader) Bytes() int64 { return r.taken }

// Rest is what was not given out: what is in memory, then the source. The Reader
// is not used any more.
func (r *Reader) Rest() io.Reader {
	return io.MultiReader(bytes.NewReader(r.buf[r.start:r.end]), r.src)
}

// header reads the 17 bytes in front of the first command.
func (r *Reader) header() error {
	if err := r.fill(headerBytes); err != nil {
		return err
	}
	p := r.take(headerBytes)
	if string(p[:len(magic)]) != magic {
		return &RefusedError{What: "it is not a btrfs send stream"}
	}
	v := binary.LittleEndian.Uint32(p[len(magic):])
	if v < 1 || v > MaxVersion {
		return &RefusedError{What: fmt.Sprintf("stream version %d, want 1 to %d", v, MaxVersion)}
	}
	r.version = v
	return nil
}

// Next returns the next command. Between two reads from the source the commands
// lie in memory one right behind the other. Errors: dataset.ErrCut (the stream
// ends here), *RefusedError.
func (r *Reader) Next() (Command, error) {
	t, err := r.peek()
	if err != nil {
		return Command{}, err
	}
	size, _ := r.commandSize() // peek has looked at it
	c := Command{Type: t, Index: r.index, Raw: r.take(size)}
	r.index++
	return c, verify(c)
}

// peek reads the next command into memory and tells its type; Next then gives it
// out. Errors: those of Next, but for its checksum.
func (r *Reader) peek() (Type, error) {
	if err := r.fill(commandBytes); err != nil {
		return 0, err
	}
	size, err := r.commandSize()
	if err != nil {
		return 0, err
	}
	if err := r.fill(size); err != nil {
		return 0, err
	}
	return Type(binary.LittleEndian.Uint16(r.buf[r.start+4:])), nil
}

func verify(c Command) error {
	want := binary.LittleEndian.Uint32(c.Raw[crcOffset:])
	c.seal()
	if got := binary.LittleEndian.Uint32(c.Raw[crcOffset:]); got != want {
		return &RefusedError{Index: c.Index, Type: c.Type, What: fmt.Sprintf("checksum is %08x, its bytes give %08x", want, got), corrupt: true}
	}
	return nil
}

// commandSize is the size of the command whose header is in the buffer.
func (r *Reader) commandSize() (int, error) {
	header := r.buf[r.start:]
	body, limit := binary.LittleEndian.Uint32(header), uint32(MaxCommandV1)
	if r.version >= 2 {
		limit = MaxCommandV2
	}
	var what string
	switch {
	case body > limit-commandBytes:
		what = fmt.Sprintf("it is %d bytes long, more than %d", uint64(body)+commandBytes, limit)
	case r.max > 0 && r.taken+commandBytes+int64(body) > r.max:
		what = fmt.Sprintf("the stream is longer than the %d bytes it may have", r.max)
	default:
		return commandBytes + int(body), nil
	}
	return 0, &RefusedError{Index: r.index, Type: Type(binary.LittleEndian.Uint16(header[4:])), What: what}
}

// Buffered reports whether Next would return without reading from the source,
// so that commands given out before stay valid.
func (r *Reader) Buffered() bool {
	if r.end-r.start < commandBytes {
		return false
	}
	size, err := r.commandSize()
	return err != nil || r.end-r.start >= size
}

// AtEOF demands that the stream ends here. Errors: *RefusedError if something
// follows, dataset.ErrCut if the source fails.
func (r *Reader) AtEOF() error {
	if r.start == r.end && !r.eof {
		r.start, r.end = 0, 0
		if err := r.read(); err != nil {
			return err
		}
	}
	if r.start < r.end {
		return &RefusedError{Index: r.index, What: "something follows the end of the stream"}
	}
	return nil
}

// take gives out n bytes that are in the buffer.
func (r *Reader) take(n int) []byte {
	p := r.buf[r.start : r.start+n]
	r.start += n
	r.taken += int64(n)
	return p
}

// fill makes sure that n bytes are in the buffer. If it must read, what was given
// out before is lost.
func (r *Reader) fill(n int) error {
	if r.end-r.start >= n {
		return nil
	}
	r.end = copy(r.buf, r.buf[r.start:r.end])
	r.start = 0
	for r.end < n {
		if r.eof {
			return r.cut(io.ErrUnexpectedEOF)
		}
		if err := r.read(); err != nil {
			return err
		}
	}
	return nil
}

// read reads once, or until something comes.
func (r *Reader) read() error {
	for range 100 { // as bufio does: a source that gives nothing for ever is broken
		n, err := r.src.Read(r.buf[r.end:])
		r.end += n
		switch {
		case errors.Is(err, io.EOF):
			r.eof = true
			return nil
		case err != nil:
			return r.cut(err)
		case n > 0:
			return nil
		}
	}
	return r.cut(io.ErrNoProgress)
}

// cut says where the stream broke off. A source that failed is named too.
func (r *Reader) cut(err error) error {
	return fmt.Errorf("btrfs stream broke off after %d bytes, in or before command %d: %w: %w",
		r.taken+int64(r.end-r.start), r.index, dataset.ErrCut, err)
}
