package stream

import (
	"encoding/binary"
	"fmt"
)

// Attr is one attribute to encode.
type Attr struct {
	Type  AttrType
	Value []byte
}

// Uint64 is an attribute of eight bytes.
func Uint64(t AttrType, v uint64) Attr { return Attr{t, binary.LittleEndian.AppendUint64(nil, v)} }

// Uint32 is an attribute of four bytes.
func Uint32(t AttrType, v uint32) Attr { return Attr{t, binary.LittleEndian.AppendUint32(nil, v)} }

// ID is an attribute that holds a UUID.
func ID(t AttrType, u UUID) Attr { return Attr{t, u[:]} }

// Text is an attribute that holds a path or a name.
func Text(t AttrType, s string) Attr { return Attr{t, []byte(s)} }

// Time is an attribute that holds a point in time.
func Time(t AttrType, sec int64, nsec uint32) Attr {
	return Attr{t, binary.LittleEndian.AppendUint32(binary.LittleEndian.AppendUint64(nil, uint64(sec)), nsec)}
}

// Encoder makes streams, or parts of them, in memory. It knows the framing and
// not which commands make sense. The zero Encoder is not usable.
type Encoder struct {
	version uint32
	buf     []byte
	err     error
}

// NewEncoder encodes for a version of the format, 1 or 2.
func NewEncoder(version uint32) *Encoder { return &Encoder{version: version} }

// Header adds the header of a stream.
func (e *Encoder) Header() {
	e.buf = binary.LittleEndian.AppendUint32(append(e.buf, magic...), e.version)
}

// Command adds a command. In version 2 AttrData must come last. A value that is
// too long for the format is an error of Bytes.
func (e *Encoder) Command(t Type, attrs ...Attr) {
	at := len(e.buf)
	e.buf = append(e.buf, make([]byte, commandBytes)...)
	for i, a := range attrs {
		e.attr(t, a, i == len(attrs)-1)
	}
	raw := e.buf[at:]
	binary.LittleEndian.PutUint32(raw, uint32(len(raw)-commandBytes))
	binary.LittleEndian.PutUint16(raw[4:], uint16(t))
	Command{Raw: raw}.seal()
}

func (e *Encoder) attr(t Type, a Attr, last bool) {
	e.buf = binary.LittleEndian.AppendUint16(e.buf, uint16(a.Type))
	open := e.version >= 2 && a.Type == AttrData
	switch {
	case open && !last:
		e.err = fmt.Errorf("encode %v: data are not last", t)
	case open:
	case len(a.Value) > maxAttrLength:
		e.err = fmt.Errorf("encode %v: attribute %d has %d bytes, more than %d", t, a.Type, len(a.Value), maxAttrLength)
	default:
		e.buf = binary.LittleEndian.AppendUint16(e.buf, uint16(len(a.Value)))
	}
	e.buf = append(e.buf, a.Value...)
}

// First adds the command that opens a stream: SUBVOL, or SNAPSHOT where f has a
// source to clone from.
func (e *Encoder) First(f First) {
	attrs := []Attr{Text(AttrPath, f.Name), ID(AttrUUID, f.UUID), Uint64(AttrCtransid, f.Ctransid)}
	if f.IsFull() {
		e.Command(Subvol, attrs...)
		return
	}
	e.Command(Snapshot, append(attrs, ID(AttrCloneUUID, f.CloneUUID), Uint64(AttrCloneCtransid, f.CloneCtransid))...)
}

// End adds the command that ends a stream.
func (e *Encoder) End() { e.Command(End) }

// Bytes returns what was encoded.
func (e *Encoder) Bytes() ([]byte, error) { return e.buf, e.err }
