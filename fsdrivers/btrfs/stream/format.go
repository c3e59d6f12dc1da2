// Package stream is the format of `btrfs send`: it reads a stream command by
// command, lets through only what was planned (the gate), puts our own
// identities and names in place of the sender's, and writes what remains.
//
// It is pure: bytes in, bytes out. It starts nothing, opens nothing, and knows no
// jobs. Its parts: Reader (framing and checksums), gate (is this command allowed),
// rewriter (identities), Encoder (commands of our own making), Copier, which puts
// them together and cuts a stream into segments, and Skip, which finds the place
// in a stream that is sent again.
//
// The format (kernel: fs/btrfs/send.h), integers little-endian:
//
//	stream   "btrfs-stream\0", version u32, commands
//	command  length u32 (of the body), type u16, crc u32, body
//	body     attributes: type u16, length u16, value
//
// The checksum is CRC-32C over header and body with the crc field zero, seed 0,
// no final inversion. From version 2 on the attribute DATA is the last of its
// command and has no length: it goes to the end of the body.
package stream

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"strings"
)

// Limits. The kernel builds a command of version 1 in 64 KiB, header included
// (BTRFS_SEND_BUF_SIZE_V1), and one of version 2 in 16 KiB and a compressed
// extent, rounded up to a page: 144 KiB, 192 KiB with pages of 64 KiB. Readers
// are told to assume no limit for version 2; nobody exceeds 1 MiB.
const (
	MaxVersion      = 2
	MaxCommandV1    = 64 << 10 // bytes, header included
	MaxCommandV2    = 1 << 20  // bytes, header included
	MaxUnencoded    = 128 << 10
	MaxPathBytes    = 4095 // PATH_MAX without its NUL
	MaxNameBytes    = 255  // NAME_MAX
	maxXattrBytes   = 255  // XATTR_NAME_MAX
	magic           = "btrfs-stream\x00"
	headerBytes     = len(magic) + 4
	commandBytes    = 10
	crcOffset       = 6
	maxAttrTypes    = 32
	maxAttrLength   = 1<<16 - 1
	uuidBytes       = 16
	timespecBytes   = 12
	bufferBytes     = 2 << 20 // what Reader holds; more than any command
	maxSizeEstimate = 1 << 62
)

// Type is the type of a command.
type Type uint16

// The commands of versions 1 and 2.
const (
	Subvol       Type = 1
	Snapshot     Type = 2
	Mkfile       Type = 3
	Mkdir        Type = 4
	Mknod        Type = 5
	Mkfifo       Type = 6
	Mksock       Type = 7
	Symlink      Type = 8
	Rename       Type = 9
	Link         Type = 10
	Unlink       Type = 11
	Rmdir        Type = 12
	SetXattr     Type = 13
	RemoveXattr  Type = 14
	Write        Type = 15
	Clone        Type = 16
	Truncate     Type = 17
	Chmod        Type = 18
	Chown        Type = 19
	Utimes       Type = 20
	End          Type = 21
	UpdateExtent Type = 22
	Fallocate    Type = 23
	Fileattr     Type = 24
	EncodedWrite Type = 25
)

// String names the command as the kernel does, or gives its number.
func (t Type) String() string {
	if int(t) < len(rules) && rules[t].name != "" {
		return rules[t].name
	}
	return fmt.Sprintf("command %d", uint16(t))
}

// AttrType is the type of an attribute.
type AttrType uint16

// The attributes of versions 1 and 2.
const (
	AttrUUID             AttrType = 1
	AttrCtransid         AttrType = 2
	AttrIno              AttrType = 3
	AttrSize             AttrType = 4
	AttrMode             AttrType = 5
	AttrUID              AttrType = 6
	AttrGID              AttrType = 7
	AttrRdev             AttrType = 8
	AttrCtime            AttrType = 9
	AttrMtime            AttrType = 10
	AttrAtime            AttrType = 11
	AttrOtime            AttrType = 12
	AttrXattrName        AttrType = 13
	AttrXattrData        AttrType = 14
	AttrPath             AttrType = 15
	AttrPathTo           AttrType = 16
	AttrPathLink         AttrType = 17
	AttrFileOffset       AttrType = 18
	AttrData             AttrType = 19
	AttrCloneUUID        AttrType = 20
	AttrCloneCtransid    AttrType = 21
	AttrClonePath        AttrType = 22
	AttrCloneOffset      AttrType = 23
	AttrCloneLen         AttrType = 24
	AttrFallocateMode    AttrType = 25
	AttrFileattr         AttrType = 26
	AttrUnencodedFileLen AttrType = 27
	AttrUnencodedLen     AttrType = 28
	AttrUnencodedOffset  AttrType = 29
	AttrCompression      AttrType = 30
	AttrEncryption       AttrType = 31
)

// UUID is a Btrfs UUID.
type UUID [uuidBytes]byte

// ParseUUID reads the form that String writes, in either case.
func ParseUUID(s string) (UUID, error) {
	var u UUID
	bare := strings.ReplaceAll(s, "-", "")
	if len(s) != 36 || len(bare) != 32 || s[8] != '-' || s[13] != '-' || s[18] != '-' || s[23] != '-' {
		return u, fmt.Errorf("%q is not a UUID", s)
	}
	if _, err := hex.Decode(u[:], []byte(bare)); err != nil {
		return UUID{}, fmt.Errorf("%q is not a UUID: %w", s, err)
	}
	return u, nil
}

// NewUUID draws a random one (RFC 9562, version 4).
func NewUUID() UUID {
	var u UUID
	rand.Read(u[:]) // never fails (crypto/rand, Go 1.24)
	u[6] = u[6]&0x0f | 0x40
	u[8] = u[8]&0x3f | 0x80
	return u
}

// String writes 36 characters, as the Btrfs tools do.
func (u UUID) String() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}

// IsZero reports whether u names nothing.
func (u UUID) IsZero() bool { return u == UUID{} }

// MarshalText implements encoding.TextMarshaler.
func (u UUID) MarshalText() ([]byte, error) { return []byte(u.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (u *UUID) UnmarshalText(text []byte) (err error) {
	*u, err = ParseUUID(string(text))
	return err
}

// checksum is the kernel's crc32c with seed 0: without the inversions before
// and after that hash/crc32 makes.
func checksum(command []byte) uint32 {
	return ^crc32.Update(^uint32(0), crc32.MakeTable(crc32.Castagnoli), command)
}
