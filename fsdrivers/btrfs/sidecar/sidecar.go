// Package sidecar reads and writes the small files that hold what Btrfs cannot. It must
// not know what a fact means.
package sidecar

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"antipode/fsdrivers/btrfs/subvol"

	"golang.org/x/sys/unix"
)

// A sidecar is a small file that holds one fact (ARCHITECTURE decision 3):
//
//	antipode KIND 1\n
//	JSON on one line\n
//	sha256 of the two lines above, hexadecimal\n
//
// The digest is against bit rot and half-written files, not against attack: the
// directories belong to root.

const (
	formatVersion = 1
	maxBytes      = 64 << 10 // a mark with its whole history takes about 10 KiB
	// TempPrefix begins the names of files that are not yet renamed. The next write of that
	// kind is not disturbed by one.
	TempPrefix = ".new-"
)

// Kind names what a sidecar holds, so that one that lies in the wrong place is
// noticed.
type Kind string

// The kinds of sidecars.
const (
	Replica Kind = "replica"
	Mark    Kind = "mark"
	Hold    Kind = "hold"
	Point   Kind = "point"
	Step    Kind = "step"
	Journal Kind = "segments"
	Pin     Kind = "pin"
	Layout  Kind = "layout"

	Activation Kind = "activation"
)

// ErrDamaged means: a sidecar is not what was written.
var ErrDamaged = errors.New("damaged")

// encode writes v in the form above.
func encode(k Kind, v any) ([]byte, error) {
	body, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", k, err)
	}
	text := append(fmt.Appendf(nil, "antipode %s %d\n", k, formatVersion), body...)
	text = append(text, '\n')
	if len(text) > maxBytes-2*sha256.Size-1 {
		return nil, fmt.Errorf("encode %s: %d bytes are more than %d", k, len(text), maxBytes)
	}
	return append(text, digest(text)+"\n"...), nil
}

// decode reads what encode wrote. Fields that it does not know are
// skipped. Errors wrap ErrDamaged, except for a version that is newer.
func decode(k Kind, data []byte, v any) error {
	if len(data) > maxBytes {
		return fmt.Errorf("%w: %d bytes are more than %d", ErrDamaged, len(data), maxBytes)
	}
	lines := bytes.SplitAfter(data, []byte("\n"))
	if len(lines) != 4 || len(lines[3]) != 0 {
		return fmt.Errorf("%w: want three lines", ErrDamaged)
	}
	if got := string(bytes.TrimSuffix(lines[2], []byte("\n"))); got != digest(data[:len(lines[0])+len(lines[1])]) {
		return fmt.Errorf("%w: the digest does not fit", ErrDamaged)
	}
	var version int
	head := string(lines[0])
	if _, err := fmt.Sscanf(head, "antipode "+string(k)+" %d\n", &version); err != nil {
		return fmt.Errorf("%w: it starts with %q, not as a %s", ErrDamaged, strings.TrimSpace(head), k)
	}
	if version != formatVersion {
		return fmt.Errorf("it has version %d, and this Antipode reads version %d; use the newer one", version, formatVersion)
	}
	if err := json.Unmarshal(lines[1], v); err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return nil
}

func digest(text []byte) string {
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Read reads the sidecar name in dir; found is false where there is none.
func Read[T any](dir *os.File, name string, k Kind, cure string) (v T, found bool, err error) {
	data, err := readFile(dir, name)
	if errors.Is(err, unix.ENOENT) {
		return v, false, nil
	}
	path := filepath.Join(dir.Name(), name)
	if err == nil {
		err = decode(k, data, &v)
	}
	switch {
	case errors.Is(err, ErrDamaged):
		return v, false, fmt.Errorf("read sidecar %s: %w; %s", path, err, cure)
	case err != nil:
		return v, false, fmt.Errorf("read sidecar %s: %w", path, err)
	}
	return v, true, nil
}

// Write replaces the sidecar name in dir, durably.
func Write(dir *os.File, name string, k Kind, v any) error {
	data, err := encode(k, v)
	if err != nil {
		return err
	}
	if err := replaceFile(dir, name, data); err != nil {
		return subvol.SpaceError(dir, fmt.Errorf("write sidecar %s: %w", filepath.Join(dir.Name(), name), err))
	}
	return nil
}

// Remove removes files from dir, durably; those that are gone are fine.
func Remove(dir *os.File, list ...string) error {
	if len(list) == 0 {
		return nil
	}
	for _, name := range list {
		if err := unix.Unlinkat(int(dir.Fd()), name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("remove sidecar %s: %w", filepath.Join(dir.Name(), name), err)
		}
	}
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("remove sidecars in %s: %w", dir.Name(), err)
	}
	return nil
}

func readFile(dir *os.File, name string) ([]byte, error) {
	f, err := openFile(dir, name, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxBytes+1))
}

// replaceFile leaves the old content or the new one, whatever happens.
func replaceFile(dir *os.File, name string, data []byte) error {
	temp := TempPrefix + rand.Text()
	f, err := openFile(dir, temp, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = unix.Renameat(int(dir.Fd()), temp, int(dir.Fd()), name)
	}
	if err != nil {
		_ = unix.Unlinkat(int(dir.Fd()), temp, 0) // a crash would leave it too: the sweep knows the prefix
		return err
	}
	return dir.Sync()
}

func openFile(dir *os.File, name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), filepath.Join(dir.Name(), name)), nil
}
