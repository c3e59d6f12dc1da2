//go:build zfs

package zfs

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	if err := unix.Mount(snapshot, at, "zfs", unix.MS_RDONLY, ""); err != nil {
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

// volumes hold their files as a length and a JSON object at their beginning.
type volumes struct{}

const volumeSize = "48M"

func (volumes) make(t *testing.T, ds string) error {
	_, err := run(t, "zfs", "create", "-s", "-V", volumeSize, "-o", "volblocksize=16k", ds)
	return err
}

func load(path string) (map[string][]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all := make(map[string][]byte)
	var length [8]byte
	if _, err := io.ReadFull(f, length[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint64(length[:])
	if n == 0 {
		return all, nil
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(f, text); err != nil {
		return nil, err
	}
	return all, json.Unmarshal(text, &all)
}

func (volumes) write(_ *testing.T, ds, file string, data []byte) error {
	return change(ds, func(all map[string][]byte) { all[file] = data })
}

func (volumes) remove(_ *testing.T, ds, file string) error {
	return change(ds, func(all map[string][]byte) { delete(all, file) })
}

// change rewrites the files of a volume.
func change(ds string, do func(all map[string][]byte)) error {
	path, err := zvol.Device(ds)
	if err != nil {
		return err
	}
	all, err := load(path)
	if err != nil {
		return err
	}
	do(all)
	text, err := json.Marshal(all)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...), 0)
	return errors.Join(err, f.Sync(), f.Close())
}

func (volumes) read(_ *testing.T, ds, file string) ([]byte, error) {
	path, err := zvol.Device(ds)
	if err != nil {
		return nil, err
	}
	all, err := load(path)
	if err != nil {
		return nil, err
	}
	data, ok := all[file]
	if !ok {
		return nil, fmt.Errorf("%s in %s: %w", file, ds, fs.ErrNotExist)
	}
	return data, nil
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
