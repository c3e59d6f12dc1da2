package btrfs

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

	"antipode/fsdrivers/dataset"
)

// subvolume is an open subvolume and what the kernel says of it.
type subvolume struct {
	*os.File
	infoArgs
}

// asSubvolume looks at what f is. It keeps f only on success.
func asSubvolume(f *os.File) (*subvolume, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	if err := mustBtrfs(f); err != nil {
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
	return &subvolume{File: f, infoArgs: info}, nil
}

func mustBtrfs(f *os.File) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return &fs.PathError{Op: "statfs", Path: f.Name(), Err: err}
	}
	if uint32(st.Type) != unix.BTRFS_SUPER_MAGIC {
		return fmt.Errorf("%s is not on a Btrfs file system: %w", f.Name(), dataset.ErrNotDataset)
	}
	return nil
}

// openSubvolume opens the subvolume at an absolute path.
func openSubvolume(path string) (*subvolume, error) {
	f, err := openDir(path)
	return closeUnlessSubvolume(f, err)
}

// openSubvolumeBelow opens the subvolume rel below dir.
func openSubvolumeBelow(dir *os.File, rel string) (*subvolume, error) {
	f, err := openBelow(dir, rel)
	return closeUnlessSubvolume(f, err)
}

func closeUnlessSubvolume(f *os.File, err error) (*subvolume, error) {
	if err != nil {
		return nil, err
	}
	s, err := asSubvolume(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

func (s *subvolume) isReadOnly() bool { return s.flags&rootReadOnly != 0 }
func (s *subvolume) isReceived() bool { return s.receivedUUID != uuid.Nil }

// identity is the UUID that a stream of s announces: that of its origin, kept
// along a chain of receives (FIELD-NOTES B.4).
func (s *subvolume) identity() dataset.ID {
	if s.isReceived() {
		return dataset.ID(s.receivedUUID.String())
	}
	return dataset.ID(s.uuid.String())
}

// remove removes s; a crash may bring it back. It does not wait for the cleaner,
// which may take minutes to give the space back (FIELD-NOTES B.6).
func (s *subvolume) remove(in *os.File) error {
	switch err := destroySubvolume(in, s.treeID); {
	case err == nil, errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EBUSY):
		return fmt.Errorf("destroy %s: a send of it runs, or something is mounted on it: %w", s.Name(), dataset.ErrHeld)
	default:
		return spaceError(in, fmt.Errorf("destroy %s: %w", s.Name(), err))
	}
}

// entry is one snapshot in a directory.
type entry struct {
	name string
	infoArgs
	id dataset.ID
}

// readOnlyIn lists the read-only subvolumes directly in dir that keep admits,
// oldest first. It opens each and asks the kernel: no child, one ioctl.
func readOnlyIn(dir *os.File, keep func(name string, s *subvolume) bool) ([]entry, error) {
	list, err := names(dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir.Name(), err)
	}
	var found []entry
	for _, name := range list {
		s, err := openSubvolumeBelow(dir, name)
		if errors.Is(err, dataset.ErrNotDataset) || errors.Is(err, dataset.ErrNotFound) {
			continue // a file, a plain directory, or destroyed since
		}
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", dir.Name(), err)
		}
		if s.isReadOnly() && keep(name, s) {
			found = append(found, entry{name: name, infoArgs: s.infoArgs, id: s.identity()})
		}
		s.Close()
	}
	slices.SortFunc(found, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.otransid, b.otransid), cmp.Compare(a.name, b.name))
	})
	return found, nil
}

// spaceError turns a full file system into a dataset.SpaceError that names it;
// any other error stays what it is.
func spaceError(on *os.File, err error) error {
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
	m, err := mountOf(f)
	if err != nil {
		return "", 0, 0, err
	}
	return m.point, int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize, nil
}

// renameIn renames within one directory and never replaces anything.
func renameIn(dir *os.File, from, to string) error {
	err := unix.Renameat2(int(dir.Fd()), from, int(dir.Fd()), to, unix.RENAME_NOREPLACE)
	if errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("rename %s to %s: %w", filepath.Join(dir.Name(), from), to, dataset.ErrExists)
	}
	if err != nil {
		return spaceError(dir, fmt.Errorf("rename %s to %s: %w", filepath.Join(dir.Name(), from), to, err))
	}
	return nil
}
