//go:build zfs

package zfs

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"antipode/integration/zfs/zvol"
)

// files is how a kind of dataset is made, and holds files.
type files interface {
	make(t *testing.T, ds string) error
	write(t *testing.T, ds, file string, data []byte) error
	remove(t *testing.T, ds, file string) error
	read(t *testing.T, ds, file string) ([]byte, error)
	readSnapshot(t *testing.T, snapshot, file string) ([]byte, error)
	// unlock loads the key that a snapshot needs.
	unlock(t *testing.T, snapshot string) error
}

// filesystems are plain ones, or with a key each its own encryption root.
type filesystems struct {
	key      string
	unlocked map[string]bool // datasets whose key was loaded, of those with a key
}

// encrypted are filesystems with a new key.
func encrypted(t *testing.T) filesystems {
	return filesystems{key: keyFile(t), unlocked: make(map[string]bool)}
}

func (f filesystems) make(t *testing.T, ds string) error {
	args := []string{"create"}
	if f.key != "" {
		args = append(args, "-o", "encryption=aes-256-gcm", "-o", "keyformat=raw", "-o", "keylocation=file://"+f.key)
	}
	_, err := run(t, "zfs", append(args, ds)...)
	return err
}

// mounted is where a dataset is mounted, which it is made if it is not.
func (f filesystems) mounted(t *testing.T, ds string) (string, error) {
	out, err := run(t, "zfs", "get", "-Hp", "-o", "value", "mountpoint,mounted", ds)
	if err != nil {
		return "", err
	}
	point, is, _ := strings.Cut(strings.TrimSpace(out), "\n")
	if is != "yes" {
		if _, err := run(t, "zfs", "mount", ds); err != nil {
			return "", err
		}
	}
	return point, nil
}

func (f filesystems) write(t *testing.T, ds, file string, data []byte) error {
	at, err := f.mounted(t, ds)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(at, file), data, 0o644)
}

func (f filesystems) remove(t *testing.T, ds, file string) error {
	at, err := f.mounted(t, ds)
	if err != nil {
		return err
	}
	return os.Remove(filepath.Join(at, file))
}

func (f filesystems) read(t *testing.T, ds, file string) ([]byte, error) {
	at, err := f.mounted(t, ds)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(at, file))
}

func (f filesystems) readSnapshot(t *testing.T, snapshot, file string) ([]byte, error) {
	if err := f.unlock(t, snapshot); err != nil {
		return nil, err
	}
	at := t.TempDir()
	err := unix.Mount(snapshot, at, "zfs", unix.MS_RDONLY, "")
	if errors.Is(err, unix.EACCES) && f.key != "" { // another dataset was received under the name
		ds, _, _ := strings.Cut(snapshot, "@")
		delete(f.unlocked, ds)
		if err := f.unlock(t, snapshot); err != nil {
			return nil, err
		}
		err = unix.Mount(snapshot, at, "zfs", unix.MS_RDONLY, "")
	}
	if err != nil {
		return nil, fmt.Errorf("mount %s: %v", snapshot, err) // not that the file does not exist
	}
	defer unix.Unmount(at, 0)
	return os.ReadFile(filepath.Join(at, file))
}

// unlock does what only somebody with the key can: the standby never has it.
func (f filesystems) unlock(t *testing.T, snapshot string) error {
	if f.key == "" {
		return nil
	}
	ds, _, _ := strings.Cut(snapshot, "@")
	if f.unlocked[ds] {
		return nil
	}
	f.unlocked[ds] = true
	status, err := run(t, "zfs", "get", "-Hp", "-o", "value", "keystatus", ds)
	if err != nil || strings.TrimSpace(status) == "available" {
		return err
	}
	_, err = run(t, "zfs", "load-key", "-L", "file://"+f.key, ds)
	return err
}

func (volumes) unlock(*testing.T, string) error { return nil }

// volumes hold their files each in a place of its own, so that writing one leaves the
// blocks of the others alone, and where they are at their beginning.
type volumes struct{}

const (
	volumeSize  = "48M"
	volumeBlock = 16 << 10
	tableSize   = 4 * volumeBlock // room for 8 bytes of length and the table
)

// place is where a file of a volume is. It has the blocks up to End.
type place struct{ At, Size, End int64 }

func (volumes) make(t *testing.T, ds string) error {
	_, err := run(t, "zfs", "create", "-s", "-V", volumeSize, "-o", fmt.Sprint("volblocksize=", volumeBlock), ds)
	return err
}

// table reads where the files of a volume are.
func table(f *os.File) (map[string]place, error) {
	all := make(map[string]place)
	head := make([]byte, tableSize)
	if _, err := f.ReadAt(head, 0); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(head)
	if n == 0 {
		return all, nil
	}
	if n > tableSize-8 {
		return nil, fmt.Errorf("a table of %d bytes", n)
	}
	return all, json.Unmarshal(head[8:8+n], &all)
}

func (volumes) write(_ *testing.T, ds, file string, data []byte) error {
	return change(ds, func(f *os.File, all map[string]place) error {
		p := all[file]
		size := int64(len(data))
		if p.At+size > p.End {
			p.At = tableSize
			for _, other := range all {
				p.At = max(p.At, other.End)
			}
			p.End = p.At + (size+volumeBlock-1)/volumeBlock*volumeBlock
		}
		p.Size = size
		all[file] = p
		_, err := f.WriteAt(data, p.At)
		return err
	})
}

func (volumes) remove(_ *testing.T, ds, file string) error {
	return change(ds, func(_ *os.File, all map[string]place) error { delete(all, file); return nil })
}

// change does something to the files of a volume, and writes where they are then.
func change(ds string, do func(f *os.File, all map[string]place) error) (err error) {
	path, err := zvol.Device(ds)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	all, err := table(f)
	if err != nil {
		return err
	}
	if err := do(f, all); err != nil {
		return err
	}
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	if len(text) > tableSize-8 {
		return fmt.Errorf("%s has too many files", ds)
	}
	if _, err := f.WriteAt(append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), 0); err != nil {
		return err
	}
	return f.Sync()
}

func (volumes) read(_ *testing.T, ds, file string) ([]byte, error) {
	path, err := zvol.Device(ds)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all, err := table(f)
	if err != nil {
		return nil, err
	}
	p, ok := all[file]
	if !ok {
		return nil, fmt.Errorf("%s in %s: %w", file, ds, fs.ErrNotExist)
	}
	data := make([]byte, p.Size)
	_, err = f.ReadAt(data, p.At)
	return data, err
}

// readSnapshot reads a clone: a replica's volumes have no devices.
func (v volumes) readSnapshot(t *testing.T, snapshot, file string) ([]byte, error) {
	clone := strings.SplitN(snapshot, "/", 2)[0] + "/look"
	if _, err := run(t, "zfs", "clone", "-o", "volmode=dev", snapshot, clone); err != nil {
		return nil, err
	}
	data, err := v.read(t, clone, file)
	_, derr := run(t, "zfs", "destroy", clone)
	return data, errors.Join(err, derr)
}
