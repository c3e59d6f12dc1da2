// Package zvol finds the block devices of ZFS volumes where no udev names them.
package zvol

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
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
		all, err := newestFirst()
		if err != nil {
			return "", err
		}
		for _, n := range all {
			path := fmt.Sprint("/dev/zd", n)
			if name, err := nameOf(path); err == nil && name == volume {
				return path, nil
			}
		}
		<-tick.C
	}
	return "", fmt.Errorf("no device for volume %s", volume)
}

// newestFirst lists the numbers of all devices. Opening one takes long, and who asks
// for one has mostly just made it.
func newestFirst() ([]int, error) {
	all, err := filepath.Glob("/dev/zd*")
	if err != nil {
		return nil, err
	}
	var numbers []int
	for _, path := range all {
		if n, err := strconv.Atoi(strings.TrimPrefix(path, "/dev/zd")); err == nil { // or a partition
			numbers = append(numbers, n)
		}
	}
	slices.SortFunc(numbers, func(a, b int) int { return b - a })
	return numbers, nil
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
