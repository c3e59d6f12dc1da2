package progs

import (
	"errors"
	"testing"

	"antipode/fsdrivers/btrfs/btrfstest"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/internal/command"
)

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
	dir := btrfstest.OpenTemp(t)
	exit := &command.ExitError{Code: 1}
	for said, want := range map[string]error{
		"ERROR: writing to x failed: No space left on device":     dataset.ErrNoSpace,
		"ERROR: cannot find parent subvolume":                     dataset.ErrBaseMissing,
		"ERROR: subvolume /x is not read-only":                    dataset.ErrChanged,
		"ERROR: unexpected EOF in stream":                         dataset.ErrCut,
		"ERROR: send ioctl failed with -5: Input/output error":    ErrDevice,
		"ERROR: something that nobody knows":                      exit,
		"ERROR: clone: source subvol path a/b unreachable from c": dataset.ErrRefused,
		"ERROR: failed: Operation not permitted":                  dataset.ErrRefused,
		"ERROR: creating subvolume failed: Disk quota exceeded":   dataset.ErrNoSpace,
		"ERROR: cannot open /x: Read-only file system":            ErrDevice,
		"ERROR: cannot open /x: Structure needs cleaning":         ErrDevice,
		"ERROR: failed to dump stream: Broken pipe":               dataset.ErrCut,
	} {
		if got := Explain(dir, exit, said); !errors.Is(got, want) || !errors.Is(got, exit) {
			t.Errorf("explain(%q) = %v, want %v", said, got, want)
		}
	}
	for err, want := range map[error]error{command.ErrMissing: dataset.ErrToolMissing, command.ErrStuck: dataset.ErrStuck} {
		if got := Explain(dir, err, ""); !errors.Is(got, want) {
			t.Errorf("explain(%v) = %v, want %v", err, got, want)
		}
	}
}
