package subvol

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers/btrfs/btrfstest"
	"antipode/fsdrivers/dataset"
)

func TestParseMounts(t *testing.T) {
	const table = `22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
36 22 0:31 /sub /mnt/a\040b rw,relatime shared:1 master:2 - btrfs /dev/mapper/x\0412 rw,subvolid=256
`
	got, err := parseMounts(strings.NewReader(table))
	btrfstest.Must(t, err)
	want := []Mount{{22, "/", "ext4", "/dev/vda"}, {36, "/mnt/a b", "btrfs", "/dev/mapper/x!2"}}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %+v, want %+v", got, want)
	}
	for _, bad := range []string{"x", "a b c d e f - g h", "1 2 3 4 5 6 7 8"} {
		if _, err := parseMounts(strings.NewReader(bad)); err == nil {
			t.Errorf("parseMounts(%q) was accepted", bad)
		}
	}
}

func TestUnescapeMount(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", `a\040b`: "a b", `\134`: `\`, `\`: `\`, `\04`: `\04`, `\999`: `\999`, `x\012`: "x\n", `\777`: `\777`,
	} {
		if got := unescapeMount(in); got != want {
			t.Errorf("unescapeMount(%q) = %q, want %q", in, got, want)
		}
	}
}

func FuzzParseMounts(f *testing.F) {
	f.Add("36 22 0:31 /sub /mnt/a\\040b rw,relatime shared:1 - btrfs /dev/vda rw\n")
	f.Add("1 - \n")
	f.Fuzz(func(t *testing.T, s string) {
		mounts, err := parseMounts(strings.NewReader(s))
		if err == nil && len(mounts) > strings.Count(s, "\n")+1 {
			t.Errorf("%d mounts from %q", len(mounts), s)
		}
	})
}

func TestSpaceErrorNamesTheFileSystem(t *testing.T) {
	dir := btrfstest.OpenTemp(t)
	var space *dataset.SpaceError
	if err := SpaceError(dir, unix.ENOSPC); !errors.As(err, &space) || space.Where == "" || !errors.Is(err, dataset.ErrNoSpace) {
		t.Errorf("got %v, want a SpaceError with a mount point", err)
	}
	if err := SpaceError(dir, unix.EIO); !errors.Is(err, unix.EIO) || errors.Is(err, dataset.ErrNoSpace) {
		t.Errorf("got %v, want what it was", err)
	}
}

func TestOpenFollowsNoLink(t *testing.T) {
	root := t.TempDir()
	btrfstest.Must(t, os.MkdirAll(filepath.Join(root, "real", "sub"), 0o755))
	btrfstest.Must(t, os.Symlink(filepath.Join(root, "real"), filepath.Join(root, "link")))
	btrfstest.Write(t, filepath.Join(root, "file"), nil)
	dir, err := OpenDir(root)
	btrfstest.Must(t, err)
	defer dir.Close()
	for rel, want := range map[string]error{
		"real/sub": nil, "": nil, "none": dataset.ErrNotFound, "file": dataset.ErrNotDataset, "link": dataset.ErrNotDataset,
		"link/sub": dataset.ErrNotDataset, "file/x": dataset.ErrNotDataset,
	} {
		for how, open := range map[string]func() (*os.File, error){
			"below":    func() (*os.File, error) { return OpenDirBelow(dir, rel) },
			"absolute": func() (*os.File, error) { return OpenDir(filepath.Join(root, rel)) },
		} {
			f, err := open()
			if f != nil {
				f.Close()
			}
			if !errors.Is(err, want) {
				t.Errorf("open %q %s: %v, want %v", rel, how, err, want)
			}
		}
	}
	if _, err := OpenDir(filepath.Join(root, "link", "sub")); err == nil || !strings.Contains(err.Error(), filepath.Join(root, "real", "sub")) {
		t.Errorf("open through a link: %v, want an error that names the real path", err)
	}
	if _, err := OpenDirBelow(dir, "../x"); err == nil {
		t.Error("a path that leaves the directory was opened")
	}
}
