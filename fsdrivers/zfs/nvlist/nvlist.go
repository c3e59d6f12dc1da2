// Package nvlist reads and writes the packed lists of names and values of OpenZFS:
// in send streams, resume tokens and ioctls. It must not know what they mean.
package nvlist

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Entry is one name and value of a List.
type Entry struct {
	Name  string
	Type  EntryType
	Num   uint64 // Uint64Entry
	Text  string // StringEntry
	Bytes []byte // BytesEntry
	List  List   // ListEntry
}

// List is what OpenZFS calls an nvlist, in the order in which it was packed.
type List []Entry

// EntryType is the type of a value, by OpenZFS's numbers.
type EntryType uint32

// The types that streams and tokens use.
const (
	FlagEntry   EntryType = 1 // is there or not
	Uint64Entry EntryType = 8
	StringEntry EntryType = 9
	ListEntry   EntryType = 19
	BytesEntry  EntryType = 26
)

// The packed forms (module/nvpair/nvpair.c). Native: header of 4 bytes
// (encoding 0, endian 1), version u32 0, flags u32, entries, u32 0. An entry: size
// u32, size of the name u16 with its NUL, u16 0, elements u32, type u32, name and
// value each padded to 8. The value of a list is a struct of 24 bytes, and its
// entries follow. XDR: encoding 1; big-endian; an entry: packed size u32, unpacked
// size u32, name, type u32, elements u32, value, each padded to 4; u64 0 ends it.
const (
	nativeEncoding = 0
	xdrEncoding    = 1
	listHead       = 12
	nativeEntry    = 16
	nativeList     = 24
	uniqueNames    = 1 // a flag; OpenZFS sets it on all of its own
	maxDepth       = 2 // a list, and the one in it
	maxEntries     = 64
	maxText        = 4 << 10 // bytes of a name or a text
	// MaxBytes bounds a packed list, and so the value of one entry.
	MaxBytes = 64 << 10
)

// ErrDamaged means: it is no packed list, or one beyond a limit.
var ErrDamaged = errors.New("a packed list is damaged")

// Uint64 is the value of a Uint64Entry. Errors: ErrDamaged where it is none.
func (e Entry) Uint64() (uint64, error) {
	if e.Type != Uint64Entry {
		return 0, fmt.Errorf("%.64q is no number: %w", e.Name, ErrDamaged)
	}
	return e.Num, nil
}

// Parse reads a packed list of either form. Errors: ErrDamaged.
func Parse(p []byte) (List, error) {
	if len(p) < listHead || p[1] != 1 && p[0] == nativeEncoding || p[0] > xdrEncoding {
		return nil, fmt.Errorf("unknown form: %w", ErrDamaged)
	}
	u := unpacker{p: p[4:], xdr: p[0] == xdrEncoding, left: maxEntries}
	u.u32() // version
	u.u32() // flags
	list := u.list(maxDepth)
	switch {
	case u.bad:
		return nil, ErrDamaged
	case len(u.p) != 0:
		return nil, fmt.Errorf("%d bytes follow it: %w", len(u.p), ErrDamaged)
	}
	return list, nil
}

// unpacker takes a packed list apart. Once bad, it answers zeros.
type unpacker struct {
	p    []byte // not yet read
	xdr  bool
	bad  bool
	left int // entries that may still come
}

// take cuts off n bytes, and what pads them.
func (u *unpacker) take(n, align int) []byte {
	if n < 0 || n > len(u.p) {
		u.bad = true
		return nil
	}
	p := u.p[:n]
	padded := (n + align - 1) / align * align
	u.p = u.p[min(padded, len(u.p)):]
	return p
}

func (u *unpacker) u32() uint32 {
	p := u.take(4, 1)
	switch {
	case u.bad:
		return 0
	case u.xdr:
		return binary.BigEndian.Uint32(p)
	}
	return binary.LittleEndian.Uint32(p)
}

func (u *unpacker) u64() uint64 {
	p := u.take(8, 1)
	switch {
	case u.bad:
		return 0
	case u.xdr:
		return binary.BigEndian.Uint64(p)
	}
	return binary.LittleEndian.Uint64(p)
}

// list reads entries up to the end mark.
func (u *unpacker) list(depth int) (all List) {
	if depth == 0 {
		u.bad = true
	}
	for !u.bad {
		size := u.u32()
		if u.xdr {
			u.u32() // how much room it takes unpacked
		}
		if size == 0 || u.bad {
			return all
		}
		if u.left--; u.left < 0 {
			u.bad = true
			return all
		}
		var e Entry
		if u.xdr {
			e = u.xdrEntry(depth)
		} else {
			e = u.nativeEntry(size, depth)
		}
		all = append(all, e)
	}
	return all
}

func (u *unpacker) nativeEntry(size uint32, depth int) (e Entry) {
	if size < nativeEntry || uint64(size) > uint64(len(u.p))+4 {
		u.bad = true
		return e
	}
	in := unpacker{p: u.p[:size-4]}
	u.p = u.p[size-4:]
	names := in.u32()
	count := in.u32()
	e.Type = EntryType(in.u32())
	// The name begins 16 bytes into an aligned entry.
	e.Name = in.text(in.take(int(names&0xffff), 8))
	switch e.Type {
	case FlagEntry:
	case Uint64Entry:
		e.Num = in.u64()
	case StringEntry:
		end := bytes.IndexByte(in.p, 0)
		e.Text = in.text(in.take(end+1, 8))
	case BytesEntry:
		e.Bytes = bytes.Clone(in.take(int(min(count, MaxBytes)), 8))
	case ListEntry:
		in.take(nativeList, 8)
		e.List = u.list(depth - 1)
	default:
		in.bad = true
	}
	u.bad = u.bad || in.bad
	return e
}

func (u *unpacker) xdrEntry(depth int) (e Entry) {
	e.Name = u.plain(u.take(u.length(), 4))
	e.Type = EntryType(u.u32())
	count := u.u32()
	switch e.Type {
	case FlagEntry:
	case Uint64Entry:
		e.Num = u.u64()
	case StringEntry:
		e.Text = u.plain(u.take(u.length(), 4))
	case BytesEntry: // each in four bytes, behind their number
		if n := u.length(); uint32(n) != count || n > len(u.p)/4 {
			u.bad = true
			return e
		}
		for range count {
			e.Bytes = append(e.Bytes, byte(u.u32()))
		}
	case ListEntry:
		u.u32() // version
		u.u32() // flags
		e.List = u.list(depth - 1)
	default:
		u.bad = true
	}
	return e
}

// length is a length that follows; too long a one is found by take.
func (u *unpacker) length() int { return int(min(u.u32(), 1<<30)) }

// plain is p, which must be a text without NUL.
func (u *unpacker) plain(p []byte) string {
	u.bad = u.bad || bytes.IndexByte(p, 0) >= 0 || len(p) > maxText
	return string(p)
}

// text is p without its NUL, which must be its end and nowhere else.
func (u *unpacker) text(p []byte) string {
	if len(p) == 0 || len(p) > maxText || bytes.IndexByte(p, 0) != len(p)-1 {
		u.bad = true
		return ""
	}
	return string(p[:len(p)-1])
}

// Pack writes the native form, byte by byte as OpenZFS does on a little-endian
// machine: resume tokens are compared by their bytes.
func (l List) Pack() []byte {
	out := []byte{nativeEncoding, 1, 0, 0, 0, 0, 0, 0, uniqueNames, 0, 0, 0}
	return l.packEntries(out)
}

func (l List) packEntries(out []byte) []byte {
	for _, e := range l {
		value, count := e.packValue()
		name := pad(append([]byte(e.Name), 0), 8)
		out = binary.LittleEndian.AppendUint32(out, uint32(nativeEntry+len(name)+len(value)))
		out = binary.LittleEndian.AppendUint32(out, uint32(len(e.Name)+1))
		out = binary.LittleEndian.AppendUint32(out, count)
		out = binary.LittleEndian.AppendUint32(out, uint32(e.Type))
		out = append(append(out, name...), value...)
		if e.Type == ListEntry {
			out = e.List.packEntries(out)
		}
	}
	return append(out, 0, 0, 0, 0)
}

// packValue is the padded value and how many elements it has.
func (e Entry) packValue() ([]byte, uint32) {
	switch e.Type {
	case Uint64Entry:
		return binary.LittleEndian.AppendUint64(nil, e.Num), 1
	case StringEntry:
		return pad(append([]byte(e.Text), 0), 8), 1
	case BytesEntry:
		return pad(bytes.Clone(e.Bytes), 8), uint32(len(e.Bytes))
	case ListEntry:
		v := make([]byte, nativeList)
		v[4] = uniqueNames
		return v, 1
	}
	return nil, 0
}

func pad(p []byte, align int) []byte {
	for len(p)%align != 0 {
		p = append(p, 0)
	}
	return p
}

// PackXDR writes the form that is the same on every machine.
func (l List) PackXDR() []byte {
	out := []byte{xdrEncoding, 1, 0, 0}
	return l.appendXDR(out)
}

func (l List) appendXDR(out []byte) []byte {
	out = append(out, 0, 0, 0, 0, 0, 0, 0, uniqueNames)
	for _, e := range l {
		body := binary.BigEndian.AppendUint32(nil, uint32(len(e.Name)))
		body = pad(append(body, e.Name...), 4)
		value, count := e.xdrValue()
		body = binary.BigEndian.AppendUint32(body, uint32(e.Type))
		body = binary.BigEndian.AppendUint32(body, count)
		body = append(body, value...)
		out = binary.BigEndian.AppendUint32(out, uint32(len(body)+8))
		out = binary.BigEndian.AppendUint32(out, uint32(len(body)+8)) // a hint for the reader's memory
		out = append(out, body...)
	}
	return append(out, 0, 0, 0, 0, 0, 0, 0, 0)
}

func (e Entry) xdrValue() ([]byte, uint32) {
	switch e.Type {
	case Uint64Entry:
		return binary.BigEndian.AppendUint64(nil, e.Num), 1
	case StringEntry:
		return pad(append(binary.BigEndian.AppendUint32(nil, uint32(len(e.Text))), e.Text...), 4), 1
	case BytesEntry:
		v := binary.BigEndian.AppendUint32(nil, uint32(len(e.Bytes)))
		for _, b := range e.Bytes {
			v = binary.BigEndian.AppendUint32(v, uint32(b))
		}
		return v, uint32(len(e.Bytes))
	case ListEntry:
		return e.List.appendXDR(nil), 1
	}
	return nil, 0
}
