// Package btrfstest is what tests on real Btrfs have in common.
package btrfstest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers/dataset"
	"antipode/integration/manifest"
)

// Tool runs a program and returns all that it said; it must succeed.
func Tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// AtSource is where a snapshot is on the source.
func AtSource(d dataset.Path, s dataset.Snapshot) string {
	return filepath.Join(string(d), dataset.Dir, s.Name)
}

// SameTree fails the test where two trees differ in anything but what is Antipode's.
func SameTree(t *testing.T, want, got string) {
	t.Helper()
	ours := func(path string) bool { return path == dataset.Dir || strings.HasSuffix(path, "/"+dataset.Dir) }
	a, err := manifest.Of(want, ours)
	if err != nil {
		t.Fatal(err)
	}
	b, err := manifest.Of(got, ours)
	if err != nil {
		t.Fatal(err)
	}
	if len(a) < 2 {
		t.Fatalf("%s is empty: nothing was compared", want)
	}
	for _, line := range manifest.Diff(a, b) {
		t.Errorf("%s differs from %s: %s", got, want, line)
	}
}

// Fill makes one of every kind of file.
func Fill(t *testing.T, root string) {
	t.Helper()
	Write(t, filepath.Join(root, "data"), bytes.Repeat([]byte("0123456789abcdef"), 64<<10))
	Write(t, filepath.Join(root, "-rf"), []byte("a leading dash"))
	Must(t, os.MkdirAll(filepath.Join(root, "d i r/é/e\u0301"), 0o2751))
	Write(t, filepath.Join(root, "d i r/é/new\nline"), []byte("x"))
	Must(t, os.Link(filepath.Join(root, "data"), filepath.Join(root, "d i r/hard")))
	Must(t, os.Symlink("../../nowhere", filepath.Join(root, "link")))
	Must(t, unix.Mkfifo(filepath.Join(root, "fifo"), 0o640))
	Tool(t, "cp", "--reflink=always", filepath.Join(root, "data"), filepath.Join(root, "clone"))
	Must(t, os.Chmod(filepath.Join(root, "clone"), 0o4711))
	Must(t, os.Lchown(filepath.Join(root, "link"), 12, 34))
	Must(t, unix.Setxattr(filepath.Join(root, "data"), "user.colour", []byte{0, 1, 2}, 0))
	sparse, err := os.Create(filepath.Join(root, "sparse"))
	Must(t, err)
	_, err = sparse.WriteAt([]byte("end"), 8<<20)
	Must(t, err)
	Must(t, sparse.Close())
	Must(t, os.Chtimes(root, time.Unix(1000, 1), time.Unix(2000, 123456789)))
}

// Change does a bit of everything to what fill made.
func Change(t *testing.T, root string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(root, "data"), os.O_WRONLY, 0)
	Must(t, err)
	_, err = f.WriteAt([]byte("changed"), 5000)
	Must(t, err)
	Must(t, f.Close())
	Must(t, os.Rename(filepath.Join(root, "d i r"), filepath.Join(root, "renamed")))
	Must(t, os.Remove(filepath.Join(root, "fifo")))
	Must(t, unix.Removexattr(filepath.Join(root, "data"), "user.colour"))
	Tool(t, "cp", "--reflink=always", filepath.Join(root, "clone"), filepath.Join(root, "clone of clone"))
	Must(t, os.Truncate(filepath.Join(root, "sparse"), 1<<20))
	Must(t, os.Chtimes(root, time.Unix(3000, 3), time.Unix(4000, 987654321)))
}

// Write writes a file.
func Write(t *testing.T, path string, data []byte) {
	t.Helper()
	Must(t, os.WriteFile(path, data, 0o644))
}

// Must ends the test on an error.
func Must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// OpenTemp is an open temporary directory, on whatever file system that is.
func OpenTemp(t *testing.T) *os.File {
	t.Helper()
	dir, err := os.Open(t.TempDir())
	Must(t, err)
	t.Cleanup(func() { dir.Close() })
	return dir
}
