// Package sample makes what a file system can hold: data that do not compress,
// holes, clones, odd names, owners, modes, times, attributes, and changes to them.
package sample

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const mib = 1 << 20

// Random writes size bytes that do not compress to a new file, or over an old one.
func Random(t testing.TB, path string, size int64) {
	t.Helper()
	Overwrite(t, path, 0, size)
	must(t, os.Truncate(path, size))
}

// Overwrite puts random bytes into a file at an offset.
func Overwrite(t testing.TB, path string, at, size int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	must(t, err)
	defer f.Close()
	_, err = f.Seek(at, io.SeekStart)
	must(t, err)
	source := rand.NewChaCha8([32]byte{byte(rand.Uint32()), byte(size), byte(at)})
	_, err = io.CopyN(f, source, size)
	must(t, err)
}

// Write writes a small file.
func Write(t testing.TB, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o600))
}

// Clone makes to share the blocks of from. Where the file system clones no files,
// it copies.
func Clone(t testing.TB, from, to string) {
	t.Helper()
	src, err := os.Open(from)
	must(t, err)
	defer src.Close()
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o644)
	must(t, err)
	defer dst.Close()
	must(t, unix.Fsync(int(src.Fd()))) // ZFS clones no block that is not on the disk yet
	err = unix.IoctlFileClone(int(dst.Fd()), int(src.Fd()))
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EAGAIN) {
		_, err = io.Copy(dst, src)
	}
	must(t, err)
}

func times(t testing.TB, path string, at time.Time) {
	t.Helper()
	ts := unix.NsecToTimespec(at.UnixNano())
	must(t, unix.UtimesNanoAt(unix.AT_FDCWD, path, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW))
}

func own(t testing.TB, path string, uid, gid int, mode uint32) {
	t.Helper()
	must(t, os.Lchown(path, uid, gid))
	must(t, unix.Chmod(path, mode))
}

// Furnish puts some of everything that a file system can hold into root, with that
// many small files, at least ten, and a big one of that size, at least 3 MiB.
func Furnish(t testing.TB, root string, files int, bigBytes int64) {
	t.Helper()
	at := func(name string) string { return filepath.Join(root, name) }
	for _, dir := range []string{"many", "big", "odd/empty", "gone/deep"} {
		must(t, os.MkdirAll(at(dir), 0o755))
	}
	for i := range files {
		name := at(fmt.Sprintf("many/%03d", i))
		Random(t, name, int64(1+i*97))
		own(t, name, 1000+i%7, 100+i%5, 0o600|uint32(i%8))
		times(t, name, time.Unix(1_600_000_000+int64(i)*3607, int64(i)))
	}
	Random(t, at("big/table"), bigBytes)
	Clone(t, at("big/table"), at("big/table (clone)"))
	Overwrite(t, at("big/table (clone)"), 2*mib, 64<<10)
	Random(t, at("big/sparse"), 0)
	must(t, os.Truncate(at("big/sparse"), 48*mib))
	for _, offset := range []int64{3 * mib, 20 * mib, 47 * mib} {
		Overwrite(t, at("big/sparse"), offset, 128<<10)
	}
	for _, name := range []string{"Grüße.txt", "東京", "-rf", "with\nnewline", `quote'"$(x)`, "not utf-8 \xff"} {
		Write(t, at("odd/"+name), name)
	}
	own(t, at("odd/Grüße.txt"), 65534, 65534, 0o6755)
	for name, value := range map[string]string{"user.note": "näive \x00 \xff", "trusted.note": "only root", "user.empty": ""} {
		must(t, unix.Lsetxattr(at("odd/-rf"), name, []byte(value), 0))
		must(t, unix.Lsetxattr(root, name, []byte(value), 0))
	}
	must(t, os.Link(at("big/table"), at("odd/hard 1")))
	must(t, os.Link(at("big/table"), at("many/hard 2")))
	must(t, os.Symlink("../big/table", at("odd/link")))
	must(t, os.Symlink("/nowhere/at all", at("odd/dangling")))
	must(t, os.Lchown(at("odd/link"), 12, 34))
	times(t, at("odd/link"), time.Unix(1_000_000_000, 7))
	must(t, unix.Mkfifo(at("odd/fifo"), 0o640))
	must(t, unix.Chmod(at("odd/empty"), 0o1777))
	times(t, at("odd/empty"), time.Date(1961, 4, 12, 6, 7, 0, 1, time.UTC))
	times(t, at("odd"), time.Date(2038, 1, 20, 0, 0, 0, 999_999_999, time.UTC))
	must(t, unix.Chmod(root, 0o2751))
	times(t, root, time.Date(2024, 2, 29, 12, 0, 0, 123_456_789, time.UTC))
}

// Changes are what users do to a furnished root between two snapshots.
func Changes() []func(t testing.TB, root string) {
	return []func(t testing.TB, root string){changeContent, changeNames, changeAttributes, changeNothing}
}

func changeContent(t testing.TB, root string) {
	Overwrite(t, root+"/big/table", mib, 200<<10)
	Random(t, root+"/many/007", 50_000)
	Clone(t, root+"/big/table", root+"/big/table (third)")
	must(t, os.Truncate(root+"/big/sparse", 16*mib))
}

func changeNames(t testing.TB, root string) {
	must(t, os.Rename(root+"/many", root+"/архив"))
	must(t, os.RemoveAll(root+"/gone"))
	must(t, os.Link(root+"/big/table", root+"/odd/hard 3"))
	must(t, os.Remove(root+"/odd/fifo"))
	must(t, os.Mkdir(root+"/odd/fifo", 0o700)) // another type under an old name
}

// changeAttributes changes what is no content.
func changeAttributes(t testing.TB, root string) {
	must(t, unix.Lremovexattr(root+"/odd/-rf", "user.note"))
	must(t, unix.Lsetxattr(root, "user.note", []byte("changed"), 0))
	own(t, root+"/big", 77, 88, 0o711)
	times(t, root+"/odd/Grüße.txt", time.Unix(1, 999))
	must(t, unix.Chmod(root, 0o755))
	times(t, root, time.Date(1999, 12, 31, 23, 59, 59, 987_654_321, time.UTC))
}

func changeNothing(testing.TB, string) {}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
