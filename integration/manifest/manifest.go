// Package manifest writes down everything about a tree that a replica has to
// reproduce, so that two trees can be compared on different machines and at
// different times. It only reads.
//
// Left out is what no replication carries over: access, change and birth times,
// inode numbers, and the sizes of directories.
package manifest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"syscall"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Entry is one file of a tree.
type Entry struct {
	Path    string            `json:"path"` // below the root, "." the root itself; quoted as in Go if not UTF-8
	Type    string            `json:"type"` // file, dir, symlink, fifo, socket, char, block
	Mode    uint32            `json:"mode"` // permissions, setuid, setgid and sticky, as in chmod(2)
	UID     uint32            `json:"uid"`
	GID     uint32            `json:"gid"`
	MTimeNS int64             `json:"mtime_ns"`         // since 1970, may be negative
	Size    int64             `json:"size,omitempty"`   // bytes, of files and symlinks
	SHA256  string            `json:"sha256,omitempty"` // of a file's content
	Data    []Range           `json:"data,omitempty"`   // where a file is not a hole
	Target  string            `json:"target,omitempty"` // of a symlink
	Device  string            `json:"device,omitempty"` // "major:minor" of a device node
	Link    string            `json:"link,omitempty"`   // first path of the same inode, where there are several
	Xattrs  map[string][]byte `json:"xattrs,omitempty"`
}

// Range is a stretch of a file: bytes From up to, not including, To.
type Range struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// Of describes the tree at root, the root directory included, sorted by path.
// It leaves out what ignore, if given, says true for (and all that is below).
func Of(root string, ignore ...func(path string) bool) ([]Entry, error) {
	var entries []Entry
	inodes := map[[2]uint64][]int{} // device and inode -> indices of entries
	err := filepath.WalkDir(root, func(full string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, full)
		if err != nil {
			return err
		}
		if skip, err := ignored(full, rel, ignore); skip {
			return err
		}
		e, st, err := describe(full)
		if err != nil {
			return fmt.Errorf("describe %s: %w", full, err)
		}
		e.Path = text(rel)
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			key := [2]uint64{st.Dev, st.Ino}
			inodes[key] = append(inodes[key], len(entries))
		}
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	link(entries, inodes)
	sort.Slice(entries, func(i, j int) bool { return entries[i].Path < entries[j].Path })
	return entries, nil
}

// ignored tells whether to pass over a file, and as an error whether to skip
// the directory that it is.
func ignored(full, rel string, ignore []func(string) bool) (bool, error) {
	for _, f := range ignore {
		if f == nil || !f(rel) {
			continue
		}
		if st, err := os.Lstat(full); err == nil && st.IsDir() {
			return true, filepath.SkipDir
		}
		return true, nil
	}
	return false, nil
}

// link names each group of hard links after its first path.
func link(entries []Entry, inodes map[[2]uint64][]int) {
	for _, group := range inodes {
		if len(group) < 2 {
			continue
		}
		first := entries[group[0]].Path
		for _, i := range group {
			first = min(first, entries[i].Path)
		}
		for _, i := range group {
			entries[i].Link = first
		}
	}
}

// typeName is the kind of file as Entry.Type has it.
func typeName(mode uint32) string {
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		return "file"
	case unix.S_IFDIR:
		return "dir"
	case unix.S_IFLNK:
		return "symlink"
	case unix.S_IFIFO:
		return "fifo"
	case unix.S_IFSOCK:
		return "socket"
	case unix.S_IFCHR:
		return "char"
	default:
		return "block"
	}
}

// text makes a file name fit for JSON, which would silently replace what is
// not UTF-8.
func text(name string) string {
	if utf8.ValidString(name) {
		return name
	}
	return strconv.Quote(name)
}

// describe reads one file; Path and Link are left to the caller.
func describe(path string) (Entry, unix.Stat_t, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		return Entry{}, st, err
	}
	e := Entry{
		Type: typeName(st.Mode), Mode: st.Mode &^ unix.S_IFMT,
		UID: st.Uid, GID: st.Gid, MTimeNS: st.Mtim.Nano(),
	}
	var err error
	if e.Xattrs, err = xattrs(path); err != nil {
		return Entry{}, st, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		e.Size = st.Size
		err = e.readContent(path)
	case unix.S_IFLNK:
		e.Size = st.Size
		e.Target, err = os.Readlink(path)
		e.Target = text(e.Target)
	case unix.S_IFCHR, unix.S_IFBLK:
		e.Device = fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	return e, st, err
}

// readContent digests a file and maps its holes.
func (e *Entry) readContent(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if e.Data, err = dataRanges(f); err != nil {
		return err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return err
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	e.SHA256 = hex.EncodeToString(h.Sum(nil))
	return nil
}

// dataRanges asks the file system where the file has data (lseek(2), SEEK_DATA;
// ENXIO says that there is none beyond).
func dataRanges(f *os.File) ([]Range, error) {
	var all []Range
	for at := int64(0); ; {
		from, err := f.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, syscall.ENXIO) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("seek data from %d: %w", at, err)
		}
		if at, err = f.Seek(from, unix.SEEK_HOLE); err != nil {
			return nil, fmt.Errorf("seek hole from %d: %w", from, err)
		}
		all = append(all, Range{from, at})
	}
}

// xattrs reads the extended attributes of path itself, not of what it links to.
func xattrs(path string) (map[string][]byte, error) {
	names, err := grow(func(b []byte) (int, error) { return unix.Llistxattr(path, b) })
	if errors.Is(err, unix.ENOTSUP) || len(names) == 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list xattrs: %w", err)
	}
	all := map[string][]byte{}
	for name := range bytes.SplitSeq(bytes.TrimSuffix(names, []byte{0}), []byte{0}) {
		value, err := grow(func(b []byte) (int, error) { return unix.Lgetxattr(path, string(name), b) })
		if err != nil {
			return nil, fmt.Errorf("read xattr %s: %w", name, err)
		}
		all[text(string(name))] = value
	}
	return all, nil
}

// grow calls a system call that says how much room it needs when given none.
func grow(call func([]byte) (int, error)) ([]byte, error) {
	n, err := call(nil)
	if err != nil || n == 0 {
		return []byte{}, err
	}
	buf := make([]byte, n)
	n, err = call(buf)
	return buf[:max(n, 0)], err
}

// Write stores a manifest as JSON, one entry a line, so that diff(1) reads it.
func Write(w io.Writer, entries []Entry) error {
	for _, e := range entries {
		line, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("write manifest entry %q: %w", e.Path, err)
		}
		if _, err := w.Write(append(line, '\n')); err != nil {
			return fmt.Errorf("write manifest: %w", err)
		}
	}
	return nil
}

// Read reads what Write wrote.
func Read(r io.Reader) ([]Entry, error) {
	var entries []Entry
	dec := json.NewDecoder(r)
	dec.DisallowUnknownFields()
	for {
		var e Entry
		switch err := dec.Decode(&e); {
		case errors.Is(err, io.EOF):
			return entries, nil
		case err != nil:
			return nil, fmt.Errorf("read manifest entry %d: %w", len(entries)+1, err)
		}
		entries = append(entries, e)
	}
}

// WriteFile is Write to a new file.
func WriteFile(name string, entries []Entry) error {
	var b bytes.Buffer
	if err := Write(&b, entries); err != nil {
		return err
	}
	return os.WriteFile(name, b.Bytes(), 0o600)
}

// ReadFile is Read from a file.
func ReadFile(name string) ([]Entry, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Read(f)
}
