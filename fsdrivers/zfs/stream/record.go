package stream

import "encoding/binary"

// Record is one record as it stands in the stream, proven by the checksum of the
// one behind it. It is valid until the Reader next reads from its source, see
// Reader.Buffered.
type Record struct {
	Type  Type
	Index int64  // 0 is BEGIN
	Raw   []byte // the 312 bytes and the payload
}

func (r Record) u64(at int) uint64 { return binary.LittleEndian.Uint64(r.Raw[at:]) }
func (r Record) u32(at int) uint32 { return binary.LittleEndian.Uint32(r.Raw[at:]) }
func (r Record) u8(at int) uint8   { return r.Raw[at] }

// payload is what follows the record.
func (r Record) payload() []byte { return r.Raw[recordBytes:] }

// Where the fields are, from the beginning of the record (zfs_ioctl.h). All
// records but the ones named here have their object, or first object, at 8.
const (
	atPayloadLen = 4
	atObject     = 8

	beginMagic, beginVersion, beginCreated, beginKind = 8, 16, 24, 32
	beginFlags, beginToGUID, beginFromGUID, beginName = 36, 40, 48, 56
	endSum                                            = 8
	objType, objBonusType, objBlock, objBonus         = 16, 20, 24, 28
	objChecksum, objCompress, objSlots, objFlags      = 32, 33, 34, 35
	objRawBonus, objIndirect, objLevels, objBlockPtrs = 36, 48, 49, 50
	objLastBlock                                      = 56
	writeType, writeOffset, writeSize, writeFlags     = 16, 24, 32, 49
	writeCompress, writePacked                        = 50, 96
	freeOffset, freeLength                            = 16, 24
	freeObjectsCount                                  = 16
	spillSize, spillFlags, spillCompress, spillPacked = 16, 32, 33, 40
	spillType                                         = 84
	embOffset, embLength, embCompress, embKind        = 16, 24, 40, 41
	embSize, embPacked                                = 48, 52
	rangeSlots                                        = 16
)

// toGUID says where each type of record repeats the identity of the stream.
var toGUID = map[Type]int{
	Object: 40, FreeObjects: 24, Write: 40, Free: 32, End: 40, Spill: 24, WriteEmbedded: 32, ObjectRange: 24,
}

// payloadSize is how long the payload is that the fields announce. It may be
// anything up to 2^64: the gate bounds it.
func (r Record) payloadSize() uint64 {
	switch r.Type {
	case Begin:
		return uint64(r.u32(atPayloadLen))
	case Object:
		if raw := r.u32(objRawBonus); raw != 0 {
			return uint64(raw)
		}
		return (uint64(r.u32(objBonus)) + 7) &^ 7
	case Write:
		if r.u8(writeCompress) != 0 {
			return r.u64(writePacked)
		}
		return r.u64(writeSize)
	case Spill:
		if packed := r.u64(spillPacked); packed != 0 {
			return packed
		}
		return r.u64(spillSize)
	case WriteEmbedded:
		return (uint64(r.u32(embPacked)) + 7) &^ 7
	}
	return 0
}
