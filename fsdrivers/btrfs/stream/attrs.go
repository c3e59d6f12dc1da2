package stream

import (
	"encoding/binary"
	"fmt"
	"time"
)

// attrs are the attributes of one command, aliasing its bytes.
type attrs struct {
	set uint32 // bit t: attribute t is there
	val [maxAttrTypes][]byte
}

func (a *attrs) has(t AttrType) bool { return a.set&(1<<t) != 0 }

func (a *attrs) bytes(t AttrType) []byte {
	if !a.has(t) {
		return nil
	}
	return a.val[t]
}

// u64 reads an attribute whose length parse has checked; 0 if it is not there.
func (a *attrs) u64(t AttrType) uint64 {
	if !a.has(t) {
		return 0
	}
	return binary.LittleEndian.Uint64(a.val[t])
}

// time reads an attribute whose length parse has checked: struct btrfs_timespec,
// seconds and nanoseconds.
func (a *attrs) time(t AttrType) time.Time {
	if !a.has(t) {
		return time.Time{}
	}
	v := a.val[t]
	return time.Unix(int64(binary.LittleEndian.Uint64(v)), int64(binary.LittleEndian.Uint32(v[8:])))
}

// uuid reads an attribute whose length parse has checked.
func (a *attrs) uuid(t AttrType) (u UUID) {
	copy(u[:], a.bytes(t))
	return u
}

// parse splits the body of a command. It refuses, with what is wrong, unknown
// attributes, one that is there twice (btrfs receive takes the last, a gate might
// look at the first), and any length that does not fit.
func (a *attrs) parse(version uint32, body []byte) (what string) {
	a.set = 0
	for len(body) > 0 {
		if len(body) < 2 {
			return "an attribute is cut off"
		}
		t := AttrType(binary.LittleEndian.Uint16(body))
		if t == 0 || t >= maxAttrTypes {
			return fmt.Sprintf("unknown attribute %d", t)
		}
		if a.has(t) {
			return fmt.Sprintf("attribute %d is there twice", t)
		}
		value, rest, ok := cutValue(version, t, body[2:])
		if !ok {
			return fmt.Sprintf("attribute %d is longer than its command", t)
		}
		if want := fixedLength(t); want != 0 && len(value) != want {
			return fmt.Sprintf("attribute %d has %d bytes, want %d", t, len(value), want)
		}
		a.set |= 1 << t
		a.val[t], body = value, rest
	}
	return ""
}

// cutValue splits off the value of an attribute, p being what follows its type.
func cutValue(version uint32, t AttrType, p []byte) (value, rest []byte, ok bool) {
	if version >= 2 && t == AttrData {
		return p, nil, true
	}
	if len(p) < 2 {
		return nil, nil, false
	}
	n := int(binary.LittleEndian.Uint16(p))
	if p = p[2:]; n > len(p) {
		return nil, nil, false
	}
	return p[:n], p[n:], true
}

// fixedLength is the length of an attribute in bytes, 0 where it varies.
func fixedLength(t AttrType) int {
	switch t {
	case AttrUUID, AttrCloneUUID:
		return uuidBytes
	case AttrCtime, AttrMtime, AttrAtime, AttrOtime:
		return timespecBytes
	case AttrXattrName, AttrXattrData, AttrPath, AttrPathTo, AttrPathLink, AttrClonePath, AttrData:
		return 0
	case AttrFallocateMode, AttrCompression, AttrEncryption:
		return 4
	default:
		return 8
	}
}
