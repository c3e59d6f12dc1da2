package fake

import (
	"encoding/binary"
	"hash/crc32"

	"antipode/fsdrivers/dataset"
)

const (
	magic   = "afakestr"
	version = 1

	blockSize    = 64 << 10 // bytes of a file in one record
	maxNameBytes = 4 << 10
	crcBytes     = 4
)

// The kinds of a record.
const (
	kindFile   = 'F'
	kindBlock  = 'B'
	kindDelete = 'D'
	kindEnd    = 'E'
)

// castagnoli returns the CRC-32C table (the library keeps one).
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// encoder makes a stream, one record a call.
type encoder struct {
	from, to dataset.ID
	files    content
	write    []string // files to send, the first one being sent
	remove   []string
	at       int64  // bytes of write[0] that were sent
	opened   bool   // write[0] was announced
	ended    bool   // the end mark was made
	off      int64  // bytes made so far
	crc      uint32 // of them
}

// newEncoder makes the stream of what to has beyond base, nil for a full one.
func newEncoder(from, to dataset.ID, base, files content) *encoder {
	e := &encoder{from: from, to: to, files: files}
	e.write, e.remove = files.changes(base)
	return e
}

// size is how many bytes of content the stream carries.
func (e *encoder) size() (sum int64) {
	for _, name := range e.write {
		sum += e.files[name].size
	}
	return sum
}

// next returns the next record, nil after the last.
func (e *encoder) next() []byte {
	switch {
	case e.off == 0:
		rec := append([]byte(magic), version)
		rec = appendText8(rec, string(e.from))
		return e.seal(appendText8(rec, string(e.to)))
	case len(e.remove) > 0:
		name := e.remove[0]
		e.remove = e.remove[1:]
		return e.seal(appendText16([]byte{kindDelete}, name))
	case len(e.write) > 0:
		return e.nextOfFile()
	case !e.ended:
		e.ended = true
		return e.seal(binary.BigEndian.AppendUint64([]byte{kindEnd}, uint64(e.off)))
	}
	return nil
}

// nextOfFile announces write[0] or sends its next block.
func (e *encoder) nextOfFile() []byte {
	name := e.write[0]
	b := e.files[name]
	var rec []byte
	if !e.opened {
		e.opened = true
		rec = binary.BigEndian.AppendUint64([]byte{kindFile}, uint64(b.size))
		rec = binary.BigEndian.AppendUint64(rec, b.seed)
		rec = appendText16(rec, name)
	} else {
		n := min(blockSize, b.size-e.at)
		rec = make([]byte, 5+n, 5+n+crcBytes)
		rec[0] = kindBlock
		binary.BigEndian.PutUint32(rec[1:], uint32(n))
		b.fill(rec[5:], e.at)
		e.at += n
	}
	if e.at == b.size {
		e.write, e.at, e.opened = e.write[1:], 0, false
	}
	return e.seal(rec)
}

// seal appends the CRC of the stream so far.
func (e *encoder) seal(rec []byte) []byte {
	e.crc = crc32.Update(e.crc, castagnoli(), rec)
	rec = binary.BigEndian.AppendUint32(rec, e.crc)
	e.crc = crc32.Update(e.crc, castagnoli(), rec[len(rec)-crcBytes:])
	e.off += int64(len(rec))
	return rec
}

func appendText8(b []byte, s string) []byte { return append(append(b, byte(len(s))), s...) }

func appendText16(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}
