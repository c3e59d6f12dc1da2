// Package progs is what is known of btrfs-progs and of the kernel's Btrfs: what they can
// do, and what they mean by what they say.
package progs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"antipode/fsdrivers"
	"antipode/fsdrivers/btrfs/subvol"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/internal/command"
)

const (
	// Sysfs is where the kernel tells of Btrfs.
	Sysfs = "/sys/fs/btrfs"
	// what everything here was tried with; earlier ones lose data (FIELD-NOTES B.3)
	minMajor, minMinor = 6, 2
)

// Binary is btrfs where no other name is given.
func Binary(binary string) string {
	if binary == "" {
		return "btrfs"
	}
	return binary
}

// ProbeTool asks btrfs for its version.
func ProbeTool(ctx context.Context, binary string) []fsdrivers.Finding {
	fatal := fsdrivers.Finding{Fatal: true, Object: binary, Cure: "install btrfs-progs 6.2 or later (`apt install btrfs-progs`)"}
	out, err := command.Run(ctx, command.Spec{Args: []string{binary, "--version"}})
	if err != nil {
		fatal.What = err.Error()
		return []fsdrivers.Finding{fatal}
	}
	major, minor, err := parseVersion(string(out))
	switch {
	case err != nil:
		fatal.What = err.Error()
	case major < minMajor || major == minMajor && minor < minMinor:
		fatal.What = fmt.Sprintf("it is version %d.%d, older than %d.%d", major, minor, minMajor, minMinor)
	default:
		return nil
	}
	return []fsdrivers.Finding{fatal}
}

// parseVersion reads "btrfs-progs v6.2" and "btrfs-progs v6.16.1".
func parseVersion(s string) (major, minor int, err error) {
	line, _, _ := strings.Cut(s, "\n")
	_, version, found := strings.Cut(line, "btrfs-progs v")
	parts := strings.SplitN(version, ".", 3)
	if !found || len(parts) < 2 {
		return 0, 0, fmt.Errorf("cannot tell the version of btrfs-progs from %.80q", line)
	}
	major, err1 := strconv.Atoi(parts[0])
	digits := len(parts[1]) - len(strings.TrimLeft(parts[1], "0123456789")) // "2-rc1" is 2
	minor, err2 := strconv.Atoi(parts[1][:digits])
	if err1 != nil || err2 != nil {
		return 0, 0, fmt.Errorf("cannot tell the version of btrfs-progs from %.80q", line)
	}
	return major, minor, nil
}

// ProbeKernel looks for Btrfs and its send stream.
func ProbeKernel(sysfs string) []fsdrivers.Finding {
	fatal := fsdrivers.Finding{Fatal: true, Object: "kernel"}
	_, err := os.Stat(filepath.Join(sysfs, "features", "send_stream_version"))
	if err == nil {
		return nil
	}
	fatal.What, fatal.Cure = "it does not say which send streams it knows", "use Linux 6.1 or later"
	if _, err := os.Stat(sysfs); errors.Is(err, os.ErrNotExist) {
		fatal.What, fatal.Cure = "it has no Btrfs", "`modprobe btrfs`, or use a kernel that has it"
	}
	return []fsdrivers.Finding{fatal}
}

// KnowsEncoded refuses compressed data on a kernel whose streams are all of
// version 1: it can neither read nor write extents as they are on the disk.
func KnowsEncoded(sysfs string) error {
	text, err := os.ReadFile(filepath.Join(sysfs, "features", "send_stream_version"))
	if err == nil {
		if v, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && v >= 2 {
			return nil
		}
	}
	return fmt.Errorf("this kernel knows no compressed data in a stream; use Linux 6.0 or later here, or take compressed_data out of the job: %w", dataset.ErrRefused)
}

// ProbeQuota warns of quota groups: giving back the space of destroyed snapshots
// takes minutes with them (FIELD-NOTES B.6).
func ProbeQuota(f *os.File, object string) []fsdrivers.Finding {
	id, err := subvol.FileSystemID(f)
	if err != nil {
		return nil
	}
	dir := filepath.Join(Sysfs, id.String(), "qgroups")
	if _, err := os.Stat(dir); err != nil {
		return nil // the directory is there while quotas are on
	}
	if mode, err := os.ReadFile(filepath.Join(dir, "mode")); err == nil && strings.TrimSpace(string(mode)) == "squota" {
		return nil
	}
	return []fsdrivers.Finding{{
		Object: object, What: "quota groups are on: destroying snapshots, those that a copy on its way keeps too, gives space back very slowly",
		Cure: "`btrfs quota disable " + object + "`, or simple quotas (Linux 6.7)",
	}}
}
