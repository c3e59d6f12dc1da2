// Package zvol finds the block devices of ZFS volumes where no udev names them.
package zvol

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Device finds the block device of a volume. The kernel makes it a little after
// the command that made the volume has returned.
func Device(volume string) (string, error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for range 200 {
		all, err := filepath.Glob("/dev/zd*")
		if err != nil {
			return "", err
		}
		for _, path := range all {
			if name, err := nameOf(path); err == nil && name == volume {
				return path, nil
			}
		}
		<-tick.C
	}
	return "", fmt.Errorf("no device for volume %s", volume)
}

// nameOf asks a device which volume it is (BLKZNAME of OpenZFS's sys/fs/zfs.h).
func nameOf(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var name [256]byte
	const request = uintptr(2<<30 | len(name)<<16 | 0x12<<8 | 125)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(&name))); errno != 0 {
		return "", errno
	}
	text, _, _ := bytes.Cut(name[:], []byte{0})
	return string(text), nil
}
