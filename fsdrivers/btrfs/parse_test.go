package btrfs

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/internal/command"
)

func TestParseMounts(t *testing.T) {
	const table = `22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
36 22 0:31 /sub /mnt/a\040b rw,relatime shared:1 master:2 - btrfs /dev/mapper/x\0412 rw,subvolid=256
`
	got, err := parseMounts(strings.NewReader(table))
	must(t, err)
	want := []mount{{22, "/", "ext4", "/dev/vda"}, {36, "/mnt/a b", "btrfs", "/dev/mapper/x!2"}}
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

func TestParseVersion(t *testing.T) {
	for in, want := range map[string][2]int{
		"btrfs-progs v6.2 \n": {6, 2}, "btrfs-progs v6.16.1\n+FEATURE -X\n": {6, 16}, "btrfs-progs v6.2-rc1": {6, 2},
		"": {}, "btrfs v6.2": {}, "btrfs-progs v6": {}, "btrfs-progs v.": {}, "btrfs-progs vx.2": {},
	} {
		major, minor, err := parseVersion(in)
		if got := [2]int{major, minor}; got != want || (err == nil) != (want[0] != 0) {
			t.Errorf("parseVersion(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
}

func FuzzParseVersion(f *testing.F) {
	f.Add("btrfs-progs v6.16.1\n")
	f.Add("btrfs-progs v-1.+2")
	f.Fuzz(func(t *testing.T, s string) {
		if major, minor, err := parseVersion(s); err != nil && (major != 0 || minor != 0) {
			t.Errorf("parseVersion(%q) = %d, %d with %v", s, major, minor, err)
		}
	})
}

func TestExplain(t *testing.T) {
	dir := openTemp(t)
	exit := &command.ExitError{Code: 1}
	for said, want := range map[string]error{
		"ERROR: writing to x failed: No space left on device":     dataset.ErrNoSpace,
		"ERROR: cannot find parent subvolume":                     dataset.ErrBaseMissing,
		"ERROR: subvolume /x is not read-only":                    dataset.ErrChanged,
		"ERROR: unexpected EOF in stream":                         dataset.ErrCut,
		"ERROR: send ioctl failed with -5: Input/output error":    errDevice,
		"ERROR: something that nobody knows":                      exit,
		"ERROR: clone: source subvol path a/b unreachable from c": dataset.ErrRefused,
		"ERROR: failed: Operation not permitted":                  dataset.ErrRefused,
		"ERROR: creating subvolume failed: Disk quota exceeded":   dataset.ErrNoSpace,
		"ERROR: cannot open /x: Read-only file system":            errDevice,
		"ERROR: cannot open /x: Structure needs cleaning":         errDevice,
		"ERROR: failed to dump stream: Broken pipe":               dataset.ErrCut,
	} {
		if got := explain(dir, exit, said); !errors.Is(got, want) || !errors.Is(got, exit) {
			t.Errorf("explain(%q) = %v, want %v", said, got, want)
		}
	}
	for err, want := range map[error]error{command.ErrMissing: dataset.ErrToolMissing, command.ErrStuck: dataset.ErrStuck} {
		if got := explain(dir, err, ""); !errors.Is(got, want) {
			t.Errorf("explain(%v) = %v, want %v", err, got, want)
		}
	}
}

func TestSpaceErrorNamesTheFileSystem(t *testing.T) {
	dir := openTemp(t)
	var space *dataset.SpaceError
	if err := spaceError(dir, unix.ENOSPC); !errors.As(err, &space) || space.Where == "" || !errors.Is(err, dataset.ErrNoSpace) {
		t.Errorf("got %v, want a SpaceError with a mount point", err)
	}
	if err := spaceError(dir, unix.EIO); !errors.Is(err, unix.EIO) || errors.Is(err, dataset.ErrNoSpace) {
		t.Errorf("got %v, want what it was", err)
	}
}

func TestOpenFollowsNoLink(t *testing.T) {
	root := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(root, "real", "sub"), 0o755))
	must(t, os.Symlink(filepath.Join(root, "real"), filepath.Join(root, "link")))
	write(t, filepath.Join(root, "file"), nil)
	dir, err := openDir(root)
	must(t, err)
	defer dir.Close()
	for rel, want := range map[string]error{
		"real/sub": nil, "": nil, "none": dataset.ErrNotFound, "file": dataset.ErrNotDataset, "link": dataset.ErrNotDataset,
		"link/sub": dataset.ErrNotDataset, "file/x": dataset.ErrNotDataset,
	} {
		for how, open := range map[string]func() (*os.File, error){
			"below":    func() (*os.File, error) { return openBelow(dir, rel) },
			"absolute": func() (*os.File, error) { return openDir(filepath.Join(root, rel)) },
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
	if _, err := openDir(filepath.Join(root, "link", "sub")); err == nil || !strings.Contains(err.Error(), filepath.Join(root, "real", "sub")) {
		t.Errorf("open through a link: %v, want an error that names the real path", err)
	}
	if _, err := openBelow(dir, "../x"); err == nil {
		t.Error("a path that leaves the directory was opened")
	}
}
