package dataset

import (
	"errors"
	"fmt"
)

// What a driver may answer with. They are wrapped with the operation and the
// object; test with errors.Is. The transport carries them to the peer by kind.
var (
	// ErrNotFound: the dataset, snapshot or replica does not exist.
	ErrNotFound = errors.New("not found")
	// ErrNotDataset: it exists and is not a subvolume or dataset.
	ErrNotDataset = errors.New("not a dataset")
	// ErrExists: something with that name, and another identity, is there.
	ErrExists = errors.New("already exists")
	// ErrChanged: the object under that name no longer has the identity that
	// was planned with. Plan again.
	ErrChanged = errors.New("changed since it was looked at")
	// ErrHeld: a hold, a clone or a running send keeps the snapshot.
	ErrHeld = errors.New("held")
	// ErrBaseMissing: the base of an incremental is not there. Plan again.
	ErrBaseMissing = errors.New("base missing")
	// ErrDiverged: the target holds what replication would have to overwrite.
	ErrDiverged = errors.New("diverged")
	// ErrNoSpace: no room; see SpaceError for where and how much.
	ErrNoSpace = errors.New("no space")
	// ErrRefused: a gate or a policy does not let it through. Final until
	// somebody changes the policy or the data.
	ErrRefused = errors.New("refused")
	// ErrStaleCheckpoint: the checkpoint does not fit; drop it, plan again.
	ErrStaleCheckpoint = errors.New("checkpoint does not fit")
	// ErrBusy: another operation runs on the dataset; try again later.
	ErrBusy = errors.New("busy")
	// ErrStuck: a child hangs in the kernel; nothing is started until it ends.
	ErrStuck = errors.New("stuck in the kernel")
	// ErrToolMissing: zfs or btrfs is not installed or not usable.
	ErrToolMissing = errors.New("tool missing")
	// ErrCut: the stream ended before its end mark, or its source failed.
	ErrCut = errors.New("stream was cut")
)

// SpaceError is an ErrNoSpace with its evidence.
type SpaceError struct {
	Where string // mount point or pool
	Free  int64  // bytes
	Need  int64  // bytes that must be free before the transfer goes on; 0 if unknown
}

// Error names the file system and what is missing.
func (e *SpaceError) Error() string {
	if e.Need > 0 {
		return fmt.Sprintf("no space on %s: %d bytes free, %d needed", e.Where, e.Free, e.Need)
	}
	return fmt.Sprintf("no space on %s: %d bytes free", e.Where, e.Free)
}

// Is makes errors.Is(err, ErrNoSpace) true.
func (e *SpaceError) Is(target error) bool { return target == ErrNoSpace }

// MisfitError is why nothing was done for several datasets of which some cannot take it:
// without those the others can.
type MisfitError struct {
	Datasets []Path
	Err      error // of all of them
}

// Error says what is wrong with each.
func (e *MisfitError) Error() string { return e.Err.Error() }

// Unwrap is Err.
func (e *MisfitError) Unwrap() error { return e.Err }

// StaleCheckpointError is an ErrStaleCheckpoint that may know better: a source
// that read its stream again and found it the same up to an earlier place only.
type StaleCheckpointError struct {
	Why string
	// Fits is a checkpoint that lies before the one that did not fit and that the
	// target keeps too; zero if there is none.
	Fits Checkpoint
}

// Error says what does not fit.
func (e *StaleCheckpointError) Error() string {
	s := ErrStaleCheckpoint.Error() + ": " + e.Why
	if !e.Fits.IsZero() {
		s += fmt.Sprintf("; byte %d is", e.Fits.Done)
	}
	return s
}

// Is makes errors.Is(err, ErrStaleCheckpoint) true.
func (e *StaleCheckpointError) Is(target error) bool { return target == ErrStaleCheckpoint }
