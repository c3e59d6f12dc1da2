package btrfs

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"unsafe"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

// setReceived makes a writable subvolume claim that it was received
// (BTRFS_IOC_SET_RECEIVED_SUBVOL of linux/btrfs.h: uuid, stransid, rtransid,
// two timespecs of 16 bytes, flags, 16 reserved words).
func setReceived(path, id, transid string) error {
	u, err := uuid.Parse(id)
	if err != nil {
		return err
	}
	gen, err := strconv.ParseUint(transid, 10, 64)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var args [200]byte
	copy(args[:], u[:])
	binary.NativeEndian.PutUint64(args[16:], gen)
	const request = uintptr(3<<30 | len(args)<<16 | 0x94<<8 | 37)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(&args))); errno != 0 {
		return fmt.Errorf("set received UUID of %s: %w", path, errno)
	}
	return nil
}
