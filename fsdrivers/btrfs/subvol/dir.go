package subvol

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers/dataset"
)

// Every path is opened one way: without following a symbolic link anywhere in
// it. Whoever owns a directory on the way could otherwise lead a send or a
// receive that runs as root to somebody else's data.

const openDirFlags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC

// OpenDir opens an absolute directory that no symbolic link leads to.
func OpenDir(path string) (*os.File, error) {
	fd, err := openat2(unix.AT_FDCWD, path, unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_MAGICLINKS)
	if err != nil {
		return nil, explainOpen(path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// OpenDirBelow opens the directory rel below dir, on the same mount.
func OpenDirBelow(dir *os.File, rel string) (*os.File, error) {
	path := filepath.Join(dir.Name(), rel)
	fd, err := openat2(int(dir.Fd()), OrDot(rel),
		unix.RESOLVE_BENEATH|unix.RESOLVE_NO_SYMLINKS|unix.RESOLVE_NO_MAGICLINKS|unix.RESOLVE_NO_XDEV)
	if err != nil {
		return nil, explainOpen(path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

func openat2(dirfd int, path string, resolve uint64) (int, error) {
	for {
		fd, err := unix.Openat2(dirfd, path, &unix.OpenHow{Flags: openDirFlags, Resolve: resolve})
		// EAGAIN: the kernel could not rule out that ".." left the directory
		// while somebody renamed; our paths hold none, so it is worth another try.
		if err != unix.EINTR && err != unix.EAGAIN {
			return fd, err
		}
	}
}

func explainOpen(path string, err error) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		return fmt.Errorf("open %s: %w", path, dataset.ErrNotFound)
	case errors.Is(err, unix.ELOOP):
		return symlinkError(path)
	case errors.Is(err, unix.ENOTDIR):
		if real, evalErr := filepath.EvalSymlinks(path); evalErr == nil && real != path {
			return symlinkError(path)
		}
		return fmt.Errorf("open %s: it is not a directory: %w", path, dataset.ErrNotDataset)
	case errors.Is(err, unix.EXDEV):
		return fmt.Errorf("open %s: something is mounted on the way: %w", path, dataset.ErrNotDataset)
	}
	return &fs.PathError{Op: "open", Path: path, Err: err}
}

func symlinkError(path string) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return fmt.Errorf("open %s: a symbolic link leads there; name %s instead: %w", path, real, dataset.ErrNotDataset)
	}
	return fmt.Errorf("open %s: a symbolic link is on the way; name the real path: %w", path, dataset.ErrNotDataset)
}

// MakeDirBelow opens the directory rel below dir and makes what is missing of it,
// durably.
func MakeDirBelow(dir *os.File, rel string, mode uint32) (*os.File, error) {
	here, err := OpenDirBelow(dir, "")
	if err != nil {
		return nil, err
	}
	for part := range strings.SplitSeq(rel, "/") {
		if part == "" {
			continue
		}
		next, err := MakeDir(here, part, mode)
		here.Close()
		if err != nil {
			return nil, err
		}
		here = next
	}
	return here, nil
}

// MakeDir opens the directory name in dir, and makes it first where it is missing, durably.
func MakeDir(dir *os.File, name string, mode uint32) (*os.File, error) {
	switch err := unix.Mkdirat(int(dir.Fd()), name, mode); {
	case err == nil:
		if err := dir.Sync(); err != nil {
			return nil, fmt.Errorf("make %s: %w", filepath.Join(dir.Name(), name), err)
		}
	case !errors.Is(err, unix.EEXIST):
		return nil, SpaceError(dir, fmt.Errorf("make %s: %w", filepath.Join(dir.Name(), name), err))
	}
	return OpenDirBelow(dir, name)
}

// Names lists a directory. The descriptor of dir stays usable for another list.
func Names(dir *os.File) ([]string, error) {
	again, err := OpenDirBelow(dir, "")
	if err != nil {
		return nil, err
	}
	defer again.Close()
	return again.Readdirnames(-1)
}

// Same reports whether two directories are in one subvolume of one
// mount: Btrfs gives every subvolume a device number of its own.
func Same(a, b *os.File) (bool, error) {
	var sa, sb unix.Stat_t
	if err := unix.Fstat(int(a.Fd()), &sa); err != nil {
		return false, &fs.PathError{Op: "stat", Path: a.Name(), Err: err}
	}
	if err := unix.Fstat(int(b.Fd()), &sb); err != nil {
		return false, &fs.PathError{Op: "stat", Path: b.Name(), Err: err}
	}
	return sa.Dev == sb.Dev, nil
}

// OrDot is rel for calls that take no empty path.
func OrDot(rel string) string {
	if rel == "" {
		return "."
	}
	return rel
}
