// Package subvol is what Btrfs and the kernel are asked for: directories that no symbolic
// link leads to, subvolumes and what they are, snapshots, and the room on their file
// system. It runs no program and knows no replicas.
package subvol

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// Handle is an open subvolume and what the kernel says of it.
type Handle struct {
	*os.File
	Info
}

// asHandle looks at what f is. It keeps f only on success.
func asHandle(f *os.File) (*Handle, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	if err := MustBtrfs(f); err != nil {
		return nil, err
	}
	if st.Ino != rootInode {
		return nil, fmt.Errorf("%s is a plain directory; make it with `btrfs subvolume create`, or name the subvolume it is in: %w",
			f.Name(), dataset.ErrNotDataset)
	}
	info, err := getInfo(f)
	if err != nil {
		return nil, fmt.Errorf("look at subvolume %s: %w", f.Name(), err)
	}
	return &Handle{File: f, Info: info}, nil
}

// MustBtrfs answers ErrNotDataset for what is not on Btrfs.
func MustBtrfs(f *os.File) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return &fs.PathError{Op: "statfs", Path: f.Name(), Err: err}
	}
	if uint32(st.Type) != unix.BTRFS_SUPER_MAGIC {
		return fmt.Errorf("%s is not on a Btrfs file system: %w", f.Name(), dataset.ErrNotDataset)
	}
	return nil
}

// Open opens the subvolume at an absolute path.
func Open(path string) (*Handle, error) {
	f, err := OpenDir(path)
	return closeUnlessOne(f, err)
}

// OpenBelow opens the subvolume rel below dir.
func OpenBelow(dir *os.File, rel string) (*Handle, error) {
	f, err := OpenDirBelow(dir, rel)
	return closeUnlessOne(f, err)
}

func closeUnlessOne(f *os.File, err error) (*Handle, error) {
	if err != nil {
		return nil, err
	}
	s, err := asHandle(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

// IsReadOnly reports whether nobody can write into s.
func (s *Handle) IsReadOnly() bool { return s.Flags&rootReadOnly != 0 }

// IsReceived reports whether s has the identity of one that was sent.
func (s *Handle) IsReceived() bool { return s.ReceivedUUID != uuid.Nil }

// Identity is the UUID that a stream of s announces: that of its origin, kept
// along a chain of receives (FIELD-NOTES B.4).
func (s *Handle) Identity() dataset.ID {
	if s.IsReceived() {
		return dataset.ID(s.ReceivedUUID.String())
	}
	return dataset.ID(s.UUID.String())
}

// Remove removes s; a crash may bring it back. It does not wait for the cleaner,
// which may take minutes to give the space back (FIELD-NOTES B.6).
func (s *Handle) Remove(in *os.File) error {
	switch err := destroy(in, s.TreeID); {
	case err == nil, errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EBUSY):
		return fmt.Errorf("destroy %s: a send of it runs, or something is mounted on it: %w", s.Name(), dataset.ErrHeld)
	default:
		return SpaceError(in, fmt.Errorf("destroy %s: %w", s.Name(), err))
	}
}

// Entry is one snapshot in a directory.
type Entry struct {
	Name string
	Info
	ID dataset.ID
}

// ReadOnlyIn lists the read-only subvolumes directly in dir that keep admits,
// oldest first. It opens each and asks the kernel: no child, one ioctl.
func ReadOnlyIn(dir *os.File, keep func(name string, s *Handle) bool) ([]Entry, error) {
	list, err := Names(dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir.Name(), err)
	}
	var found []Entry
	for _, name := range list {
		s, err := OpenBelow(dir, name)
		if errors.Is(err, dataset.ErrNotDataset) || errors.Is(err, dataset.ErrNotFound) {
			continue // a file, a plain directory, or destroyed since
		}
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", dir.Name(), err)
		}
		if s.IsReadOnly() && keep(name, s) {
			found = append(found, Entry{Name: name, Info: s.Info, ID: s.Identity()})
		}
		s.Close()
	}
	slices.SortFunc(found, func(a, b Entry) int {
		return cmp.Or(cmp.Compare(a.Otransid, b.Otransid), cmp.Compare(a.Name, b.Name))
	})
	return found, nil
}

// SpaceError turns a full file system into a dataset.SpaceError that names it;
// any other error stays what it is.
func SpaceError(on *os.File, err error) error {
	if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
		return err
	}
	where, free, _, usageErr := usage(on)
	if usageErr != nil {
		return errors.Join(err, &dataset.SpaceError{Where: on.Name()})
	}
	return fmt.Errorf("%w (%w)", &dataset.SpaceError{Where: where, Free: free}, err)
}

// usage reports the room on the file system of f and where that is mounted.
func usage(f *os.File) (where string, free, size int64, err error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return "", 0, 0, &fs.PathError{Op: "statfs", Path: f.Name(), Err: err}
	}
	m, err := MountOf(f)
	if err != nil {
		return "", 0, 0, err
	}
	return m.point, int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize, nil
}

// RenameIn renames within one directory and never replaces anything.
func RenameIn(dir *os.File, from, to string) error {
	err := unix.Renameat2(int(dir.Fd()), from, int(dir.Fd()), to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("rename %s to %s: %w", filepath.Join(dir.Name(), from), to, dataset.ErrExists)
	}
	if err != nil {
		return SpaceError(dir, fmt.Errorf("rename %s to %s: %w", filepath.Join(dir.Name(), from), to, err))
	}
	return nil
}

// OpenSnapshot opens a snapshot by name and checks that it is still the one that
// was looked at. Errors: ErrNotFound, ErrChanged.
func OpenSnapshot(dir *os.File, snap dataset.Snapshot) (*Handle, error) {
	path := filepath.Join(dir.Name(), snap.Name)
	sub, err := OpenBelow(dir, snap.Name)
	switch {
	case errors.Is(err, dataset.ErrNotDataset):
		return nil, fmt.Errorf("%s is not a snapshot: %w", path, dataset.ErrChanged)
	case err != nil:
		return nil, err
	case !sub.IsReadOnly() || sub.Identity() != snap.ID:
		sub.Close()
		return nil, fmt.Errorf("%s is %s, not the snapshot %s: %w", path, sub.Identity(), snap.ID, dataset.ErrChanged)
	}
	return sub, nil
}

// RemoveIn removes the intermediate subvolume name in dir, if it is there.
// One that a crash brings back is removed again.
func RemoveIn(dir *os.File, name string) error {
	sub, err := OpenBelow(dir, name)
	if errors.Is(err, dataset.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	defer sub.Close()
	return sub.Remove(dir)
}

// SyncName makes a rename in dir durable. With a subvolume in it, fsync becomes
// a commit; commit says so where it does not.
func SyncName(dir *os.File) error {
	if err := dir.Sync(); err != nil {
		return SpaceError(dir, fmt.Errorf("sync %s: %w", dir.Name(), err))
	}
	if err := Commit(dir); err != nil {
		return SpaceError(dir, fmt.Errorf("commit %s: %w", dir.Name(), err))
	}
	return nil
}

// UsageOf is the room on the file system of f.
func UsageOf(f *os.File) (fsdrivers.Usage, error) {
	where, free, size, err := usage(f)
	if err != nil {
		return fsdrivers.Usage{}, err
	}
	return fsdrivers.Usage{Where: where, Free: free, Size: size}, nil
}
