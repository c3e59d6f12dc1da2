package fake

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"antipode/fsdrivers/dataset"
)

// record is one decoded record; which fields count depends on kind.
type record struct {
	kind     byte // 0 for the header
	from, to dataset.ID
	name     string
	size     int64
	seed     uint64
	data     []byte
}

// decoder takes in a stream, record by record. What it has taken in can be
// kept, and gone on with on another reader that starts where this one ended.
type decoder struct {
	base  content // what the stream builds on
	files content // what it has built
	begun bool    // the header was seen
	open  *blob   // the file that blocks go to, nil for none
	need  int64   // bytes that it still lacks
	ended bool
	off   int64
	crc   uint32
}

// reader reads one record's bytes and counts them in its CRC.
type reader struct {
	r   io.Reader
	crc uint32
	off int64
	err error
}

func (r *reader) take(n int) []byte {
	p := make([]byte, n)
	if r.err != nil {
		return p
	}
	got, err := io.ReadFull(r.r, p)
	r.off += int64(got)
	r.crc = crc32.Update(r.crc, castagnoli(), p[:got])
	r.err = err
	return p
}

func (r *reader) u8() int     { return int(r.take(1)[0]) }
func (r *reader) u16() int    { return int(binary.BigEndian.Uint16(r.take(2))) }
func (r *reader) u32() uint32 { return binary.BigEndian.Uint32(r.take(4)) }
func (r *reader) u64() uint64 { return binary.BigEndian.Uint64(r.take(8)) }

// read decodes the next record and checks its CRC. It changes the decoder only
// when the record is whole. Errors: ErrCut, ErrRefused.
func (d *decoder) read(src io.Reader) (record, error) {
	r := &reader{r: src, crc: d.crc, off: d.off}
	rec, err := r.record(d.begun)
	want := r.crc
	got := r.u32()
	switch {
	case err != nil:
		return record{}, err
	case errors.Is(r.err, io.EOF) || errors.Is(r.err, io.ErrUnexpectedEOF):
		return record{}, fmt.Errorf("stream ends after %d bytes, without its end mark: %w", r.off, dataset.ErrCut)
	case r.err != nil:
		return record{}, fmt.Errorf("stream failed after %d bytes: %w: %w", r.off, dataset.ErrCut, r.err)
	case got != want:
		return record{}, refuse("the checksum before byte %d is wrong", r.off)
	case rec.kind == kindEnd && rec.size != d.off:
		return record{}, refuse("the end mark at byte %d says %d", d.off, rec.size)
	}
	d.begun, d.off, d.crc = true, r.off, r.crc
	return rec, nil
}

// record decodes all but the CRC. Errors of reading stay in r.err.
func (r *reader) record(begun bool) (record, error) {
	if !begun {
		head := r.take(len(magic) + 1)
		if r.err == nil && (!bytes.HasPrefix(head, []byte(magic)) || head[len(magic)] != version) {
			return record{}, refuse("it does not start with %q, version %d", magic, version)
		}
		from := r.take(r.u8())
		return record{from: dataset.ID(from), to: dataset.ID(r.take(r.u8()))}, nil
	}
	rec := record{kind: r.take(1)[0]}
	if r.err != nil {
		return rec, nil
	}
	switch rec.kind {
	case kindFile:
		rec.size, rec.seed = int64(r.u64()), r.u64()
		return rec, r.text(&rec.name)
	case kindDelete:
		return rec, r.text(&rec.name)
	case kindBlock:
		n := r.u32()
		if n > blockSize {
			return rec, refuse("a block has %d bytes, more than %d", n, blockSize)
		}
		rec.data = r.take(int(n))
	case kindEnd:
		rec.size = int64(r.u64())
	default:
		return rec, refuse("record kind %#x is unknown", rec.kind)
	}
	return rec, nil
}

func (r *reader) text(s *string) error {
	n := r.u16()
	if n > maxNameBytes {
		return refuse("a name has %d bytes, more than %d", n, maxNameBytes)
	}
	*s = string(r.take(n))
	return nil
}

// apply does what a record says. The caller holds the disk's lock.
func (d *decoder) apply(rec record) error {
	if rec.kind != kindBlock && d.need != 0 {
		return refuse("a file lacks %d bytes", d.need)
	}
	switch rec.kind {
	case kindFile:
		if rec.size < 0 {
			return refuse("a file has a size beyond all bounds")
		}
		d.open, d.need = &blob{seed: rec.seed}, rec.size
		d.files[rec.name] = d.open
	case kindDelete:
		delete(d.files, rec.name)
	case kindBlock:
		return d.block(rec.data)
	case kindEnd:
		d.ended = true
	}
	return nil
}

func (d *decoder) block(data []byte) error {
	n := int64(len(data))
	if d.open == nil || n > d.need {
		return refuse("a block is longer than its file")
	}
	b := d.open
	if b.seed == 0 {
		b.data = append(b.data, data...)
	} else {
		want := make([]byte, n)
		b.fill(want, b.size)
		if !bytes.Equal(want, data) {
			return refuse("a block does not follow from its seed")
		}
	}
	b.size += n
	d.need -= n
	return nil
}

// refuse is the answer of the gate.
func refuse(format string, args ...any) error {
	return fmt.Errorf("the stream is not what was planned: %s: %w", fmt.Sprintf(format, args...), dataset.ErrRefused)
}
