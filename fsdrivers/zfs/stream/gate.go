package stream

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
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
// only the last OBJECT_RANGE and how far the stream is.
type gate struct {
	Opening
	object uint64 // of the last record that has one
	slots  uint64 // first object of the last OBJECT_RANGE
	ranged bool   // there was one
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
		if first := r.u64(atObject); first+r.u64(freeObjectsCount) < first {
			return "its range of objects has no end"
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
	switch {
	case slots > maxSlots:
		return fmt.Sprintf("it takes %d slots, more than %d", slots, maxSlots)
	case r.u64(atObject) == 0:
		return "it is the object that holds all others"
	case !isObjectType(r.u32(objType)) || r.u32(objType) == 0 || !isObjectType(r.u32(objBonusType)):
		return "its type is unknown"
	case r.u8(objChecksum) >= checksums || r.u8(objCompress) >= compressions:
		return "its checksum or compression is unknown"
	case !g.isBlockSize(uint64(r.u32(objBlock))):
		return fmt.Sprintf("its blocks have %d bytes", r.u32(objBlock))
	case bonus > room || raw > room:
		return fmt.Sprintf("its bonus of %d bytes does not fit into %d slots", max(bonus, raw), slots)
	case g.IsRaw():
		return g.wrongRawObject(r)
	case raw != 0 || r.u8(objIndirect) != 0 || r.u8(objLevels) != 0 || r.u8(objBlockPtrs) != 0:
		return "it has fields that only raw streams have"
	case r.u8(objFlags)&^objectSpill != 0, r.u8(objFlags) != 0 && g.Flags&FlagSpillBlock == 0:
		return "its flags are unknown"
	}
	return ""
}

// objectSpill is DRR_OBJECT_SPILL.
const objectSpill = 1 << 2

func (g *gate) wrongRawObject(r Record) string {
	object := r.u64(atObject)
	switch {
	case !g.ranged || object < g.slots || object >= g.slots+dnodesPerBlock:
		return "no OBJECT_RANGE before it covers it"
	case r.u32(objRawBonus) < r.u32(objBonus):
		return "its raw bonus is shorter than its bonus"
	case r.u8(objIndirect) > maxIndirect || r.u8(objLevels) > maxLevels || r.u8(objBlockPtrs) > maxBlockPtrs:
		return "its tree of blocks is out of bounds"
	}
	return ""
}

func (g *gate) wrongRange(r Record) string {
	first := r.u64(atObject)
	switch {
	case !g.IsRaw():
		return "only raw streams have it"
	case first%dnodesPerBlock != 0 || r.u64(rangeSlots) != dnodesPerBlock:
		return "it is not one block of objects"
	}
	g.slots, g.ranged = first, true
	return ""
}

func (g *gate) wrongWrite(r Record) string {
	offset, size := r.u64(writeOffset), r.u64(writeSize)
	switch {
	case !isObjectType(r.u32(writeType)):
		return "its type is unknown"
	case !g.isBlockSize(size):
		return fmt.Sprintf("it writes %d bytes", size)
	case offset+size < offset:
		return "its range has no end"
	case r.u8(writeFlags)&^writeFlagBits != 0:
		return "its flags are unknown"
	}
	return g.wrongPacking(r.u8(writeCompress), r.u64(writePacked), size)
}

// writeFlagBits are DRR_CHECKSUM_DEDUP, a hint, and DRR_RAW_BYTESWAP.
const writeFlagBits = 1<<0 | 1<<1

// wrongPacking judges how the payload is compressed.
func (g *gate) wrongPacking(kind uint8, packed, size uint64) string {
	switch {
	case kind >= compressions:
		return "its compression is unknown"
	case g.IsRaw() && packed == 0:
		return "it has no size on the disk"
	case kind == 0:
		return ""
	case !g.IsRaw() && g.Features&Compressed == 0:
		return "it is compressed, and the stream is not"
	case packed == 0 || packed > size:
		return fmt.Sprintf("%d bytes cannot be compressed to %d", size, packed)
	}
	return ""
}

func (g *gate) wrongEmbedded(r Record) string {
	offset, length, size := r.u64(embOffset), r.u64(embLength), uint64(r.u32(embSize))
	switch {
	case g.IsRaw() || g.Features&EmbedData == 0:
		return "the stream announces no embedded data"
	case offset+length < offset || length > MaxPayload || size == 0 || size > max(length, sectorBytes):
		return "its range is out of bounds"
	case r.u32(embPacked) > maxEmbedded || r.u8(embKind) != 0 || r.u8(embCompress) >= compressions:
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
	case !g.IsRaw():
		return ""
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
