package progs

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers/btrfs/subvol"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/internal/command"
)

// diagnosis says what a text on the standard error of btrfs means.
type diagnosis struct {
	text string // part of a line, as btrfs-progs prints it under LC_ALL=C
	err  error
	cure string
}

// diagnoses is the one place that reads text (btrfs-progs 6.2 to 6.19,
// cmds/send.c, cmds/receive.c; the endings are strerror(3)). The first that is
// found counts, so what says more comes first.
var diagnoses = [...]diagnosis{
	{"No space left on device", unix.ENOSPC, "make room; the transfer then goes on"},
	{"Disk quota exceeded", unix.EDQUOT, "raise the quota group's limit"},
	{"cannot find parent subvolume", dataset.ErrBaseMissing, "it is planned again"},
	{"is not read-only", dataset.ErrChanged, "somebody made the snapshot writable; take a new one"},
	{"unexpected EOF", dataset.ErrCut, "it is sent again"},
	{"Broken pipe", dataset.ErrCut, "it is sent again"},
	{"Input/output error", ErrDevice, "look at `dmesg` and `btrfs device stats`, then scrub the file system"},
	{"Structure needs cleaning", ErrDevice, "look at `dmesg`, then run `btrfs check`"},
	{"Read-only file system", ErrDevice, "look at `dmesg`: Btrfs turns read-only after an error; mount it writable again"},
	{"unreachable from", dataset.ErrRefused, "a clone source lies outside of the replica"},
	{"Operation not permitted", dataset.ErrRefused, "run the daemon as root with CAP_SYS_ADMIN"},
}

// ErrDevice means: look at the disk.
var ErrDevice = errors.New("the file system reports an error")

// Explain turns what a child of btrfs ended with into a domain error. on is
// where it worked, for the room that is left; stderr is what it said.
func Explain(on *os.File, err error, stderr string) error {
	switch {
	case errors.Is(err, command.ErrMissing):
		return fmt.Errorf("%w: install btrfs-progs (6.2 or later): %w", dataset.ErrToolMissing, err)
	case errors.Is(err, command.ErrStuck):
		return fmt.Errorf("%w: %w", dataset.ErrStuck, err)
	}
	for _, d := range diagnoses {
		if strings.Contains(stderr, d.text) {
			return subvol.SpaceError(on, fmt.Errorf("%w; %s: %w", d.err, d.cure, err))
		}
	}
	return err
}

// ErrorLine begins a line in which btrfs reports an error. It may print one and
// exit with 0, with data missing (FIELD-NOTES B.3).
const ErrorLine = "ERROR"
