package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/internal/command"
)

const (
	sysfs = "/sys/fs/btrfs"
	// what everything here was tried with; earlier ones lose data (FIELD-NOTES B.3)
	minMajor, minMinor = 6, 2
)

// Probe implements fsdrivers.Prober: btrfs-progs and the kernel, and quota groups
// on the file systems of datasets that were asked about before.
func (s *Source) Probe(ctx context.Context) []fsdrivers.Finding {
	found := append(probeTool(ctx, s.binary), probeKernel(sysfs)...)
	seen := make(map[string]bool)
	for _, d := range s.datasets() {
		l, err := s.open(d)
		if err != nil {
			continue // who asks for the dataset is told
		}
		if u, err := usageOf(l.File); err == nil && !seen[u.Where] {
			seen[u.Where] = true
			found = append(found, probeQuota(l.File, u.Where)...)
		}
		l.Close()
	}
	return found
}

// Probe implements fsdrivers.Prober: btrfs-progs, the kernel, and Into.
func (t *Target) Probe(ctx context.Context) []fsdrivers.Finding {
	found := append(probeTool(ctx, t.opts.Binary), probeKernel(sysfs)...)
	in, err := t.open()
	if err != nil {
		return append(found, fsdrivers.Finding{
			Fatal: true, Object: t.opts.Into, What: err.Error(),
			Cure: "mount the Btrfs file system it is on, or set `into` to a path that can be made a subvolume",
		})
	}
	defer in.close()
	found = append(found, probeQuota(in.File, t.opts.Into)...)
	return append(found, t.probePlaces(in)...)
}

// probeTool asks btrfs for its version.
func probeTool(ctx context.Context, binary string) []fsdrivers.Finding {
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

// probeKernel looks for Btrfs and its send stream.
func probeKernel(sysfs string) []fsdrivers.Finding {
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

// mustKnowEncoded refuses compressed data on a kernel whose streams are all of
// version 1: it can neither read nor write extents as they are on the disk.
func mustKnowEncoded(sysfs string) error {
	text, err := os.ReadFile(filepath.Join(sysfs, "features", "send_stream_version"))
	if err == nil {
		if v, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && v >= 2 {
			return nil
		}
	}
	return fmt.Errorf("this kernel knows no compressed data in a stream; use Linux 6.0 or later here, or take compressed_data out of the job: %w", dataset.ErrRefused)
}

// probeQuota warns of quota groups: giving back the space of destroyed snapshots
// takes minutes with them (FIELD-NOTES B.6).
func probeQuota(f *os.File, object string) []fsdrivers.Finding {
	id, err := fileSystemID(f)
	if err != nil {
		return nil
	}
	dir := filepath.Join(sysfs, id.String(), "qgroups")
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

func (t *Target) probePlaces(in *into) []fsdrivers.Finding {
	var found []fsdrivers.Finding
	var st unix.Stat_t
	if err := unix.Fstat(int(in.Fd()), &st); err == nil && st.Mode&0o077 != 0 {
		found = append(found, fsdrivers.Finding{
			Object: t.opts.Into, What: fmt.Sprintf("its mode is %o: other users reach what was received, set-user-ID programs of the source too", st.Mode&0o777),
			Cure: "`chmod 0700 " + t.opts.Into + "`",
		})
	}
	if t.opts.Live == "" {
		return found
	}
	if err := t.probeLive(in); err != nil {
		found = append(found, fsdrivers.Finding{
			Fatal: true, Object: t.opts.Live, What: err.Error(),
			Cure: "make the directory, on the same file system as " + t.opts.Into,
		})
	}
	return found
}

func (t *Target) probeLive(in *into) error {
	live, err := openDir(t.opts.Live)
	if err != nil {
		return err
	}
	defer live.Close()
	if err := mustBtrfs(live); err != nil {
		return err
	}
	ours, err := fileSystemID(in.File)
	if err != nil {
		return err
	}
	if theirs, err := fileSystemID(live); err != nil || theirs != ours {
		return errors.Join(err, fmt.Errorf("it is on another file system than %s: %w", t.opts.Into, dataset.ErrNotDataset))
	}
	return nil
}
