package zfs

import (
	"fmt"
	"strings"

	"antipode/fsdrivers/dataset"
)

const (
	// NamePrefix starts the name of every snapshot that is Antipode's.
	NamePrefix = "antipode_"
	// LiveName is where activated datasets are, inside `into`.
	LiveName = "antipode_live"
	// maxName is ZFS_MAX_DATASET_NAME_LEN without its NUL; a receive needs room
	// for "/%recv" behind it.
	maxName = 255
	recv    = "/%recv"
)

// checkName tells what ZFS would not take as the name of a dataset; "" if it is
// one. A slash at the front, a hyphen that zfs would take for an option, and
// names that stand for something else are none.
func checkName(s string) string {
	switch {
	case s == "":
		return "it is empty"
	case len(s)+len(recv) > maxName:
		return fmt.Sprintf("it has %d bytes, and ZFS takes %d", len(s), maxName-len(recv))
	case !strings.ContainsAny(s[:1], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"):
		return "it does not begin with a letter, as the name of a pool does"
	}
	for part := range strings.SplitSeq(s, "/") {
		if what := checkComponent(part); what != "" {
			return what
		}
	}
	return ""
}

// checkComponent tells what is wrong with one part of a name (zfs_namecheck.c).
func checkComponent(part string) string {
	const ok = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.: "
	switch {
	case part == "" || part == "." || part == "..":
		return fmt.Sprintf("it has a part %q", part)
	case strings.Trim(part, ok) != "" || strings.ContainsFunc(part, func(r rune) bool { return !strings.ContainsRune(ok, r) }):
		return fmt.Sprintf("ZFS takes no such characters as in %q", part)
	case part != strings.Trim(part, " "):
		return fmt.Sprintf("%q begins or ends with a space", part)
	}
	return ""
}

// sourceName is the ZFS name of a dataset of this host.
func sourceName(d dataset.Path) (string, error) {
	if _, err := dataset.ParsePath(string(d)); err != nil {
		return "", fmt.Errorf("%w: %w", dataset.ErrNotFound, err)
	}
	if what := checkName(string(d)); what != "" {
		return "", fmt.Errorf("%q is not the name of a ZFS dataset (such as tank/db): %s: %w", d, what, dataset.ErrNotFound)
	}
	return string(d), nil
}

func poolOf(name string) string {
	pool, _, _ := strings.Cut(name, "/")
	pool, _, _ = strings.Cut(pool, "@")
	return pool
}

func parentOf(name string) string { return name[:max(strings.LastIndexByte(name, '/'), 0)] }

func leafOf(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// ownName checks the name of a snapshot that is ours.
func ownName(name string) error {
	if _, err := dataset.ParseName(name); err != nil {
		return fmt.Errorf("%w: %w", dataset.ErrRefused, err)
	}
	if !strings.HasPrefix(name, NamePrefix) {
		return fmt.Errorf("snapshot name %q: want one that begins with %q: %w", name, NamePrefix, dataset.ErrRefused)
	}
	if what := checkComponent(name); what != "" {
		return fmt.Errorf("snapshot name: %s: %w", what, dataset.ErrRefused)
	}
	return nil
}

// foreignName checks the name of a snapshot that others made.
func foreignName(name string) error {
	if _, err := dataset.ParseForeignName(name); err != nil {
		return fmt.Errorf("%w: %w", dataset.ErrRefused, err)
	}
	if what := checkComponent(name); what != "" {
		return fmt.Errorf("snapshot name: %s: %w", what, dataset.ErrRefused)
	}
	return nil
}

// listedName checks the name of a snapshot that Snapshots, or Foreign, has listed.
func listedName(s dataset.Snapshot) error {
	if s.Foreign {
		return foreignName(s.Name)
	}
	return ownName(s.Name)
}

// snapshotName is the full name of a snapshot, if ZFS takes one that long.
func snapshotName(ds, name string) (string, error) {
	if full := ds + "@" + name; len(full) <= maxName {
		return full, nil
	}
	return "", fmt.Errorf("%s@%s has more than the %d bytes that ZFS takes; shorten the path or the prefix: %w", ds, name, maxName, dataset.ErrRefused)
}
