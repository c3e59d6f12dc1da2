package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/fletcher"
	"antipode/fsdrivers/zfs/nvlist"
)

// ErrCorrupt means: a checksum does not fit. Such a refusal may also come from
// broken memory or a broken disk; another run of send may be whole.
var ErrCorrupt = errors.New("corrupt")

// RefusedError is a stream that the gate does not let through. It is
// dataset.ErrRefused, and ErrCorrupt if a checksum is wrong.
type RefusedError struct {
	Index  int64  // of the record, 0 is BEGIN
	Type   Type   //
	Object uint64 // what the record works on, 0 if it is about none
	What   string

	corrupt bool
}

// Error names the record, what it works on and what is wrong with it.
func (e *RefusedError) Error() string {
	where := fmt.Sprintf(" at record %d, %v", e.Index, e.Type)
	if e.Object != 0 {
		where += fmt.Sprintf(" of object %d", e.Object)
	}
	return "zfs stream refused" + where + ": " + e.What
}

// Is makes errors.Is(err, dataset.ErrRefused) true.
func (e *RefusedError) Is(target error) bool {
	return target == dataset.ErrRefused || e.corrupt && target == ErrCorrupt
}

// refuse refuses a record, with its object where it has one.
func refuse(r Record, format string, args ...any) error {
	e := &RefusedError{Index: r.Index, Type: r.Type, What: fmt.Sprintf(format, args...)}
	if r.Type != Begin && r.Type != End {
		e.Object = r.u64(atObject)
	}
	return e
}

// checkOpening refuses what is no single stream of this byte order, before
// anything in it is believed.
func checkOpening(r Record) error {
	version := r.u64(beginVersion)
	switch {
	case r.u64(beginMagic) == bytesSwapped(magic):
		return refuse(r, "it was sent by a machine of the other byte order, which Antipode does not support")
	case r.Type != Begin || r.u64(beginMagic) != magic:
		return &RefusedError{What: "it is not a zfs send stream"}
	case version&3 == 2:
		return refuse(r, "it is a package of several streams or carries properties (zfs send -R, -p, -b or -h); send without them")
	case version&3 != 1 || version>>58 != 0:
		return refuse(r, "its version %#x is unknown", version)
	}
	return nil
}

func bytesSwapped(v uint64) uint64 {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], v)
	return binary.LittleEndian.Uint64(b[:])
}

// parseOpening reads BEGIN and the list that follows it.
func parseOpening(r Record) (Opening, error) {
	name, _, terminated := bytes.Cut(r.Raw[beginName:beginName+toNameBytes], []byte{0})
	if !terminated {
		return Opening{}, refuse(r, "its name has no end")
	}
	o := Opening{
		Kind: Kind(r.u32(beginKind)), ToGUID: r.u64(beginToGUID), FromGUID: r.u64(beginFromGUID),
		Features: Features(r.u64(beginVersion) >> 2), Flags: Flags(r.u32(beginFlags)), ToName: string(name),
		Created: time.Unix(int64(r.u64(beginCreated)), 0).UTC(),
	}
	if len(r.payload()) == 0 {
		return o, nil
	}
	list, err := nvlist.Parse(r.payload())
	if err != nil {
		return Opening{}, refuse(r, "the list behind it: %v", err)
	}
	if err := o.take(list); err != nil {
		return Opening{}, refuse(r, "the list behind it: %v", err)
	}
	return o, nil
}

// take reads the list of BEGIN. What is unknown there may change what the kernel
// does, so it is refused.
func (o *Opening) take(list nvlist.List) (err error) {
	var at Position
	for _, p := range list {
		switch p.Name {
		case "resume_object":
			at.Object, err = p.Uint64()
			o.Resume = &at
		case "resume_offset":
			at.Offset, err = p.Uint64()
			o.Resume = &at
		case "crypt_keydata":
			o.Key, err = parseKey(p)
		default:
			err = fmt.Errorf("it has an entry %.64q, which Antipode does not know", p.Name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Judge compares what a stream announces with the plan, as Copy does before it
// passes anything on. Errors: *RefusedError.
func Judge(o Opening, p Plan) error {
	if err := p.validate(); err != nil {
		return err
	}
	_, err := openGate(o, p)
	return err
}

// openGate checks what the stream announces against the plan.
func openGate(o Opening, p Plan) (gate, error) {
	allowed := p.Features
	if allowed == 0 {
		allowed = Allowed
	}
	extra := o.Features &^ (allowed | Raw | Resuming)
	var what string
	switch {
	case extra != 0:
		what = fmt.Sprintf("it uses features that were not agreed on: %v", extra)
	case o.Flags&FlagClone != 0:
		what = "it asks to be received as a clone of another dataset's snapshot"
	case o.Flags&^allowedFlags != 0:
		what = fmt.Sprintf("it has unknown flags %#x", uint32(o.Flags&^allowedFlags))
	case o.ToGUID != p.ToGUID:
		what = fmt.Sprintf("it is of snapshot %016x, planned was %016x", o.ToGUID, p.ToGUID)
	case o.FromGUID != p.FromGUID:
		what = fmt.Sprintf("its base is %016x, planned was %016x (0 is none)", o.FromGUID, p.FromGUID)
	case o.Kind != Filesystem && o.Kind != Volume, p.Kind != 0 && o.Kind != p.Kind:
		what = fmt.Sprintf("it is of a %v, planned was a %v", o.Kind, p.Kind)
	case o.IsRaw() != p.Raw:
		what = fmt.Sprintf("raw is %v, and %v for this replica; the two are never mixed", o.IsRaw(), p.Raw)
	case o.IsRaw() == o.Key.IsZero():
		what = "a raw stream, and only that, carries a wrapped key"
	case !p.Key.IsZero() && o.Key != p.Key:
		what = "its wrapped key is not the one that was pinned; if the key was changed on purpose, approve it here first"
	default:
		what = wrongResume(o, p)
	}
	if what != "" {
		return gate{}, &RefusedError{What: what}
	}
	return gate{Opening: o}, nil
}

// wrongResume tells what is wrong with where the stream goes on; "" if nothing.
func wrongResume(o Opening, p Plan) string {
	switch {
	case (o.Features&Resuming != 0) != (o.Resume != nil):
		return "it says that it goes on and not where, or the other way round"
	case o.Resume == nil && p.Resume != nil:
		return "it starts at its beginning, and was to go on where it broke off"
	case o.Resume != nil && p.Resume == nil:
		return "it goes on in the middle, and was to start at its beginning"
	case o.Resume != nil && *o.Resume != *p.Resume:
		return fmt.Sprintf("it goes on at object %d, offset %d, and was to at object %d, offset %d",
			o.Resume.Object, o.Resume.Offset, p.Resume.Object, p.Resume.Offset)
	}
	return ""
}

// gate decides whether a record may pass. It judges one at a time and remembers
// only how far the stream is, and the last block of objects.
//
// Senders go through objects and offsets in order (dmu_send.c: dmu_dump_write,
// send_range_after), and the kernel relies on it. A block that is to be written
// stands in no dbuf (dbuf_dirty_lightweight): if its object is freed or changed
// before it is, the sync thread follows a null pointer (dnode_undirty_dbufs) or
// writes it with a size that is not its own, and if it comes twice, space leaks.
type gate struct {
	Opening
	object  uint64 // of the last record that has one
	slots   uint64 // first object of the last OBJECT_RANGE
	ranged  bool   // there was one
	begun   uint64 // object of the last OBJECT, 0 before the first
	written uint64 // object of the last WRITE, 0 before the first
	end     uint64 // offset behind the last WRITE
	// blocks are how many bytes the blocks of raw objects in that range have, 0
	// for those that were not in the stream.
	blocks [dnodesPerBlock]uint32
}

// check refuses anything but a record that may stand between BEGIN and END, and
// END with the checksum of all before it.
func (g *gate) check(r Record, before *fletcher.Sum) error {
	at, known := toGUID[r.Type]
	if !known {
		return refuse(r, "it must not be there (deduplicated, redacted, or a second stream)")
	}
	if got := r.u64(at); got != g.ToGUID {
		return refuse(r, "it belongs to snapshot %016x, the stream is of %016x", got, g.ToGUID)
	}
	if r.Type == End {
		if before.Bytes() != [fletcher.Size]byte(r.Raw[endSum:]) {
			return &RefusedError{Index: r.Index, Type: End, What: "the checksum of the whole is wrong", corrupt: true}
		}
		return nil
	}
	object := r.u64(atObject)
	if object >= MaxObject && r.Type != FreeObjects {
		return refuse(r, "no object has that number")
	}
	g.object = object
	if what := g.wrong(r); what != "" {
		return refuse(r, "%s", what)
	}
	return nil
}

// wrong tells what the kernel would have to refuse, or might not; "" if nothing.
// The bounds are those of dmu_recv.c, and stricter where no sender reaches them.
func (g *gate) wrong(r Record) string {
	switch r.Type {
	case Object:
		return g.wrongObject(r)
	case ObjectRange:
		return g.wrongRange(r)
	case Write:
		return g.wrongWrite(r)
	case WriteEmbedded:
		return g.wrongEmbedded(r)
	case Spill:
		return g.wrongSpill(r)
	case FreeObjects:
		first := r.u64(atObject)
		switch {
		case first+r.u64(freeObjectsCount) < first:
			return "its range of objects has no end"
		case g.written != 0 && first <= g.written:
			return fmt.Sprintf("it comes after what object %d has", g.written)
		}
	case Free:
		if from, n := r.u64(freeOffset), r.u64(freeLength); n != 1<<64-1 && from+n < from {
			return "its range has no end"
		}
	}
	return ""
}

func (g *gate) wrongObject(r Record) string {
	slots := max(uint64(r.u8(objSlots)), 1)
	room := slots*sectorBytes - slotOverhead
	bonus, raw := uint64(r.u32(objBonus)), uint64(r.u32(objRawBonus))
	object := r.u64(atObject)
	switch {
	case slots > maxSlots:
		return fmt.Sprintf("it takes %d slots, more than %d", slots, maxSlots)
	case object == 0:
		return "it is the object that holds all others"
	case object <= max(g.begun, g.written):
		return fmt.Sprintf("it comes after object %d", max(g.begun, g.written))
	case !isObjectType(r.u32(objType)) || r.u32(objType) == 0 || !isObjectType(r.u32(objBonusType)):
		return "its type is unknown"
	case isStructure(r.u32(objType)) || isStructure(r.u32(objBonusType)):
		return "its content would be taken for ZFS's own structure"
	case r.u8(objChecksum) >= checksums || r.u8(objCompress) >= compressions:
		return "its checksum or compression is unknown"
	case ownChecksums>>r.u8(objChecksum)&1 != 0:
		return "its checksum is one of ZFS's own blocks"
	case !g.isBlockSize(uint64(r.u32(objBlock))):
		return fmt.Sprintf("its blocks have %d bytes", r.u32(objBlock))
	case bonus > room || raw > room:
		return fmt.Sprintf("its bonus of %d bytes does not fit into %d slots", max(bonus, raw), slots)
	case g.IsRaw():
		if what := g.wrongRawObject(r, room-bonus); what != "" {
			return what
		}
		g.blocks[object%dnodesPerBlock] = r.u32(objBlock)
	case raw != 0 || r.u8(objIndirect) != 0 || r.u8(objLevels) != 0 || r.u8(objBlockPtrs) != 0:
		return "it has fields that only raw streams have"
	case r.u8(objFlags)&^objectSpill != 0, r.u8(objFlags) != 0 && g.Flags&FlagSpillBlock == 0:
		return "its flags are unknown"
	}
	g.begun = object
	return ""
}

// objectSpill is DRR_OBJECT_SPILL.
const objectSpill = 1 << 2

// ownChecksums are, as bits, the kinds that labels, gang blocks and the intent log
// have: LABEL, GANG_HEADER, ZILOG, ZILOG2. With the last one the block itself says
// how much of it counts, and the kernel believes it (zio_checksum_compute).
const ownChecksums = 1<<3 | 1<<4 | 1<<5 | 1<<9

// wrongRawObject judges what only raw streams say of an object: the kernel builds
// its tree of blocks as they say, and panics or hangs where that cannot be
// (receive_object, dnode_new_blkid, dbuf_lightweight_bp). Spare is the room that
// its bonus leaves.
func (g *gate) wrongRawObject(r Record, spare uint64) string {
	object, indirect, levels, pointers := r.u64(atObject), r.u8(objIndirect), r.u8(objLevels), r.u8(objBlockPtrs)
	switch {
	case !g.ranged || object < g.slots || object >= g.slots+dnodesPerBlock:
		return "no OBJECT_RANGE before it covers it"
	case r.u32(objRawBonus) < r.u32(objBonus):
		return "its raw bonus is shorter than its bonus"
	case indirect < minIndirect || indirect > maxIndirect || levels < 1 || levels > maxLevels || pointers < 1 || pointers > maxBlockPtrs:
		return "its tree of blocks is out of bounds"
	}
	last, below := r.u64(objLastBlock), uint64(levels-1)*uint64(indirect-blockPtrShift)
	switch {
	case below >= 64:
		return "its tree of blocks is deeper than any object"
	case last > math.MaxUint64/uint64(r.u32(objBlock)):
		return fmt.Sprintf("it has no block %d", last)
	case last>>below >= kernelPointers(r.u32(objBonusType), spare):
		return fmt.Sprintf("its tree of blocks has no room for block %d", last)
	}
	return ""
}

// kernelPointers is how many block pointers a received object has, whatever the
// stream says (dnode_allocate, dnode_reallocate).
func kernelPointers(bonusType uint32, spare uint64) uint64 {
	const systemAttributes = 44 // DMU_OT_SA
	if bonusType == systemAttributes {
		return 1
	}
	return min(maxBlockPtrs, 1+spare>>blockPtrShift)
}

func (g *gate) wrongRange(r Record) string {
	first := r.u64(atObject)
	switch {
	case !g.IsRaw():
		return "only raw streams have it"
	case first%dnodesPerBlock != 0 || r.u64(rangeSlots) != dnodesPerBlock:
		return "it is not one block of objects"
	}
	g.slots, g.ranged, g.blocks = first, true, [dnodesPerBlock]uint32{}
	return ""
}

func (g *gate) wrongWrite(r Record) string {
	object, offset, size := r.u64(atObject), r.u64(writeOffset), r.u64(writeSize)
	switch {
	case object < g.written || object == g.written && offset < g.end:
		return fmt.Sprintf("it comes after offset %d of object %d", g.end, g.written)
	case !isObjectType(r.u32(writeType)):
		return "its type is unknown"
	case !g.isBlockSize(size):
		return fmt.Sprintf("it writes %d bytes", size)
	case offset+size < offset:
		return "its range has no end"
	case r.u8(writeFlags)&^writeFlagBits != 0:
		return "its flags are unknown"
	case g.IsRaw() && g.rawBlock(object) != size:
		return fmt.Sprintf("it writes %d bytes, and blocks of its object have %d (0: it was not in the stream)", size, g.rawBlock(object))
	}
	g.written, g.end = object, offset+size
	return g.wrongPacking(r.u8(writeCompress), r.u64(writePacked), size)
}

// writeFlagBits are DRR_CHECKSUM_DEDUP, a hint, and DRR_RAW_BYTESWAP.
const writeFlagBits = 1<<0 | 1<<1

// rawBlock is how many bytes the blocks of a raw object have, if it was in the
// last range; 0 if not. Anything else is written by a way that needs the key
// (flush_write_batch_impl).
func (g *gate) rawBlock(object uint64) uint64 {
	if object < g.slots || object >= g.slots+dnodesPerBlock {
		return 0
	}
	return uint64(g.blocks[object%dnodesPerBlock])
}

// wrongPacking judges how the payload is compressed. The kernel keeps kind and
// sizes as they come: a block that is said to be not compressed and is shorter
// than its size would be read together with what lies behind it on the disk.
func (g *gate) wrongPacking(kind uint8, packed, size uint64) string {
	switch {
	case !g.IsRaw() && kind == 0 && packed == 0:
		return ""
	case !g.IsRaw() && g.Features&Compressed == 0:
		return "it is compressed, and the stream is not"
	case !isAlgorithm(kind) && (!g.IsRaw() || kind != notCompressed):
		return "its compression is unknown"
	case kind == notCompressed && packed != size, packed == 0 || packed > size || packed%sectorBytes != 0:
		return fmt.Sprintf("%d bytes cannot be compressed to %d", size, packed)
	}
	return ""
}

// notCompressed is ZIO_COMPRESS_OFF.
const notCompressed = 2

// isAlgorithm reports whether a compressed block can be of that kind.
func isAlgorithm(kind uint8) bool {
	const empty = 4 // ZIO_COMPRESS_EMPTY, which finds blocks of zeros and packs none
	return kind > notCompressed && kind < compressions && kind != empty
}

func (g *gate) wrongEmbedded(r Record) string {
	offset, length, size := r.u64(embOffset), r.u64(embLength), uint64(r.u32(embSize))
	switch {
	case g.IsRaw() || g.Features&EmbedData == 0:
		return "the stream announces no embedded data"
	case offset+length < offset || length > MaxPayload || size == 0 || size > max(length, sectorBytes):
		return "its range is out of bounds"
	case r.u32(embPacked) > maxEmbedded || r.u8(embKind) != 0 || !isAlgorithm(r.u8(embCompress)):
		return "its content is out of bounds"
	}
	return ""
}

func (g *gate) wrongSpill(r Record) string {
	size := r.u64(spillSize)
	switch {
	case !g.isBlockSize(size):
		return fmt.Sprintf("it has %d bytes", size)
	case !g.IsRaw() && (r.u8(spillCompress) != 0 || r.u64(spillPacked) != 0):
		return "it has fields that only raw streams have"
	case !isObjectType(r.u32(spillType)):
		return "its type is unknown"
	}
	return g.wrongPacking(r.u8(spillCompress), r.u64(spillPacked), size)
}

// isBlockSize reports whether a block can have that many bytes.
func (g *gate) isBlockSize(n uint64) bool {
	most := uint64(oldMaxBlock)
	if g.IsRaw() || g.Features&LargeBlocks != 0 {
		most = MaxPayload
	}
	return n >= sectorBytes && n <= most && n%sectorBytes == 0
}

// isObjectType reports whether OpenZFS has such objects (dmu.h): 54 numbered
// ones, and ones that say with bits how they are to be treated.
func isObjectType(t uint32) bool {
	const numbered, newType, swaps, other = 54, 0x80, 10, 0x60
	if t&newType != 0 {
		return t&^(newType|other) < swaps
	}
	return t < numbered
}

// isStructure reports whether ZFS follows what is in blocks of such objects: its
// intent log, objects and object sets (traverse_visitbp, zio_crypt_init_uios).
// Block pointers that a sender made up would be read, sent and freed.
func isStructure(t uint32) bool {
	const intentLog, objectSet = 9, 11
	return t >= intentLog && t <= objectSet
}
