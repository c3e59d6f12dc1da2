package stream

import (
	"encoding/binary"

	"antipode/fsdrivers/zfs/fletcher"
	"antipode/fsdrivers/zfs/nvlist"
)

// Encoder makes streams, or parts of them, in memory, with checksums that fit. It
// knows the framing and not which records make sense. The zero Encoder is ready.
type Encoder struct {
	buf []byte
	sum fletcher.Sum
}

// Field puts a number at a place of a record.
type Field struct {
	At   int
	Size int // 1, 4 or 8 bytes
	Val  uint64
}

// Begin adds the record that opens a stream, and the list behind it if o has one
// to show or extra is not empty. Its header type is SUBSTREAM.
func (e *Encoder) Begin(o Opening, extra ...nvlist.Entry) {
	var list nvlist.List
	if o.Resume != nil {
		list = nvlist.List{
			{Name: "resume_object", Type: nvlist.Uint64Entry, Num: o.Resume.Object},
			{Name: "resume_offset", Type: nvlist.Uint64Entry, Num: o.Resume.Offset},
		}
	}
	list = append(list, extra...)
	var payload []byte
	if len(list) > 0 {
		payload = list.Pack()
	}
	raw := make([]byte, recordBytes)
	put(raw, Field{beginMagic, 8, magic})
	put(raw, Field{beginVersion, 8, uint64(o.Features)<<2 | 1})
	put(raw, Field{beginCreated, 8, uint64(o.Created.Unix())})
	put(raw, Field{beginKind, 4, uint64(o.Kind)})
	put(raw, Field{beginFlags, 4, uint64(o.Flags)})
	put(raw, Field{beginToGUID, 8, o.ToGUID})
	put(raw, Field{beginFromGUID, 8, o.FromGUID})
	put(raw, Field{atPayloadLen, 4, uint64(len(payload))})
	copy(raw[beginName:beginName+toNameBytes-1], o.ToName)
	e.buf = append(append(e.buf, raw...), payload...)
	e.sum.Add(raw)
	e.sum.Add(payload)
}

// Record adds any other record and its payload, whose length is a multiple of
// four.
func (e *Encoder) Record(t Type, payload []byte, fields ...Field) {
	raw := make([]byte, recordBytes)
	put(raw, Field{0, 4, uint64(t)})
	for _, f := range fields {
		put(raw, f)
	}
	if t == End {
		sum := e.sum.Bytes()
		copy(raw[endSum:], sum[:])
	}
	e.sum.Add(raw[:sumOffset])
	sum := e.sum.Bytes()
	copy(raw[sumOffset:], sum[:])
	e.sum.Add(raw[sumOffset:])
	e.sum.Add(payload)
	e.buf = append(append(e.buf, raw...), payload...)
}

// File adds an object of plain content, with one block of it at each offset that
// is a multiple of the block's length.
func (e *Encoder) File(to, object uint64, blocks ...[]byte) {
	size := uint64(oldMaxBlock)
	if len(blocks) > 0 {
		size = uint64(len(blocks[0]))
	}
	e.Record(Object, make([]byte, 168), Field{toGUID[Object], 8, to}, Field{atObject, 8, object},
		Field{objType, 4, 19}, Field{objBonusType, 4, 44}, Field{objBlock, 4, size}, Field{objBonus, 4, 168}, Field{objSlots, 1, 1})
	for i, b := range blocks {
		e.Record(Write, b, Field{toGUID[Write], 8, to}, Field{atObject, 8, object}, Field{writeType, 4, 19},
			Field{writeOffset, 8, uint64(i) * size}, Field{writeSize, 8, uint64(len(b))})
	}
}

// End adds the record that ends a stream.
func (e *Encoder) End(to uint64) { e.Record(End, nil, Field{toGUID[End], 8, to}) }

// Bytes returns what was encoded.
func (e *Encoder) Bytes() []byte { return e.buf }

func put(raw []byte, f Field) {
	switch f.Size {
	case 1:
		raw[f.At] = byte(f.Val)
	case 4:
		binary.LittleEndian.PutUint32(raw[f.At:], uint32(f.Val))
	default:
		binary.LittleEndian.PutUint64(raw[f.At:], f.Val)
	}
}
