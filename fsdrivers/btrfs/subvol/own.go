package subvol

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers/dataset"
)

// Own opens the subvolume in s that holds our files; nil if there is none yet.
func Own(s *Handle) (*os.File, error) {
	own, err := OpenBelow(s.File, dataset.Dir)
	path := filepath.Join(s.Name(), dataset.Dir)
	switch {
	case errors.Is(err, dataset.ErrNotFound):
		return nil, nil
	case errors.Is(err, dataset.ErrNotDataset):
		return nil, fmt.Errorf("%s is in the way: Antipode keeps a subvolume of that name; move it, for example `mv %s %s.old`: %w",
			path, path, path, dataset.ErrNotDataset)
	case err != nil:
		return nil, err
	}
	if err := MustBeOurs(own.File); err != nil {
		own.Close()
		return nil, err
	}
	return own.File, nil
}

// MakeOwn is Own, and makes it first where it is missing. The times of the
// dataset's root stay what they were.
func MakeOwn(s *Handle) (*os.File, error) {
	own, err := Own(s)
	if own != nil || err != nil {
		return own, err
	}
	if err := MakePrivate(s.File, dataset.Dir); err != nil {
		return nil, err
	}
	return Own(s)
}

// MustBeOurs refuses a directory that somebody else could write into: any user
// may make a subvolume, and may own the directory that the dataset is.
func MustBeOurs(f *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fmt.Errorf("stat %s: %w", f.Name(), err)
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return fmt.Errorf("%s belongs to user %d with mode %o, and only Antipode may write there; `chown root %s; chmod 0700 %s` if it is Antipode's: %w",
			f.Name(), st.Uid, st.Mode&0o777, f.Name(), f.Name(), dataset.ErrRefused)
	}
	return nil
}

// MakePrivate makes the subvolume name in dir, root's, 0700, durably.
func MakePrivate(dir *os.File, name string) error {
	path := filepath.Join(dir.Name(), name)
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return fmt.Errorf("stat %s: %w", dir.Name(), err)
	}
	if err := create(dir, name); err != nil && !errors.Is(err, unix.EEXIST) {
		return SpaceError(dir, fmt.Errorf("make subvolume %s: %w", path, err))
	}
	made, err := OpenBelow(dir, name)
	if err != nil {
		return err
	}
	defer made.Close()
	if err := unix.Fchmod(int(made.Fd()), 0o700); err != nil {
		return fmt.Errorf("make subvolume %s: %w", path, err)
	}
	if err := unix.UtimesNanoAt(int(dir.Fd()), ".", []unix.Timespec{st.Atim, st.Mtim}, 0); err != nil {
		return fmt.Errorf("make subvolume %s: %w", path, err)
	}
	if err := Commit(dir); err != nil {
		return fmt.Errorf("make subvolume %s: %w", path, err)
	}
	return nil
}
