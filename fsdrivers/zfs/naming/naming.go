// Package naming is what ZFS and Antipode take for a name: of a dataset, of a snapshot, and
// the text that an identity is. It is pure, and knows nothing of what exists.
package naming

import (
	"fmt"
	"strconv"
	"strings"

	"antipode/fsdrivers/dataset"
)

const (
	// Prefix starts the name of every snapshot that is Antipode's.
	Prefix = "antipode_"
	// Live is where activated datasets are, inside `into`.
	Live = "antipode_live"
	// maxName is ZFS_MAX_DATASET_NAME_LEN without its NUL; a receive needs room
	// for "/%recv" behind it.
	maxName = 255
	recv    = "/%recv"
)

// Check tells what ZFS would not take as the name of a dataset; "" if it is
// one. A slash at the front, a hyphen that zfs would take for an option, and
// names that stand for something else are none.
func Check(s string) string {
	switch {
	case s == "":
		return "it is empty"
	case len(s)+len(recv) > maxName:
		return fmt.Sprintf("it has %d bytes, and ZFS takes %d", len(s), maxName-len(recv))
	case !strings.ContainsAny(s[:1], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"):
		return "it does not begin with a letter, as the name of a pool does"
	}
	for part := range strings.SplitSeq(s, "/") {
		if what := CheckPart(part); what != "" {
			return what
		}
	}
	return ""
}

// CheckPart tells what is wrong with one part of a name (zfs_namecheck.c).
func CheckPart(part string) string {
	const ok = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.: "
	switch {
	case part == "" || part == "." || part == "..":
		return fmt.Sprintf("it has a part %q", part)
	case strings.Trim(part, ok) != "" || strings.ContainsFunc(part, func(r rune) bool { return !strings.ContainsRune(ok, r) }):
		return fmt.Sprintf("ZFS takes no such characters as in %q", part)
	}
	return ""
}

// Dataset is the ZFS name of a dataset of this host.
func Dataset(d dataset.Path) (string, error) {
	if _, err := dataset.ParsePath(string(d)); err != nil {
		return "", fmt.Errorf("%w: %w", dataset.ErrNotFound, err)
	}
	if what := Check(string(d)); what != "" {
		return "", fmt.Errorf("%q is not the name of a ZFS dataset (such as tank/db): %s: %w", d, what, dataset.ErrNotFound)
	}
	return string(d), nil
}

// PoolOf is the pool of a dataset or snapshot.
func PoolOf(name string) string {
	if end := strings.IndexAny(name, "/@#"); end >= 0 {
		return name[:end]
	}
	return name
}

// ParentOf is the dataset above; "" above a pool.
func ParentOf(name string) string { return name[:max(strings.LastIndexByte(name, '/'), 0)] }

// IsBelow reports whether name is below root.
func IsBelow(root, name string) bool { return strings.HasPrefix(name, root+"/") }

// LeafOf is the last part.
func LeafOf(name string) string { return name[strings.LastIndexByte(name, '/')+1:] }

// Own checks the name of a snapshot that is ours.
func Own(name string) error {
	if _, err := dataset.ParseName(name); err != nil {
		return fmt.Errorf("%w: %w", dataset.ErrRefused, err)
	}
	if !strings.HasPrefix(name, Prefix) {
		return fmt.Errorf("snapshot name %q: want one that begins with %q: %w", name, Prefix, dataset.ErrRefused)
	}
	if what := CheckPart(name); what != "" {
		return fmt.Errorf("snapshot name: %s: %w", what, dataset.ErrRefused)
	}
	return nil
}

// Foreign checks the name of a snapshot that others made.
func Foreign(name string) error {
	if _, err := dataset.ParseForeignName(name); err != nil {
		return fmt.Errorf("%w: %w", dataset.ErrRefused, err)
	}
	if what := CheckPart(name); what != "" {
		return fmt.Errorf("snapshot name: %s: %w", what, dataset.ErrRefused)
	}
	return nil
}

// Listed checks the name of a snapshot that Snapshots, or Foreign, has listed.
func Listed(s dataset.Snapshot) error {
	if s.Foreign {
		return Foreign(s.Name)
	}
	return Own(s.Name)
}

// Snapshot is the full name of a snapshot, if ZFS takes one that long.
func Snapshot(ds, name string) (string, error) {
	if full := ds + "@" + name; len(full) <= maxName {
		return full, nil
	}
	return "", fmt.Errorf("%s@%s has %d bytes, and ZFS takes %d; shorten the path, or the name of the job that is in the snapshot's: %w",
		ds, name, len(ds)+1+len(name), maxName, dataset.ErrRefused)
}

// IDOf is the identity that a GUID stands for.
func IDOf(guid uint64) dataset.ID { return dataset.ID(fmt.Sprintf("%016x", guid)) }

// GUIDOf is the number that an identity stands for.
func GUIDOf(id dataset.ID) (uint64, error) {
	guid, err := strconv.ParseUint(string(id), 16, 64)
	if err != nil || IDOf(guid) != id || guid == 0 {
		return 0, fmt.Errorf("%q is not the identity of a ZFS dataset or snapshot: want 16 hexadecimal digits", id)
	}
	return guid, nil
}
