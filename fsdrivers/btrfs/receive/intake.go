package receive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"antipode/fsdrivers/btrfs/progs"
	"antipode/fsdrivers/btrfs/segment"
	"antipode/fsdrivers/btrfs/stream"
	"antipode/fsdrivers/btrfs/syncfs"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/failpoint"
	"antipode/fsdrivers/internal/command"
)

// intake receives one stream, segment by segment. A segment's states:
//
//	open -> ended     `btrfs receive` has finished it: END, exit 0, no error
//	ended -> sealed   syncfs, and its line in the journal is durable
//
// Only what is sealed can be gone on from. One segment is open, or none, and one
// is being sealed beside it, or none.
type intake struct {
	ctx    context.Context //nolint:containedctx // of the one Receive that it lives in
	w      *work
	binary string
	device string
	limits segment.Limits
	now    func() time.Time
	log    zerolog.Logger
	group  *syncfs.Group

	// sealing is told once how a sealing ended, and is nil while none is under way.
	// Meanwhile that owns the journal.
	sealing chan error
	journal segment.Journal

	// mu guards what follows, and the copier. It is held all the time but while
	// the copier waits for the stream.
	mu      sync.Mutex
	copier  *stream.Copier
	waiting bool     // for the stream
	open    *filling // nil for none
	last    segment.Sealed
	failed  error // of what was done while it waited
	// refused is true when `btrfs receive` would not take what it was given.
	refused bool
}

// filling is an open segment.
type filling struct {
	child *command.Child
	name  string
	id    stream.UUID
	from  int64 // bytes of the stream before it
	began time.Time
}

// take receives the stream and returns the last of its segments, durable.
func (i *intake) take(r io.Reader, start func(io.Reader) (*stream.Copier, error)) (err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.copier, err = start(&patient{i, r}); err == nil {
		err = i.takeIn()
	}
	if err != nil {
		err = i.giveUp(err)
	}
	return errors.Join(err, i.awaitSealing())
}

// takeIn receives to the end of the stream.
func (i *intake) takeIn() error {
	for {
		last, err := i.copier.Ready()
		if err = errors.Join(err, i.failed, i.sealed()); err != nil {
			return err
		}
		if last {
			return i.finish()
		}
		if i.isDue() {
			if err := i.endAndSeal(); err != nil {
				return err
			}
		}
		if i.open == nil {
			if err := i.begin(); err != nil {
				return err
			}
		}
		if err := i.copier.Pass(); err != nil {
			return err
		}
	}
}

// isDue reports whether the open segment ends here. While the one before it is being
// sealed it may grow, but not for ever: what a crash costs has a bound.
func (i *intake) isDue() bool {
	if i.open == nil {
		return false
	}
	bytes, age := i.copier.Bytes()-i.open.from, i.now().Sub(i.open.began)
	return i.limits.IsFull(bytes, age) && (i.sealing == nil || i.limits.IsFull(bytes/2, age/2))
}

// finish takes in the end of the stream and makes the last segment durable.
func (i *intake) finish() error {
	if err := i.copier.Finish(); err != nil {
		return err
	}
	if err := errors.Join(i.failed, i.awaitSealing()); err != nil {
		return err
	}
	if i.open == nil && i.last.Number == 0 { // nothing stands between its first command and its last
		if err := i.begin(); err != nil {
			return err
		}
	}
	if i.open == nil {
		return nil
	}
	small := i.copier.Bytes()-i.open.from < i.limits.Small
	if err := i.end(); err != nil {
		return err
	}
	if small { // sending it again is cheaper than writing it down
		return i.group.Sync()
	}
	return i.seal(i.last)
}

// begin starts `btrfs receive` for the next segment.
func (i *intake) begin() error {
	n := i.last.Number + 1
	f := &filling{name: segment.Name(n), id: stream.NewUUID(), from: i.copier.Bytes(), began: i.now()}
	var err error
	f.child, err = command.Start(i.ctx, command.Spec{
		Args: []string{i.binary, "receive", "-q", "--chroot", i.w.root.Name()},
		Feed: true,
		Lock: i.w.lock, Alarm: progs.ErrorLine,
		Before: func() error {
			return mountPrivately(i.device, i.w.in.Name(), i.w.in.TreeID)
		},
	})
	if err != nil {
		return progs.Explain(i.w.in.File, err, "")
	}
	i.open = f
	failpoint.Hit("segment-begun")
	return i.copier.Begin(f.child.Stdin(), stream.Segment{Name: f.name, UUID: f.id, After: i.last.UUID})
}

// end has `btrfs receive` finish the open segment, and reads back what came of it.
func (i *intake) end() error {
	if err := i.copier.End(); err != nil {
		return err
	}
	f := i.open
	if err := finish(f.child); err != nil {
		return err
	}
	if err := f.child.Close(); err != nil {
		return err
	}
	i.open = nil
	if err := i.w.isThere(f.name, uuid.UUID(f.id)); err != nil {
		return fmt.Errorf("read back: btrfs receive did not finish it: %w: %w", dataset.ErrCut, err)
	}
	i.last = segment.Sealed{Number: i.last.Number + 1, UUID: f.id, At: i.copier.Position(), Digest: i.copier.Digest()}
	failpoint.Hit("segment-ended")
	return nil
}

// endAndSeal ends the open segment and has it sealed beside what comes next.
func (i *intake) endAndSeal() error {
	if err := i.awaitSealing(); err != nil {
		return err
	}
	if err := i.end(); err != nil {
		return err
	}
	done, s := make(chan error, 1), i.last
	i.sealing = done
	go func() { done <- i.seal(s) }() // whoever receives waits for it: awaitSealing
	return nil
}

// seal makes a segment one that can be gone on from.
func (i *intake) seal(s segment.Sealed) error {
	if err := i.group.Sync(); err != nil {
		return err
	}
	failpoint.Hit("seal-synced")
	next := i.journal.Add(s)
	if err := i.w.writeJournal(next); err != nil {
		return fmt.Errorf("seal %s: %w", segment.Name(s.Number), err)
	}
	i.journal = next
	failpoint.Hit("seal-recorded")
	if err := i.w.removeUnsealed(next, segment.Name(s.Number+1)); err != nil {
		i.log.Warn().Err(err).Str("step", string(i.w.step)).Msg("a segment that is no longer needed is left for later")
	}
	failpoint.Hit("sealed")
	return nil
}

// sealed takes notice of a sealing that has ended.
func (i *intake) sealed() error {
	select {
	case err := <-i.sealing:
		i.sealing = nil
		return err
	default:
		return nil
	}
}

func (i *intake) awaitSealing() error {
	if i.sealing == nil {
		return nil
	}
	err := <-i.sealing
	i.sealing = nil
	return err
}

// giveUp ends the child of the open segment and explains the error.
func (i *intake) giveUp(err error) error {
	if i.open == nil {
		return err
	}
	child := i.open.child
	i.open = nil
	if errors.Is(err, unix.EPIPE) {
		err = errors.Join(child.Wait(), err) // why it ended says more than that it did
	}
	if closeErr := child.Close(); closeErr != nil {
		return progs.Explain(i.w.in.File, closeErr, "")
	}
	if errors.Is(err, dataset.ErrRefused) || errors.Is(err, dataset.ErrCut) {
		return err // ours; what the child says of its broken pipe adds nothing
	}
	err = progs.Explain(i.w.in.File, err, child.Stderr())
	i.refused = i.ctx.Err() == nil && isRefusal(err)
	return err
}

// errComplained: it exited with 0 and had printed an error.
var errComplained = errors.New("btrfs receive succeeded and reported an error")

// isRefusal tells an error of `btrfs receive` about what it was given from one
// about the machine.
func isRefusal(err error) bool {
	if errors.Is(err, dataset.ErrNoSpace) || errors.Is(err, progs.ErrDevice) {
		return false
	}
	var exit *command.ExitError
	return errors.Is(err, errComplained) || errors.As(err, &exit) && exit.Signal == 0
}

// patient is the stream. While nothing comes the intake is free, and when that
// lasts, what was received is sealed: a lost link may be back in a day, and by then
// either side may have been restarted.
type patient struct {
	i *intake
	r io.Reader
}

func (p *patient) Read(b []byte) (int, error) {
	quiet := time.AfterFunc(p.i.limits.Quiet, p.i.sealQuietly)
	defer quiet.Stop()
	p.i.waiting = true
	p.i.mu.Unlock()
	n, err := p.r.Read(b)
	p.i.mu.Lock()
	p.i.waiting = false
	return n, err
}

func (i *intake) sealQuietly() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.waiting || i.failed != nil || i.open == nil || i.copier.Bytes()-i.open.from < i.limits.Small {
		return
	}
	i.failed = i.endAndSeal()
}

// finish waits for the child: it must exit with 0 and report no error.
func finish(child *command.Child) error {
	if err := child.Stdin().Close(); err != nil {
		return fmt.Errorf("end the stream: %w", err)
	}
	if err := child.Wait(); err != nil {
		return err
	}
	if line := child.Alarm(); line != "" {
		return fmt.Errorf("%w: %s", errComplained, line)
	}
	return nil
}

// mountPrivately gives the calling thread a mount namespace in which path is
// exactly the subvolume and nothing that is received can be run, or open a
// device. It must be the subvolume, not a bind mount of a directory: receive
// works out paths of subvolumes from what is mounted. The namespace is a slave of
// the host's: what the host unmounts goes here too, so that a receive that waits
// for its link for a day keeps no other file system busy.
func mountPrivately(device, path string, treeID uint64) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make a mount namespace (it needs CAP_SYS_ADMIN): %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("keep mounts of the receive to itself: %w", err)
	}
	err := unix.Mount(device, path, "btrfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, fmt.Sprintf("subvolid=%d", treeID))
	if err != nil {
		return fmt.Errorf("mount subvolume %d of %s on %s: %w", treeID, device, path, err)
	}
	return nil
}
