package cli

import (
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/internal/command"
)

// TestEveryTextHasItsErrorAndItsCure: every row of the table is there for a text
// that zfs prints, and none is hidden by a row before it.
func TestEveryTextHasItsErrorAndItsCure(t *testing.T) {
	met := make(map[string]bool)
	for stderr, want := range map[string]error{
		"cannot open 'tank/none': dataset does not exist\n":                                                                                               dataset.ErrNotFound,
		"cannot open 'tnk': no such pool 'tnk'\n":                                                                                                         dataset.ErrNotFound,
		"cannot create snapshot 'tank/a@x': dataset already exists\nno snapshots were created\n":                                                          dataset.ErrExists,
		"cannot destroy snapshot tank/a@x: it's being held. Run 'zfs holds -r tank/a@x' to see holders.\n":                                                dataset.ErrHeld,
		"cannot destroy snapshot tank/a@x: dataset is busy\n":                                                                                             dataset.ErrBusy,
		"cannot destroy 'tank/a@x': snapshot has dependent clones\nuse '-R' to destroy the following datasets:\ntank/b\n":                                 dataset.ErrHeld,
		"cannot destroy 'tank/a': filesystem has children\nuse '-r' to destroy the following datasets:\n":                                                 dataset.ErrHeld,
		"cannot destroy snapshot tank/a@x: snapshot is cloned\n":                                                                                          dataset.ErrHeld,
		"cannot create bookmark 'tank/a#x': bookmark exists\n":                                                                                            dataset.ErrExists,
		"cannot create bookmark 'tank/a#x': bookmark feature not enabled\n":                                                                               dataset.ErrRefused,
		"cannot hold snapshot 'tank/a@x': tag already exists on this dataset\n":                                                                           ErrNothing,
		"cannot release hold from snapshot 'tank/a@x': no such tag on this dataset\n":                                                                     ErrNothing,
		"'tank/a' does not have any resumable receive state to abort\n":                                                                                   ErrNothing,
		"could not find any snapshots to destroy; check snapshot names.\n":                                                                                ErrNothing,
		"cannot receive incremental stream: most recent snapshot of dst/a does not\nmatch incremental source\n":                                           dataset.ErrBaseMissing,
		"cannot receive incremental stream: destination dst/a has been modified\nsince most recent snapshot\n":                                            dataset.ErrDiverged,
		"cannot receive new filesystem stream: destination 'dst/a' exists\nmust specify -F to overwrite it\n":                                             dataset.ErrExists,
		"cannot receive new filesystem stream: destination dst/a contains partially-complete state from \"zfs receive -s\".\n":                            dataset.ErrBusy,
		"cannot receive incremental stream: destination dst/a space quota exceeded.\n":                                                                    dataset.ErrNoSpace,
		"cannot receive new filesystem stream: out of space\n":                                                                                            dataset.ErrNoSpace,
		"cannot receive incremental stream: IV set guid mismatch. See the 'zfs receive' man page\n":                                                       dataset.ErrDiverged,
		"cannot receive incremental stream: incremental send stream requires -L (--large-block), to match previous receive.\n":                            dataset.ErrRefused,
		"cannot receive new filesystem stream: inherited key must be loaded\n":                                                                            dataset.ErrRefused,
		"cannot mount 'dst/a': encryption key not loaded\n":                                                                                               ErrKey,
		"cannot receive stream: encryption key does not match existing key\n":                                                                             dataset.ErrRefused,
		"cannot receive stream: pool must be upgraded to receive this stream.\n":                                                                          dataset.ErrRefused,
		"cannot receive new filesystem stream: checksum mismatch or incomplete stream.\nPartially received snapshot is saved.\n":                          dataset.ErrCut,
		"cannot receive: failed to read from stream\n":                                                                                                    dataset.ErrCut,
		"cannot resume send: 'tank/a@x' used in the initial send no longer exists\n":                                                                      dataset.ErrStaleCheckpoint,
		"cannot resume send: 'tank/a@x' is no longer the same snapshot used in the initial send\n":                                                        dataset.ErrStaleCheckpoint,
		"cannot resume send: incremental source 0x1234 no longer exists\n":                                                                                dataset.ErrStaleCheckpoint,
		"incremental source (tank/a@x) does not exist\n":                                                                                                  dataset.ErrBaseMissing,
		"warning: cannot send 'tank/a@y': not an earlier snapshot from the same fs\n":                                                                     dataset.ErrBaseMissing,
		"cannot open 'tank': pool I/O is currently suspended\n":                                                                                           dataset.ErrStuck,
		"The ZFS modules are not loaded.\nTry running 'modprobe zfs' as root to load them.\n":                                                             dataset.ErrToolMissing,
		"cannot set mount attributes for 'tank/a': mount failed\nproperty may be set but unable to remount filesystem\n":                                  dataset.ErrRefused,
		"cannot create 'tank/x': permission denied\n":                                                                                                     dataset.ErrRefused,
		"cannot create snapshots : permission denied\n":                                                                                                   dataset.ErrRefused,
		"cannot mount 'tank/a': filesystem already mounted\n":                                                                                             ErrNothing,
		"cannot resume send: 'tank/a@x' is no longer the same snapshot\n":                                                                                 dataset.ErrStaleCheckpoint,
		"cannot resume send: resume token is corrupt (invalid checksum)\n":                                                                                dataset.ErrStaleCheckpoint,
		"warning: cannot send 'tank/a@x': No such file or directory\n":                                                                                    ErrNoEntry,
		"zfs: error while loading shared libraries: libzfs.so.6: cannot open shared object file: No such file or directory\n":                             dataset.ErrToolMissing,
		"cannot resume recv dst/a@x: Resuming recv on existing dataset without force\n":                                                                   dataset.ErrStaleCheckpoint,
		"cannot receive resume stream: kernel modules must be upgraded to receive this stream.\n":                                                         ErrInvalid,
		"cannot unmount 'tank/a': not currently mounted\n":                                                                                                ErrNothing,
		"cannot create 'tank/a': Disk quota exceeded\n":                                                                                                   dataset.ErrNoSpace,
		"cannot create snapshot 'tank/a@x': out of space\n":                                                                                               dataset.ErrNoSpace,
		"internal error: No space left on device\n":                                                                                                       dataset.ErrNoSpace,
		"cannot send 'tank/a@x': dataset key must be loaded\n":                                                                                            ErrKey,
		"Key must be loaded: tank/a\n":                                                                                                                    ErrKey,
		"cannot receive: stream has unsupported feature, feature flags = 24\n":                                                                            dataset.ErrRefused,
		"cannot unmount 'dst/a': pool or dataset is busy\n":                                                                                               dataset.ErrBusy,
		"cannot export 'dst': pool is busy\n":                                                                                                             dataset.ErrBusy,
		"cannot receive new filesystem stream: incomplete stream\n":                                                                                       dataset.ErrCut,
		"cannot receive: invalid stream (bad magic number)\n":                                                                                             dataset.ErrRefused,
		"cannot receive new filesystem stream: invalid backup stream\n":                                                                                   dataset.ErrRefused,
		"warning: cannot send 'tank/a@x': Broken pipe\n":                                                                                                  dataset.ErrCut,
		"cannot create 'dst/a': pool is read-only\n":                                                                                                      errDevice,
		"cannot open 'tank/a': I/O error\n":                                                                                                               errDevice,
		"warning: cannot send 'tank/a@x': Input/output error\n":                                                                                           errDevice,
		"internal error: warning: cannot send 'tank/a@x': Invalid exchange\n":                                                                             errDevice,
		"warning: cannot send 'tank/a@x': No such device or address\n":                                                                                    errDevice,
		"cannot open 'tank/a': pool is unavailable\n":                                                                                                     errDevice,
		"cannot open 'tank/a': one or more devices is currently unavailable\n":                                                                            errDevice,
		"warning: cannot send 'tank/a@x': Read-only file system\n":                                                                                        errDevice,
		"cannot rollback 'tank/a': dataset is read-only\n":                                                                                                dataset.ErrRefused,
		"cannot set property for 'tank/a': read-only property\n":                                                                                          dataset.ErrRefused,
		"cannot create 'tank/a': delegated administration is disabled on pool\n":                                                                          dataset.ErrRefused,
		"cannot rename 'tank/a': dataset name is too long\n":                                                                                              dataset.ErrRefused,
		"warning: cannot send 'tank/a@x': signal received\n":                                                                                              dataset.ErrCut,
		"warning: cannot send 'tank/a@x': target is busy; if a filesystem, it must not be mounted\n":                                                      dataset.ErrBusy,
		"cannot receive new filesystem stream: destination has snapshots (eg. dst/a@y)\nmust destroy them to overwrite it\n":                              dataset.ErrExists,
		"cannot receive new filesystem stream: destination 'dst/a' is a clone\nmust destroy it to overwrite it\n":                                         dataset.ErrExists,
		"cannot receive incremental stream: cannot perform raw receive on top of existing unencrypted dataset\n":                                          dataset.ErrRefused,
		"cannot receive incremental stream: Spill block flag missing for raw send.\nThe zfs software on the sending system must be updated.\n":            dataset.ErrRefused,
		"cannot receive new filesystem stream: stream uses crypto parameters not compatible with this pool\n":                                             dataset.ErrRefused,
		"cannot receive new filesystem stream: failed to create encryption key\n":                                                                         dataset.ErrRefused,
		"cannot receive resume stream: unsupported version or feature\n":                                                                                  dataset.ErrRefused,
		"cannot receive incremental stream: the loaded zfs module does not support this operation. A reboot may be required to enable this operation.\n":  dataset.ErrToolMissing,
		"cannot get property 'x': the loaded zfs module does not support an option for this operation. A reboot may be required to enable this option.\n": dataset.ErrToolMissing,
		"The /dev/zfs device is missing and must be created.\nTry running 'udevadm trigger' as root to create it.\n":                                      dataset.ErrToolMissing,
	} {
		cause := &command.ExitError{Args: []string{"zfs"}, Code: 1, Stderr: stderr}
		got := Explain("tank/a", cause, "")
		if !errors.Is(got, want) {
			t.Errorf("%q: got %v, want %v", stderr, got, want)
		}
		if !strings.Contains(got.Error(), strings.TrimSpace(strings.SplitN(stderr, "\n", 2)[0])) || !strings.Contains(got.Error(), "tank/a") {
			t.Errorf("%q: got %v, which does not say it, or of what", stderr, got)
		}
		d, _ := diagnose("tank/a", stderr)
		met[d.text] = true
		if !errors.Is(d.err, ErrNothing) && (d.cure == "" || !strings.Contains(got.Error(), d.cure)) {
			t.Errorf("%q: got %v, which does not say what to do", stderr, got)
		}
	}
	for _, d := range diagnoses {
		if !met[d.text] {
			t.Errorf("no text has come to the row %q", d.text)
		}
	}
}

// TestNamesAreNoDiagnosis: spaces are legal in names.
func TestNamesAreNoDiagnosis(t *testing.T) {
	on := "dst/into/tank/has been modified"
	err := Explain(on, &command.ExitError{Stderr: "cannot receive incremental stream: destination " + on + " space quota exceeded.\n"}, "")
	if !errors.Is(err, dataset.ErrNoSpace) || errors.Is(err, dataset.ErrDiverged) {
		t.Errorf("got %v, want no space", err)
	}
	err = Explain(on, &command.ExitError{Stderr: "cannot receive incremental stream: destination " + on + " has been modified\nsince most recent snapshot\n"}, "")
	if !errors.Is(err, dataset.ErrDiverged) {
		t.Errorf("got %v, want diverged", err)
	}
}

// TestWhatTakesTooLongIsNotSaidToHang: it was killed, and did end.
func TestWhatTakesTooLongIsNotSaidToHang(t *testing.T) {
	for on, want := range map[string]string{"tank/a": "`zpool status tank`", "": "`zpool status`"} {
		err := Explain(on, fmt.Errorf("zfs get %s: %w", on, ErrSlow), "")
		if !errors.Is(err, dataset.ErrStuck) || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), dataset.ErrStuck.Error()) {
			t.Errorf("got %v, want stuck for the daemon, and %s for the operator", err, want)
		}
	}
}

func TestExplainKeepsItsEvidence(t *testing.T) {
	err := Explain("dst/a", &command.ExitError{Stderr: "out of space"}, "")
	var space *dataset.SpaceError
	if !errors.As(err, &space) || space.Where != "dst/a" {
		t.Errorf("got %v, want a space error on dst/a", err)
	}
	if err := Explain("dst", fmt.Errorf("zfs: %w", command.ErrMissing), ""); !errors.Is(err, dataset.ErrToolMissing) {
		t.Errorf("missing: got %v", err)
	}
	if err := Explain("dst/a", command.ErrStuck, "out of space"); !errors.Is(err, dataset.ErrStuck) || !strings.Contains(err.Error(), "zpool status dst") {
		t.Errorf("stuck: got %v", err)
	}
	if err := Explain("dst", syscall.EIO, "something new"); !errors.Is(err, syscall.EIO) {
		t.Errorf("unknown text: got %v", err)
	}
}
