// Package loopfs gives a test a Btrfs file system of its own: mkfs.btrfs on a
// sparse file, a loop device on that, mounted in a temporary directory. What it
// makes is gone when the test ends, however it ends, short of a kill.
//
// It must not know what is tested on the file system.
package loopfs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// MinSize is the smallest file system that mkfs.btrfs makes with its defaults.
const MinSize = 128 << 20

// toolTimeout bounds one run of mkfs, losetup, mount or umount.
const toolTimeout = time.Minute

// FS is a mounted file system. Its fields are set once.
type FS struct {
	Dir   string // where it is mounted
	Image string // the file that it lives in
	t     testing.TB
}

// New makes a file system of size bytes, at least MinSize, and returns where
// it is mounted. Without root or tools the test is skipped; see Require.
func New(t testing.TB, size int64) (mountpoint string) {
	t.Helper()
	return Make(t, size).Dir
}

// Make is New for a test that unmounts, or copies the image.
func Make(t testing.TB, size int64) *FS {
	t.Helper()
	Require(t)
	image := filepath.Join(t.TempDir(), "btrfs.img")
	if err := sparse(image, size); err != nil {
		t.Fatalf("make image of %d bytes: %v", size, err)
	}
	if _, err := run("mkfs.btrfs", "--quiet", image); err != nil {
		t.Fatal(err)
	}
	return Open(t, image)
}

// Open mounts an image, for example a copy of another file system's, taken
// while that was in use: what the disk holds after a power cut. The kernel
// refuses a copy while the original is mounted (both have one fsid).
func Open(t testing.TB, image string) *FS {
	t.Helper()
	Require(t)
	f := &FS{Dir: filepath.Join(t.TempDir(), "mnt"), Image: image, t: t}
	if err := os.Mkdir(f.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.release)
	f.Mount()
	return f
}

// Mount mounts the image on Dir, for example after Unmount.
func (f *FS) Mount() {
	f.t.Helper()
	device, err := run("losetup", "--find", "--show", f.Image)
	if err != nil {
		f.t.Fatal(err)
	}
	_, err = run("mount", "-t", "btrfs", device, f.Dir)
	// Once mounted the device is busy, and detaching it means: as soon as it is
	// unmounted. So a test that is killed leaves a mount and no loop device.
	if _, detach := run("losetup", "--detach", device); err == nil {
		err = detach
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// Unmount takes the file system away; what uses it loses it at once.
func (f *FS) Unmount() {
	f.t.Helper()
	if err := unmount(f.Dir); err != nil {
		f.t.Fatal(err)
	}
}

// release undoes Mount at the end of the test, whatever happened since.
func (f *FS) release() {
	if !mounted(f.Dir) {
		return
	}
	if err := unmount(f.Dir); err != nil {
		f.t.Errorf("clean up %s: %v", f.Dir, err)
	}
}

// Require skips the test, or fails it where CI=true, if this machine cannot
// make a Btrfs file system.
func Require(t testing.TB) {
	t.Helper()
	missing := Missing()
	switch {
	case missing == "":
	case os.Getenv("CI") == "true":
		t.Fatalf("CI must run this: %s", missing)
	default:
		t.Skip(missing)
	}
}

// Missing says in one sentence what this machine lacks for a Btrfs file system
// on a loop device; "" is nothing.
func Missing() string {
	if os.Geteuid() != 0 {
		return "a Btrfs file system on a loop device needs root"
	}
	for _, tool := range []string{"mkfs.btrfs", "btrfs", "losetup", "mount", "umount"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Sprintf("%s is not installed (btrfs-progs, util-linux)", tool)
		}
	}
	if _, err := os.Stat("/dev/loop-control"); err != nil {
		return "the kernel has no loop devices: " + err.Error()
	}
	known, err := os.ReadFile("/proc/filesystems")
	if err != nil || !strings.Contains(string(known), "\tbtrfs\n") {
		if _, err := run("modprobe", "btrfs"); err != nil {
			return "the kernel has no Btrfs: " + err.Error()
		}
	}
	return ""
}

// sparse makes an empty file of size bytes that takes no room yet.
func sparse(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := f.Truncate(size); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// unmount falls back to a lazy unmount: better a file system that vanishes once
// its last user does than one that stays on the machine.
func unmount(dir string) error {
	_, err := run("umount", dir)
	if err == nil {
		return nil
	}
	if _, lazy := run("umount", "--lazy", dir); lazy != nil {
		return fmt.Errorf("%w, and %w", err, lazy)
	}
	return nil
}

// mounted reports whether dir is a mount point.
func mounted(dir string) bool {
	mounts, err := os.ReadFile("/proc/self/mounts")
	return err == nil && strings.Contains(string(mounts), " "+dir+" ")
}

// run runs one of the system's tools and returns what it printed.
func run(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), toolTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return strings.TrimSpace(string(out)), nil
}
