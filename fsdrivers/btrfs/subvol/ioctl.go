package subvol

import (
	"bytes"
	"errors"
	"os"
	"runtime"
	"time"
	"unsafe"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"
)

// The ioctls of include/uapi/linux/btrfs.h that this driver uses, with the size
// of their argument in bits 16-29 (Documentation/userspace-api/ioctl).
const (
	iocWaitSync       = 0x40089416 // _IOW(0x94, 22, u64)
	iocSnapCreateV2   = 0x50009417 // _IOW(0x94, 23, vol_args_v2)
	iocSubvolCreateV2 = 0x50009418 // _IOW(0x94, 24, vol_args_v2)
	iocStartSync      = 0x80089418 // _IOR(0x94, 24, u64)
	iocGetFlags       = 0x80089419 // _IOR(0x94, 25, u64)
	iocSetFlags       = 0x4008941a // _IOW(0x94, 26, u64)
	iocFSInfo         = 0x8400941f // _IOR(0x94, 31, fs_info_args)
	iocSetReceived    = 0xc0c89425 // _IOWR(0x94, 37, received_subvol_args)
	iocGetInfo        = 0x81f8943c // _IOR(0x94, 60, get_subvol_info_args)
	iocRootRefs       = 0xd000943d // _IOWR(0x94, 61, get_subvol_rootref_args)
	iocLookupUser     = 0xd000943e // _IOWR(0x94, 62, ino_lookup_user_args)
	iocSnapDestroyV2  = 0x5000943f // _IOW(0x94, 63, vol_args_v2)
)

const (
	flagReadOnly  = 1 << 1 // BTRFS_SUBVOL_RDONLY, in what is asked
	rootReadOnly  = 1 << 0 // BTRFS_ROOT_SUBVOL_RDONLY, in what Info tells
	flagByID      = 1 << 4 // BTRFS_SUBVOL_SPEC_BY_ID
	rootInode     = 256    // BTRFS_FIRST_FREE_OBJECTID: the root directory of every subvolume
	nameBytes     = 4040   // BTRFS_SUBVOL_NAME_MAX + 1
	maxRootRefs   = 255    // BTRFS_MAX_ROOTREF_BUFFER_NUM
	linkNameBytes = 256    // BTRFS_VOL_NAME_MAX + 1
)

// volArgsV2 is struct btrfs_ioctl_vol_args_v2.
type volArgsV2 struct {
	fd      int64
	transid uint64
	flags   uint64
	_       [4]uint64
	name    [nameBytes]byte // or, with flagByID, the subvolume's number in the first 8 bytes
}

// ioctlTime is struct btrfs_ioctl_timespec.
type ioctlTime struct {
	sec  uint64
	nsec uint32
	_    uint32
}

// UTC is the time in UTC.
func (t ioctlTime) UTC() time.Time { return time.Unix(int64(t.sec), int64(t.nsec)).UTC() }

// Info is struct btrfs_ioctl_get_subvol_info_args.
type Info struct {
	TreeID       uint64
	name         [linkNameBytes]byte
	parentID     uint64
	dirID        uint64
	Generation   uint64
	Flags        uint64
	UUID         uuid.UUID
	ParentUUID   uuid.UUID
	ReceivedUUID uuid.UUID
	ctransid     uint64
	Otransid     uint64
	Stransid     uint64
	rtransid     uint64
	ctime        ioctlTime
	Created      ioctlTime
	stime        ioctlTime
	rtime        ioctlTime
	_            [8]uint64
}

// receivedArgs is struct btrfs_ioctl_received_subvol_args.
type receivedArgs struct {
	uuid     uuid.UUID
	stransid uint64
	rtransid uint64
	stime    ioctlTime
	rtime    ioctlTime
	flags    uint64
	_        [16]uint64
}

// RootRef says that subvolume TreeID hangs in directory dirID of its parent.
type RootRef struct{ TreeID, dirID uint64 }

// rootRefArgs is struct btrfs_ioctl_get_subvol_rootref_args.
type rootRefArgs struct {
	minTreeID uint64
	refs      [maxRootRefs]RootRef
	count     uint8
	_         [7]byte
}

// lookupArgs is struct btrfs_ioctl_ino_lookup_user_args.
type lookupArgs struct {
	dirID  uint64
	treeID uint64
	name   [linkNameBytes]byte
	path   [4096 - 16 - linkNameBytes]byte
}

// fsInfoArgs is the part of struct btrfs_ioctl_fs_info_args that we read.
type fsInfoArgs struct {
	maxID      uint64
	numDevices uint64
	fsid       uuid.UUID
	_          [1024 - 32]byte
}

// The kernel copies the size that is in the request's number, whatever we hold.
var (
	_ [4096]byte = [unsafe.Sizeof(volArgsV2{})]byte{}
	_ [504]byte  = [unsafe.Sizeof(Info{})]byte{}
	_ [200]byte  = [unsafe.Sizeof(receivedArgs{})]byte{}
	_ [4096]byte = [unsafe.Sizeof(rootRefArgs{})]byte{}
	_ [4096]byte = [unsafe.Sizeof(lookupArgs{})]byte{}
	_ [1024]byte = [unsafe.Sizeof(fsInfoArgs{})]byte{}
)

func ioctl(f *os.File, request uintptr, arg unsafe.Pointer) error {
	defer runtime.KeepAlive(f)
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(arg))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}

func getInfo(f *os.File) (Info, error) {
	var a Info
	err := ioctl(f, iocGetInfo, unsafe.Pointer(&a))
	return a, err
}

// create makes an empty subvolume name in dir.
func create(dir *os.File, name string) error {
	a := volArgsV2{}
	copy(a.name[:nameBytes-1], name)
	return ioctl(dir, iocSubvolCreateV2, unsafe.Pointer(&a))
}

// Snapshot makes name in dir a snapshot of the subvolume source. The
// kernel commits the transaction before it returns.
func Snapshot(source, dir *os.File, name string, readOnly bool) error {
	defer runtime.KeepAlive(source)
	a := volArgsV2{fd: int64(source.Fd())}
	if readOnly {
		a.flags = flagReadOnly
	}
	copy(a.name[:nameBytes-1], name)
	return ioctl(dir, iocSnapCreateV2, unsafe.Pointer(&a))
}

// destroy removes a subvolume by its number, so that no rename can put
// another one in its place. dir is any directory of the same file system.
func destroy(dir *os.File, treeID uint64) error {
	a := volArgsV2{flags: flagByID}
	*(*uint64)(unsafe.Pointer(&a.name)) = treeID
	return ioctl(dir, iocSnapDestroyV2, unsafe.Pointer(&a))
}

// SetReadOnly makes a subvolume read-only. The way back is not offered: the
// kernel would keep the received UUID on what is then changed (FIELD-NOTES B.4).
func SetReadOnly(subvol *os.File) error {
	var flags uint64
	if err := ioctl(subvol, iocGetFlags, unsafe.Pointer(&flags)); err != nil {
		return err
	}
	flags |= flagReadOnly
	return ioctl(subvol, iocSetFlags, unsafe.Pointer(&flags))
}

// SetReceived gives a writable subvolume the identity that it was received as.
func SetReceived(subvol *os.File, id uuid.UUID, stransid uint64) error {
	a := receivedArgs{uuid: id, stransid: stransid}
	return ioctl(subvol, iocSetReceived, unsafe.Pointer(&a))
}

// Commit makes every change of metadata before it durable, without flushing
// data that others have written and without waiting for the cleaner.
func Commit(f *os.File) error {
	var transid uint64
	if err := ioctl(f, iocStartSync, unsafe.Pointer(&transid)); err != nil {
		return err
	}
	return ioctl(f, iocWaitSync, unsafe.Pointer(&transid))
}

// ChildRefs lists the subvolumes that hang directly in the subvolume of f.
func ChildRefs(f *os.File) ([]RootRef, error) {
	var refs []RootRef
	a := rootRefArgs{}
	for {
		err := ioctl(f, iocRootRefs, unsafe.Pointer(&a))
		if err != nil && !errors.Is(err, unix.EOVERFLOW) { // EOVERFLOW: the buffer is full and there are more
			return nil, err
		}
		n := min(int(a.count), maxRootRefs)
		refs = append(refs, a.refs[:n]...)
		if err == nil || n == 0 {
			return refs, nil
		}
	}
}

// ChildPath is where ref hangs, relative to the directory f. It answers EACCES
// for one that hangs in the same subvolume and not below f.
func ChildPath(f *os.File, ref RootRef) (string, error) {
	a := lookupArgs{dirID: ref.dirID, treeID: ref.TreeID}
	if err := ioctl(f, iocLookupUser, unsafe.Pointer(&a)); err != nil {
		return "", err
	}
	return cString(a.path[:]) + cString(a.name[:]), nil
}

// FileSystemID is the UUID of the file system, as /sys/fs/btrfs names it.
func FileSystemID(f *os.File) (uuid.UUID, error) {
	var a fsInfoArgs
	err := ioctl(f, iocFSInfo, unsafe.Pointer(&a))
	return a.fsid, err
}

func cString(b []byte) string {
	before, _, _ := bytes.Cut(b, []byte{0})
	return string(before)
}
