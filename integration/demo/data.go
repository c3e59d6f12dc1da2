package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	tables      = 4 // big ones
	lettersADir = 50
)

// maker makes and changes files below root. The first error stays and makes
// the rest do nothing, so that callers look once, at the end.
type maker struct {
	root  string
	sizes sizes
	rand  *rand.ChaCha8
	files int
	bytes int64 // of content, holes left out
	err   error
}

func newMaker(root string, s sizes) *maker {
	return &maker{root: root, sizes: s, rand: rand.NewChaCha8([32]byte{'a', 'n', 't', 'i', 'p', 'o', 'd', 'e'})}
}

func (m *maker) at(name string) string { return filepath.Join(m.root, name) }

// do keeps the first error of a chain.
func (m *maker) do(step func() error) {
	if m.err == nil {
		m.err = step()
	}
}

// below returns a random number in [0, n).
func (m *maker) below(n int64) int64 { return int64(m.rand.Uint64() % uint64(n)) }

func (m *maker) dir(name string, mode uint32) {
	m.do(func() error { return os.MkdirAll(m.at(name), 0o755) })
	m.mode(name, mode)
}

// mode is chmod(2), setuid and its like included.
func (m *maker) mode(name string, mode uint32) {
	m.do(func() error { return unix.Chmod(m.at(name), mode) })
}

// file writes size random bytes to a new file, or over an old one.
func (m *maker) file(name string, size int64) {
	m.write(name, os.O_CREATE|os.O_TRUNC, 0, size)
	m.files++
}

// write puts random bytes into a file at an offset.
func (m *maker) write(name string, flags int, at, size int64) {
	m.do(func() error {
		f, err := os.OpenFile(m.at(name), os.O_WRONLY|flags, 0o644)
		if err != nil {
			return err
		}
		defer f.Close()
		if _, err := f.Seek(at, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.CopyN(f, m.rand, size); err != nil {
			return err
		}
		return f.Close()
	})
	m.bytes += size
}

// clone makes to share the blocks of from (FICLONE, ioctl_ficlone(2)), where a send
// takes that for what it is.
func (m *maker) clone(from, to string) {
	if !m.sizes.clones {
		m.file(to, 1<<20)
		return
	}
	m.do(func() error {
		src, err := os.Open(m.at(from))
		if err != nil {
			return err
		}
		defer src.Close()
		dst, err := os.OpenFile(m.at(to), os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return err
		}
		defer dst.Close()
		if err := unix.IoctlFileClone(int(dst.Fd()), int(src.Fd())); err != nil {
			return fmt.Errorf("clone %s: %w", from, err)
		}
		return dst.Close()
	})
	m.files++
}

func (m *maker) xattr(name, attr, value string) {
	m.do(func() error {
		if err := unix.Lsetxattr(m.at(name), attr, []byte(value), 0); err != nil {
			return fmt.Errorf("set %s of %s: %w", attr, name, err)
		}
		return nil
	})
}

// times sets the modification time, of a link itself too.
func (m *maker) times(name string, t time.Time) {
	ts := unix.NsecToTimespec(t.UnixNano())
	m.do(func() error {
		return unix.UtimesNanoAt(unix.AT_FDCWD, m.at(name), []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW)
	})
}

// fill makes the dataset: some of everything that a file system can hold.
func (m *maker) fill() error {
	m.mail()
	m.dir("db", 0o750)
	for i := range tables {
		m.file(fmt.Sprintf("db/table-%d.ibd", i), m.sizes.tableBytes)
	}
	m.dir("media", 0o2775)
	m.file("media/film.mkv", m.sizes.videoBytes)
	m.clone("media/film.mkv", "media/film (cut).mkv")
	m.write("media/film (cut).mkv", 0, m.sizes.videoBytes/8, 1<<20)
	m.sparse()
	m.oddities()
	m.times(".", time.Date(2024, 2, 29, 12, 0, 0, 123_456_789, time.UTC))
	if m.err != nil {
		return fmt.Errorf("make data: %w", m.err)
	}
	return nil
}

// mail makes many small files of many owners, modes and times.
func (m *maker) mail() {
	for i := range m.sizes.letters {
		name := letter(i)
		if i%lettersADir == 0 {
			m.dir(filepath.Dir(name), 0o755)
		}
		m.file(name, 1024+m.below(14<<10))
		m.do(func() error { return os.Lchown(m.at(name), 1000+i%7, 100+i%5) })
		m.mode(name, 0o600|uint32(i%8))
		m.times(name, time.Unix(1_600_000_000+int64(i)*3607, m.below(1e9)))
	}
}

func letter(i int) string { return fmt.Sprintf("mail/box-%02d/%04d.eml", i/lettersADir, i) }

// sparse makes a file that is mostly holes.
func (m *maker) sparse() {
	m.dir("vm", 0o700)
	m.file("vm/disk.img", 0)
	m.do(func() error { return os.Truncate(m.at("vm/disk.img"), m.sizes.diskBytes) })
	for at := m.sizes.diskBytes / 16; at < m.sizes.diskBytes; at += m.sizes.diskBytes / 6 {
		m.write("vm/disk.img", 0, at, 128<<10)
	}
}

// oddities makes what replication programs forget.
func (m *maker) oddities() {
	m.dir("odd/empty", 0o1777)
	for _, name := range []string{"Grüße.txt", "東京.txt", "смета 2026.txt", "☃️.txt", "-rf", "with\nnewline", "quote'\"$(x)`"} {
		m.file("odd/"+name, 100+m.below(9000))
	}
	m.file("odd/setuid", 512)
	m.do(func() error { return os.Lchown(m.at("odd/setuid"), 65534, 65534) })
	m.mode("odd/setuid", 0o6755)
	m.xattr("odd/setuid", "user.comment", "näive \x00 bytes \xff")
	m.xattr("odd/empty", "user.on-a-directory", "")
	m.xattr("odd/Grüße.txt", "trusted.note", "only root sees this")
	for i := range lettersADir {
		m.do(func() error { return os.Link(m.at(letter(i)), m.at(fmt.Sprintf("odd/hard-%02d", i))) })
		m.files++
	}
	for name, target := range map[string]string{"odd/link": "../db/table-0.ibd", "odd/dangling": "/nowhere/at all", "odd/loop": "loop"} {
		m.do(func() error { return os.Symlink(target, m.at(name)) })
		m.times(name, time.Unix(1_000_000_000, 7))
		m.files++
	}
	m.do(func() error { return unix.Mkfifo(m.at("odd/fifo"), 0o640) })
	m.files++
	m.times("odd/empty", time.Date(1961, 4, 12, 6, 7, 0, 1, time.UTC))
	m.times("odd", time.Date(2038, 1, 20, 0, 0, 0, 999_999_999, time.UTC))
}

// change is something that users do between two snapshots.
type change struct {
	what string
	make func(*maker)
}

func changes(s sizes) []change {
	film := change{"a film of 64 MiB cloned (reflink)", func(m *maker) { m.clone("media/film.mkv", "media/film (copy).mkv") }}
	if !s.clones {
		film = change{"a film of 8 MiB renamed", func(m *maker) {
			m.do(func() error { return os.Rename(m.at("media/film.mkv"), m.at("media/the film.mkv")) })
			m.do(func() error { return os.Link(m.at("media/the film.mkv"), m.at("media/film.mkv")) })
		}}
	}
	return []change{
		{"60 letters rewritten, 20 written", (*maker).correspond},
		{fmt.Sprintf("16 places of 64 KiB in a %d MiB table", s.tableBytes>>20), (*maker).update},
		film,
		{"a mailbox renamed, another deleted", (*maker).tidy},
	}
}

func (m *maker) correspond() {
	for i := range 60 {
		m.file(letter(i*31%(m.sizes.letters/2)+m.sizes.letters/20), 1024+m.below(14<<10))
	}
	m.dir("mail/outbox", 0o700)
	for i := range 20 {
		m.file(fmt.Sprintf("mail/outbox/%02d.eml", i), 1024+m.below(14<<10))
	}
}

// note is one more letter in the place of the last one.
func (m *maker) note() { m.file("mail/outbox/note.eml", 1024+m.below(14<<10)) }

func (m *maker) update() {
	for range 16 {
		m.write("db/table-1.ibd", 0, m.below(m.sizes.tableBytes>>16)<<16, 64<<10)
	}
}

// box is one of the last mailboxes.
func (m *maker) box(fromEnd int) string {
	return filepath.Dir(m.at(letter(m.sizes.letters - fromEnd*lettersADir)))
}

// tidy also touches what is no content: owners, modes, attributes, links.
func (m *maker) tidy() {
	m.do(func() error { return os.Rename(m.box(2), m.at("mail/архив")) })
	m.do(func() error { return os.RemoveAll(m.box(1)) })
	m.mode("db", 0o711)
	m.do(func() error { return os.Lchown(m.at("odd/link"), 12, 34) })
	m.do(func() error { return unix.Lremovexattr(m.at("odd/setuid"), "user.comment") })
	m.do(func() error { return os.Remove(m.at("odd/fifo")) })
	m.do(func() error { return os.Truncate(m.at("vm/disk.img"), m.sizes.diskBytes/2) })
	m.do(func() error { return os.Link(m.at("media/film.mkv"), m.at("odd/film")) })
}
