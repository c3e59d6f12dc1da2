package cli

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/internal/command"
	"antipode/fsdrivers/zfs/naming"
)

// diagnosis says what a text on the standard error of zfs means.
type diagnosis struct {
	text string // part of a line, as zfs prints it under LC_ALL=C
	err  error
	cure string
}

// What a driver answers differently from place to place.
var (
	ErrNothing   = errors.New("it was so already")
	errDevice    = errors.New("the pool reports an error")
	ErrKey       = fmt.Errorf("the encryption key is not loaded: %w", dataset.ErrRefused)
	errSuspended = error(stuck("the pool is suspended"))
	ErrSlow      = error(stuck("it takes too long"))
	// ErrNoEntry is a position that a resumed send does not find, if it was one.
	ErrNoEntry = errors.New("zfs does not find something")
	// ErrInvalid is all that the kernel answers EINVAL to in a receive with -s: a feature
	// that it does not know, and also a resumed stream that does not fit the partial state.
	ErrInvalid = fmt.Errorf("the kernel does not take the stream: %w", dataset.ErrRefused)
)

// stuck is a dataset.ErrStuck of which more is known than that text says.
type stuck string

func (s stuck) Error() string      { return string(s) }
func (stuck) Is(target error) bool { return target == dataset.ErrStuck }

const cureSuspended = "look at `zpool status`, bring the disk back, then `zpool clear`"

// diagnoses is the one place that reads text (OpenZFS 2.2 to 2.4: libzfs_util.c,
// libzfs_sendrecv.c, zfs_main.c). The first that is found counts, so what says
// more comes first.
var diagnoses = [...]diagnosis{
	{"pool I/O is currently suspended", errSuspended, cureSuspended},
	{"error while loading shared libraries", dataset.ErrToolMissing, "the upgrade of zfs is half done: install zfsutils-linux and its libraries of one version"},
	{"the loaded zfs module does not support", dataset.ErrToolMissing, "it is older than the zfs that is installed: reboot, or unload it"},
	{"ZFS modules", dataset.ErrToolMissing, "`modprobe zfs`; install the zfs module for this kernel"},
	{"/dev/zfs", dataset.ErrToolMissing, "`modprobe zfs`, and run the daemon as a user that may open /dev/zfs"},
	{"used in the initial send no longer exists", dataset.ErrStaleCheckpoint, "it is planned again"},
	{"no longer the same snapshot used in the initial send", dataset.ErrStaleCheckpoint, "it is planned again"},
	{"resume token is corrupt", dataset.ErrStaleCheckpoint, "it is planned again"},
	{"cannot resume send", dataset.ErrStaleCheckpoint, "it is planned again"},
	{"Resuming recv on existing dataset", dataset.ErrStaleCheckpoint, "it is planned again"},
	{"No such file or directory", ErrNoEntry, "was something renamed or destroyed meanwhile?"},
	{"resumable receive state to abort", ErrNothing, ""},
	{"tag already exists on this dataset", ErrNothing, ""},
	{"no such tag on this dataset", ErrNothing, ""},
	{"could not find any snapshots to destroy", ErrNothing, ""},
	{"filesystem already mounted", ErrNothing, ""},
	{"not currently mounted", ErrNothing, ""},
	{"match incremental source", dataset.ErrBaseMissing, "it is planned again; an auto-snapshotter on the standby must leave the replica alone"},
	{"not an earlier snapshot from the same fs", dataset.ErrBaseMissing, "it is planned again"},
	{"incremental source", dataset.ErrBaseMissing, "it is planned again"},
	{
		"has been modified", dataset.ErrDiverged,
		"somebody wrote to the replica, or it was promoted: look at `zfs diff`; nothing is rolled back",
	},
	{"IV set guid", dataset.ErrDiverged, "the replica was also received plain, or by an old version; make a new full copy"},
	{"partially-complete state", dataset.ErrBusy, "another receive is just ending; it is tried again"},
	{"quota exceeded", syscall.EDQUOT, "raise the quota of the dataset or of one above it"},
	{"out of space", syscall.ENOSPC, "make room; the transfer then goes on"},
	{"No space left on device", syscall.ENOSPC, "make room; the transfer then goes on"},
	{"requires -L", dataset.ErrRefused, "the first copy was made with large blocks and this step without; the source must not change the flags"},
	{"key must be loaded", ErrKey, "`zfs load-key -r`"},
	{"key not loaded", ErrKey, "`zfs load-key -r`"},
	{"Key must be loaded", ErrKey, "`zfs load-key -r`"},
	{"does not match existing key", dataset.ErrRefused, "the source changed its key; approve the new one here first"},
	{"kernel modules must be upgraded", ErrInvalid, "upgrade the ZFS modules of this host, or the stream was not what it said"},
	{"must be upgraded", dataset.ErrRefused, "upgrade the pool or the ZFS modules of this host"},
	{"unsupported version or feature", dataset.ErrRefused, "upgrade the pool or the ZFS modules of this host"},
	{"crypto parameters not compatible", dataset.ErrRefused, "upgrade the ZFS modules of this host: they do not know the cipher"},
	{"Spill block flag missing", dataset.ErrRefused, "upgrade ZFS on the source"},
	{"raw receive on top of existing unencrypted", dataset.ErrRefused, "the replica was received plain; set `encryption` in the source's job back to what it was, or rename the replica for a new full copy"},
	{"failed to create encryption key", dataset.ErrRefused, "the key that came with the stream does not fit what is here; rename that for a new full copy"},
	{"stream has unsupported feature", dataset.ErrRefused, "upgrade the pool or the ZFS modules of this host"},
	{"dependent clones", dataset.ErrHeld, "a clone, for example an activated dataset, or an unfinished receive uses it"},
	{"it's being held", dataset.ErrHeld, "`zfs holds` names the holders, `antipode holds` those of ours"},
	{"has children", dataset.ErrHeld, "there are datasets below it"},
	{"dataset is busy", dataset.ErrBusy, "something uses it; it is tried again"},
	{"pool is busy", dataset.ErrBusy, "something uses it; it is tried again"},
	{"target is busy", dataset.ErrBusy, "something uses it; it is tried again"},
	{"checksum mismatch", dataset.ErrCut, "it is sent again"},
	{"incomplete stream", dataset.ErrCut, "it is sent again"},
	{"failed to read from stream", dataset.ErrCut, "it is sent again"},
	{"invalid stream", dataset.ErrRefused, "the source's version of ZFS writes what this one cannot read"},
	{"invalid backup stream", dataset.ErrRefused, "the source's version of ZFS writes what this one cannot read"},
	{"Broken pipe", dataset.ErrCut, "it is sent again"},
	{"signal received", dataset.ErrCut, "somebody ended zfs; it is tried again"},
	{"to overwrite it", dataset.ErrExists, "look at it and rename it"},
	{"bookmark exists", dataset.ErrExists, "look at it and destroy it"},
	{"bookmark feature not enabled", dataset.ErrRefused, "`zpool set feature@bookmarks=enabled` on the pool"},
	{"snapshot is cloned", dataset.ErrHeld, "a clone, for example an activated dataset, uses it"},
	{"already exists", dataset.ErrExists, "look at it and rename it"},
	{"no such pool", dataset.ErrNotFound, "is the pool imported?"},
	{"does not exist", dataset.ErrNotFound, "was it renamed or destroyed, or its pool exported?"},
	{"dataset name is too long", dataset.ErrRefused, "ZFS takes 255 bytes, with the snapshot's name: rename it, or what is above it"},
	{"unable to remount", dataset.ErrRefused, "the property is set and the mount is as it was, for Linux lets only root mount: run the daemon as root, or `zfs unmount` and `zfs mount` it as root"},
	{"delegated administration is disabled", dataset.ErrRefused, "`zpool set delegation=on` on the pool, or run the daemon as root"},
	{"ermission denied", dataset.ErrRefused, "run the daemon as root, or `zfs allow` its user what DESIGN.md lists"},
	{"read-only property", dataset.ErrRefused, "this version of ZFS does not let it be set"},
	{"dataset is read-only", dataset.ErrRefused, "look at `zfs get readonly`"},
	{"pool is read-only", errDevice, "the pool was imported read-only; import it writable"},
	{"Read-only file system", errDevice, "the pool was imported read-only; import it writable"},
	{"pool is unavailable", errDevice, "look at `zpool status` and bring its disks back"},
	{"devices is currently unavailable", errDevice, "look at `zpool status` and bring its disks back"},
	{"No such device or address", errDevice, "look at `zpool status` and bring its disks back"},
	{"Input/output error", errDevice, "look at `zpool status -v` and `dmesg`, then scrub the pool"},
	{"Invalid exchange", errDevice, "a checksum is wrong: look at `zpool status -v` and `dmesg`, then scrub the pool"},
	{"I/O error", errDevice, "look at `zpool status -v` and `dmesg`, then scrub the pool"},
}

// diagnose finds what a text means. The names of objects in it count for nothing:
// a dataset may be called "quota exceeded".
func diagnose(on, stderr string) (diagnosis, bool) {
	for _, d := range diagnoses {
		said := stderr
		if strings.Contains(on, d.text) {
			said = strings.ReplaceAll(said, on, "it")
		}
		if strings.Contains(said, d.text) {
			return d, true
		}
	}
	return diagnosis{}, false
}

// Explain turns what a child of zfs ended with into a domain error about on, with
// what to do next.
func Explain(on string, err error, stderr string) error {
	var exit *command.ExitError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, command.ErrMissing):
		return fmt.Errorf("%w: install zfsutils-linux (2.2 or later): %w", dataset.ErrToolMissing, err)
	case errors.Is(err, command.ErrStuck):
		return fmt.Errorf("%s: %w; look at `zpool status %s`: %w", on, dataset.ErrStuck, naming.PoolOf(on), err)
	case errors.Is(err, ErrSlow):
		look := strings.TrimSpace("zpool status " + naming.PoolOf(on))
		return about(on, fmt.Errorf("%w, so it was ended; look at `%s`, and whether `zpool iostat` shows a disk that is slow or busy", err, look))
	case stderr == "" && errors.As(err, &exit):
		stderr = exit.Stderr
	}
	d, known := diagnose(on, stderr)
	if !known {
		return about(on, err)
	}
	meaning := d.err
	if errors.Is(d.err, syscall.ENOSPC) || errors.Is(d.err, syscall.EDQUOT) {
		meaning = &dataset.SpaceError{Where: on}
	}
	if d.cure == "" {
		return about(on, fmt.Errorf("%w: %w", meaning, err))
	}
	return about(on, fmt.Errorf("%w; %s: %w", meaning, d.cure, err))
}

// about names the object, unless the error does already.
func about(on string, err error) error {
	if on == "" || strings.Contains(err.Error(), on) {
		return err
	}
	return fmt.Errorf("%s: %w", on, err)
}

// Unless is nil for an err that is one of the harmless.
func Unless(err error, harmless ...error) error {
	for _, h := range harmless {
		if errors.Is(err, h) {
			return nil
		}
	}
	return err
}
