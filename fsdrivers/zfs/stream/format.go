// Package stream is the format of `zfs send`: it reads a stream record by record
// and lets through only what was planned (the gate). It also reads and makes
// resume tokens.
//
// It is pure: bytes in, bytes out. It starts nothing, opens nothing, and knows no
// jobs. The parts stand apart: Reader (framing and checksums), gate (is this
// record allowed), nvlist (the lists in BEGIN and in tokens), Encoder (records of
// our own making, for tests).
//
// The format (include/sys/zfs_ioctl.h of OpenZFS), integers little-endian:
//
//	stream   BEGIN, records, END
//	record   312 bytes: type u32, payload length u32 (only BEGIN's is used),
//	         fields of the type, and, but for BEGIN, in the last 32 bytes the
//	         Fletcher-4 checksum of everything before them
//	payload  follows the record; how long it is follows from the fields
//
// A record's checksum covers itself and the payload before it, so a record is
// given out only when the one behind it proves its payload: nothing that is
// damaged reaches the kernel. END carries the checksum of all before it.
package stream

import (
	"fmt"
	"strings"

	"antipode/fsdrivers/zfs/fletcher"
	"antipode/fsdrivers/zfs/nvlist"
)

// Limits. Records of other sizes do not exist; what the kernel takes in is
// bounded by SPA_MAXBLOCKSIZE and, for the list in BEGIN, far above any real one.
const (
	MaxPayload      = 16 << 20 // bytes: SPA_MAXBLOCKSIZE
	MaxBeginPayload = nvlist.MaxBytes
	recordBytes     = 312
	sumOffset       = recordBytes - fletcher.Size
	magic           = 0x2F5bacbac
	firstBytes      = 16 << 10  // what Reader holds at first: most increments are small
	bufferBytes     = 1 << 20   // and when more comes
	sectorBytes     = 512       // SPA_MINBLOCKSIZE
	oldMaxBlock     = 128 << 10 // SPA_OLD_MAXBLOCKSIZE
	MaxObject       = 1 << 48   // DN_MAX_OBJECT
	dnodesPerBlock  = 32
	maxSlots        = 32 // of 512 bytes: a dnode of 16 KiB
	slotOverhead    = 192
	maxLevels       = 12
	maxBlockPtrs    = 3
	blockPtrShift   = 7  // SPA_BLKPTRSHIFT
	minIndirect     = 12 // shift: DN_MIN_INDBLKSHIFT
	maxIndirect     = 17
	checksums       = 15 // kinds: ZIO_CHECKSUM_FUNCTIONS
	compressions    = 17 // kinds: ZIO_COMPRESS_FUNCTIONS
	maxEmbedded     = 112
	toNameBytes     = 256
)

// Type is the type of a record.
type Type uint32

// The records.
const (
	Begin         Type = 0
	Object        Type = 1
	FreeObjects   Type = 2
	Write         Type = 3
	Free          Type = 4
	End           Type = 5
	WriteByRef    Type = 6
	Spill         Type = 7
	WriteEmbedded Type = 8
	ObjectRange   Type = 9
	Redact        Type = 10
)

// String names the record as OpenZFS does, or gives its number.
func (t Type) String() string {
	names := [...]string{
		"BEGIN", "OBJECT", "FREEOBJECTS", "WRITE", "FREE", "END", "WRITE_BYREF",
		"SPILL", "WRITE_EMBEDDED", "OBJECT_RANGE", "REDACT",
	}
	if int(t) < len(names) {
		return names[t]
	}
	return fmt.Sprintf("record type %d", uint32(t))
}

// Kind is the kind of dataset that a stream makes.
type Kind uint32

// The kinds that can be sent.
const (
	Filesystem Kind = 2
	Volume     Kind = 3
)

// String names the kind.
func (k Kind) String() string {
	switch k {
	case Filesystem:
		return "filesystem"
	case Volume:
		return "volume"
	}
	return fmt.Sprintf("objset type %d", uint32(k))
}

// Features are the bits of BEGIN that say what a receiver must understand.
type Features uint64

// The features of OpenZFS 2.4.
const (
	Dedup               Features = 1 << 0
	DedupProps          Features = 1 << 1
	SASpill             Features = 1 << 2
	EmbedData           Features = 1 << 16
	LZ4                 Features = 1 << 17
	LargeBlocks         Features = 1 << 19
	Resuming            Features = 1 << 20
	Redacted            Features = 1 << 21
	Compressed          Features = 1 << 22
	LargeDnode          Features = 1 << 23
	Raw                 Features = 1 << 24
	Zstd                Features = 1 << 25
	Holds               Features = 1 << 26
	SwitchToLargeBlocks Features = 1 << 27
	LongName            Features = 1 << 28
	LargeMicrozap       Features = 1 << 29
)

// Allowed are the features that the gate lets through where a Plan names none.
// Resuming and Raw are not among them: the Plan says whether they must be there.
// Embedded data (zfs send -e) are not either: our sends have none, they cannot be
// received into an encrypted dataset, and the kernel panics if they cannot be
// decompressed (decode_embedded_bp).
const Allowed = SASpill | LZ4 | LargeBlocks | Compressed | LargeDnode | Zstd |
	SwitchToLargeBlocks | LongName | LargeMicrozap

var featureNames = []struct {
	bit  Features
	name string
}{
	{Dedup, "dedup"},
	{DedupProps, "dedup properties"},
	{SASpill, "sa_spill"},
	{EmbedData, "embedded data"},
	{LZ4, "lz4"},
	{LargeBlocks, "large blocks"},
	{Resuming, "resuming"},
	{Redacted, "redacted"},
	{Compressed, "compressed"},
	{LargeDnode, "large dnodes"},
	{Raw, "raw"},
	{Zstd, "zstd"},
	{Holds, "holds"},
	{SwitchToLargeBlocks, "switch to large blocks"},
	{LongName, "long names"},
	{LargeMicrozap, "large microzap"},
}

// String lists the features by name, unknown ones by number.
func (f Features) String() string {
	var names []string
	for _, n := range featureNames {
		if f&n.bit != 0 {
			names = append(names, n.name)
			f &^= n.bit
		}
	}
	if f != 0 {
		names = append(names, fmt.Sprintf("unknown %#x", uint64(f)))
	}
	return strings.Join(names, ", ")
}

// Flags are the flags of BEGIN.
type Flags uint32

// The flags of OpenZFS 2.4.
const (
	FlagClone       Flags = 1 << 0
	FlagCIData      Flags = 1 << 1
	FlagFreeRecords Flags = 1 << 2
	FlagSpillBlock  Flags = 1 << 3

	allowedFlags = FlagCIData | FlagFreeRecords | FlagSpillBlock
)
