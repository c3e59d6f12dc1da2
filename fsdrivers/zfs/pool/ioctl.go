package pool

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers/zfs/nvlist"
)

// Commands of ZFS_IOC_CHANGE_KEY (sys/dsl_crypt.h, dcp_cmd_t) that move a dataset
// between encryption roots and wrap nothing anew. zfs receive gives them after a raw
// stream of several datasets (libzfs_sendrecv.c, recv_fix_encryption_hierarchy);
// no option of zfs change-key does.
const (
	ownRoot    = 4 // DCP_CMD_FORCE_NEW_KEY
	parentRoot = 5 // DCP_CMD_FORCE_INHERIT
)

// Of zfs_cmd_t only the beginning counts for this command: the name, and where the
// packed list of arguments is. The kernel copies all of it, some 14 KB.
const (
	iocChangeKey = 0x5a4b
	cmdBytes     = 64 << 10
	cmdName      = 4096 // bytes, at the beginning
	cmdList      = cmdName
	cmdListSize  = cmdName + 8
)

// moveKey makes a dataset inherit the key of the dataset above it, or its own
// encryption root, as it is: no key is needed for either.
func moveKey(name string, command uint64) error {
	if len(name) >= cmdName {
		return fmt.Errorf("change key of %.80s...: %w", name, unix.ENAMETOOLONG)
	}
	fd, err := unix.Open("/dev/zfs", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("change key of %s: /dev/zfs: %w", name, err)
	}
	defer func() { _ = unix.Close(fd) }()
	list := nvlist.List{{Name: "crypt_cmd", Type: nvlist.Uint64Entry, Num: command}}.Pack()
	cmd := make([]byte, cmdBytes)
	copy(cmd, name)
	var pins runtime.Pinner
	defer pins.Unpin()
	pins.Pin(&list[0])
	*(*uint64)(unsafe.Pointer(&cmd[cmdList])) = uint64(uintptr(unsafe.Pointer(&list[0])))
	*(*uint64)(unsafe.Pointer(&cmd[cmdListSize])) = uint64(len(list))
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), iocChangeKey, uintptr(unsafe.Pointer(&cmd[0])))
	runtime.KeepAlive(cmd)
	if errno != 0 {
		return fmt.Errorf("change key of %s: %w", name, errno)
	}
	return nil
}
