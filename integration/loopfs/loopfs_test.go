package loopfs

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestNewMountsBtrfs(t *testing.T) {
	dir := New(t, MinSize)
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	if st.Type != unix.BTRFS_SUPER_MAGIC {
		t.Errorf("file system of %s: got type %x, want Btrfs", dir, st.Type)
	}
	if got := int64(st.Blocks) * st.Bsize; got != MinSize {
		t.Errorf("size: got %d, want %d", got, MinSize)
	}
}

func TestCleanupLeavesNothing(t *testing.T) {
	Require(t)
	var idle, busy string
	var open *os.File
	t.Run("one idle and one in use", func(t *testing.T) {
		idle, busy = New(t, MinSize), New(t, MinSize)
		var err error
		if open, err = os.Create(filepath.Join(busy, "open")); err != nil {
			t.Fatal(err)
		}
	})
	defer open.Close()
	for _, dir := range []string{idle, busy} {
		if mounted(dir) {
			t.Errorf("%s is still mounted after its test", dir)
		}
	}
}

func TestContentSurvivesUnmount(t *testing.T) {
	f := Make(t, MinSize)
	name := filepath.Join(f.Dir, "file")
	if err := os.WriteFile(name, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.Unmount()
	if _, err := os.Stat(name); !os.IsNotExist(err) {
		t.Errorf("after Unmount: got %v, want no file", err)
	}
	f.Mount()
	if got, err := os.ReadFile(name); err != nil || string(got) != "kept" {
		t.Errorf("after Mount: got %q, %v, want \"kept\"", got, err)
	}
}
