package stream

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers/dataset"
)

// ErrCorrupt means: a checksum does not fit. Such a refusal may also come from broken
// memory or a broken disk; another run of send may be whole.
var ErrCorrupt = errors.New("corrupt")

// RefusedError is a stream that the gate does not let through. It is
// dataset.ErrRefused, and ErrCorrupt if a checksum is wrong.
type RefusedError struct {
	Index int64  // of the command, 0 is the first
	Type  Type   // 0 where it is about the stream as a whole
	Path  string // what the command works on, "" if unknown or the root
	What  string

	corrupt bool
}

// Error names the command, what it works on and what is wrong with it.
func (e *RefusedError) Error() string {
	where := ""
	if e.Type != 0 {
		where = fmt.Sprintf(" at command %d, %v", e.Index, e.Type)
	}
	if e.Path != "" {
		where += fmt.Sprintf(" of %q", e.Path)
	}
	return "btrfs stream refused" + where + ": " + e.What
}

// Is makes errors.Is(err, dataset.ErrRefused) true.
func (e *RefusedError) Is(target error) bool {
	return target == dataset.ErrRefused || e.corrupt && target == ErrCorrupt
}

// refuse refuses a command, with its path where a is there.
func refuse(c Command, a *attrs, what string) error {
	e := &RefusedError{Index: c.Index, Type: c.Type, What: what}
	if a != nil {
		e.Path = string(a.bytes(AttrPath))
	}
	return e
}

// rule says which attributes a command must and may have.
type rule struct {
	name     string
	version  uint32 // of the stream, at least
	required uint32 // bits of attributes
	optional uint32
	root     bool // PATH may be empty: it works on the subvolume itself too
}

func bits(ts ...AttrType) (m uint32) {
	for _, t := range ts {
		m |= 1 << t
	}
	return m
}

// rules is what the kernel writes (fs/btrfs/send.c) and btrfs receive reads.
// Attributes that btrfs receive would ignore are let through only where the
// kernel writes them.
var rules = [...]rule{
	Subvol:   {name: "SUBVOL", version: 1, required: bits(AttrPath, AttrUUID, AttrCtransid)},
	Snapshot: {name: "SNAPSHOT", version: 1, required: bits(AttrPath, AttrUUID, AttrCtransid, AttrCloneUUID, AttrCloneCtransid)},
	Mkfile:   {name: "MKFILE", version: 1, required: bits(AttrPath, AttrIno)},
	Mkdir:    {name: "MKDIR", version: 1, required: bits(AttrPath, AttrIno)},
	Mknod:    {name: "MKNOD", version: 1, required: bits(AttrPath, AttrIno, AttrRdev, AttrMode)},
	Mkfifo:   {name: "MKFIFO", version: 1, required: bits(AttrPath, AttrIno), optional: bits(AttrRdev, AttrMode)},
	Mksock:   {name: "MKSOCK", version: 1, required: bits(AttrPath, AttrIno), optional: bits(AttrRdev, AttrMode)},
	Symlink:  {name: "SYMLINK", version: 1, required: bits(AttrPath, AttrIno, AttrPathLink)},
	Rename:   {name: "RENAME", version: 1, required: bits(AttrPath, AttrPathTo)},
	Link:     {name: "LINK", version: 1, required: bits(AttrPath, AttrPathLink)},
	Unlink:   {name: "UNLINK", version: 1, required: bits(AttrPath)},
	Rmdir:    {name: "RMDIR", version: 1, required: bits(AttrPath)},
	SetXattr: {name: "SET_XATTR", version: 1, root: true, required: bits(AttrPath, AttrXattrName, AttrXattrData)},
	RemoveXattr: {
		name: "REMOVE_XATTR", version: 1, root: true, required: bits(AttrPath, AttrXattrName),
	},
	Write: {name: "WRITE", version: 1, required: bits(AttrPath, AttrFileOffset, AttrData)},
	Clone: {name: "CLONE", version: 1, required: bits(AttrPath, AttrFileOffset, AttrCloneLen, AttrCloneUUID,
		AttrCloneCtransid, AttrClonePath, AttrCloneOffset)},
	Truncate: {name: "TRUNCATE", version: 1, required: bits(AttrPath, AttrSize)},
	Chmod:    {name: "CHMOD", version: 1, root: true, required: bits(AttrPath, AttrMode)},
	Chown:    {name: "CHOWN", version: 1, root: true, required: bits(AttrPath, AttrUID, AttrGID)},
	Utimes: {
		name: "UTIMES", version: 1, root: true, required: bits(AttrPath, AttrAtime, AttrMtime, AttrCtime),
		optional: bits(AttrOtime),
	},
	End:          {name: "END", version: 1},
	UpdateExtent: {name: "UPDATE_EXTENT", version: 1, required: bits(AttrPath, AttrFileOffset, AttrSize)},
	Fallocate:    {name: "FALLOCATE", version: 2, required: bits(AttrPath, AttrFallocateMode, AttrFileOffset, AttrSize)},
	Fileattr:     {name: "FILEATTR", version: 2, root: true, required: bits(AttrPath, AttrFileattr)},
	EncodedWrite: {
		name: "ENCODED_WRITE", version: 2,
		required: bits(AttrPath, AttrFileOffset, AttrUnencodedFileLen, AttrUnencodedLen, AttrUnencodedOffset, AttrData),
		optional: bits(AttrCompression, AttrEncryption),
	},
}

// gate decides whether a command may pass. It judges one at a time and holds
// nothing but the attributes of the last one.
type gate struct {
	version      uint32
	allowDevices bool
	attrs        attrs
}

// check refuses anything but a command that may stand between the first and the
// last of a stream, or the last.
func (g *gate) check(c Command) error {
	if err := g.parse(c); err != nil {
		return err
	}
	switch c.Type {
	case Subvol, Snapshot:
		return refuse(c, &g.attrs, "a second subvolume in one stream")
	case UpdateExtent:
		return refuse(c, &g.attrs, "the stream was made with --no-data: its files would be empty")
	case Mknod:
		return g.checkNode(c)
	case SetXattr, RemoveXattr:
		return g.checkXattr(c)
	case EncodedWrite:
		return g.checkEncoded(c)
	}
	return nil
}

// parse splits a command into g.attrs and checks its form.
func (g *gate) parse(c Command) error {
	if c.Type == 0 || int(c.Type) >= len(rules) {
		return refuse(c, nil, "unknown command")
	}
	r := &rules[c.Type]
	if r.version > g.version {
		return refuse(c, nil, fmt.Sprintf("unknown command in version %d", g.version))
	}
	a := &g.attrs
	if what := a.parse(g.version, c.body()); what != "" {
		return refuse(c, nil, what)
	}
	if missing := r.required &^ a.set; missing != 0 {
		return refuse(c, a, "it lacks "+list(missing))
	}
	if extra := a.set &^ (r.required | r.optional); extra != 0 {
		return refuse(c, a, "it carries "+list(extra)+", which it never has")
	}
	return g.checkPaths(c, r)
}

// list names attributes by their numbers.
func list(mask uint32) string {
	var names []string
	for t := range maxAttrTypes {
		if mask&(1<<t) != 0 {
			names = append(names, fmt.Sprint(t))
		}
	}
	return "attribute " + strings.Join(names, ", ")
}

// checkPaths checks everything that btrfs receive puts behind a directory of its
// own without looking at it.
func (g *gate) checkPaths(c Command, r *rule) error {
	for _, t := range [...]AttrType{AttrPath, AttrPathTo, AttrPathLink, AttrClonePath} {
		if !g.attrs.has(t) {
			continue
		}
		p := g.attrs.val[t]
		what := ""
		switch {
		case t == AttrPath && r.root && len(p) == 0:
		case t == AttrPathLink && c.Type == Symlink:
			what = wrongLink(p)
		default:
			what = wrongPath(p)
		}
		if what != "" {
			return refuse(c, &g.attrs, fmt.Sprintf("path %q %s", clip(p), what))
		}
	}
	return nil
}

// clip keeps a message short whatever the sender wrote.
func clip(p []byte) []byte { return p[:min(len(p), MaxNameBytes)] }

// wrongPath tells what is wrong with a path; "" if it is relative, clean and
// bounded. Symbolic links in it are not its matter: receive runs in a root of
// its own.
func wrongPath(p []byte) string {
	if len(p) == 0 {
		return "is empty"
	}
	if len(p) > MaxPathBytes {
		return fmt.Sprintf("has %d bytes, more than %d", len(p), MaxPathBytes)
	}
	for more := true; more; {
		var part []byte
		part, p, more = bytes.Cut(p, []byte{'/'})
		if !isComponent(part) {
			return "is not relative and clean"
		}
	}
	return ""
}

// isComponent reports whether p can be the name of one file.
func isComponent(p []byte) bool {
	return len(p) > 0 && len(p) <= MaxNameBytes && string(p) != "." && string(p) != ".." && bytes.IndexByte(p, 0) < 0 && bytes.IndexByte(p, '/') < 0
}

// wrongLink judges what a symbolic link points to, which may be anything that a
// file system stores.
func wrongLink(p []byte) string {
	switch {
	case len(p) == 0:
		return "is empty"
	case len(p) > MaxPathBytes:
		return fmt.Sprintf("has %d bytes, more than %d", len(p), MaxPathBytes)
	case bytes.IndexByte(p, 0) >= 0:
		return "holds a NUL"
	}
	return ""
}

// checkNode judges a MKNOD by the type in its mode.
func (g *gate) checkNode(c Command) error {
	switch mode := g.attrs.u64(AttrMode); mode & unix.S_IFMT {
	case unix.S_IFIFO, unix.S_IFSOCK:
		return nil
	case unix.S_IFBLK, unix.S_IFCHR:
		if g.allowDevices {
			return nil
		}
		return refuse(c, &g.attrs, "device nodes are not allowed here")
	default:
		return refuse(c, &g.attrs, fmt.Sprintf("mode %o is no device, fifo or socket", mode))
	}
}

// checkXattr refuses names in our own part of the name space.
func (g *gate) checkXattr(c Command) error {
	name := g.attrs.bytes(AttrXattrName)
	switch {
	case len(name) == 0 || len(name) > maxXattrBytes || bytes.IndexByte(name, 0) >= 0:
		return refuse(c, &g.attrs, fmt.Sprintf("%q is no name of an attribute", clip(name)))
	case bytes.HasPrefix(name, []byte("user.antipode.")), bytes.HasPrefix(name, []byte("trusted.antipode.")):
		return refuse(c, &g.attrs, fmt.Sprintf("attribute %q is Antipode's own", name))
	}
	return nil
}

// checkEncoded bounds what btrfs receive allocates before it decompresses.
func (g *gate) checkEncoded(c Command) error {
	length, offset, file := g.attrs.u64(AttrUnencodedLen), g.attrs.u64(AttrUnencodedOffset), g.attrs.u64(AttrUnencodedFileLen)
	switch {
	case length > MaxUnencoded:
		return refuse(c, &g.attrs, fmt.Sprintf("it decompresses to %d bytes, more than %d", length, MaxUnencoded))
	case offset > length || file > length-offset:
		return refuse(c, &g.attrs, fmt.Sprintf("bytes %d to %d of %d decompressed ones", offset, offset+file, length))
	}
	return nil
}
