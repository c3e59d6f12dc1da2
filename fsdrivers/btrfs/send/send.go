// Package send runs `btrfs send`: for a step as a stream, from a checkpoint on, and to see
// how much it would be. Who calls it knows where the snapshots are.
package send

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers/btrfs/facts"
	"antipode/fsdrivers/btrfs/progs"
	"antipode/fsdrivers/btrfs/segment"
	"antipode/fsdrivers/btrfs/sidecar"
	"antipode/fsdrivers/btrfs/stream"
	"antipode/fsdrivers/btrfs/subvol"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/internal/command"
)

// Compressed is the dataset.Step.Flags of a stream of version 2 in which what
// the source has compressed stays so; any other stream is of version 1.
const Compressed = "compressed"

const sendingDir = "sending"

// Outgoing is a step that is ready to be sent.
type Outgoing struct {
	File  *os.File  // on the file system
	Facts facts.Dir // of the dataset: locks of sends lie there
	Args  []string  // of btrfs send
	End   func()    // closes all of that
}

// Start begins to send a step, from a checkpoint on: what lies before it is read again,
// which tell is told of, and compared. prepare finds both ends. Errors: ErrNotFound,
// ErrBaseMissing, ErrRefused, ErrToolMissing, StaleCheckpointError.
func Start(ctx context.Context, binary string, prepare func(dataset.Step) (*Outgoing, error), step dataset.Step,
	from dataset.Checkpoint, tell func(done, of int64),
) (io.ReadCloser, error) {
	r, err := begin(ctx, binary, prepare, step, from, tell)
	if err != nil {
		return nil, fmt.Errorf("send %s: %w", step.To.Name, err)
	}
	return r, nil
}

func begin(ctx context.Context, binary string, prepare func(dataset.Step) (*Outgoing, error), step dataset.Step,
	from dataset.Checkpoint, tell func(done, of int64),
) (io.ReadCloser, error) {
	var places segment.Places
	if !from.IsZero() {
		var err error
		if places, err = segment.ParsePlaces(from, step.ID()); err != nil {
			return nil, err
		}
	}
	o, err := prepare(step)
	if err != nil {
		return nil, err
	}
	r, err := startSend(ctx, binary, o, step)
	if err != nil || from.IsZero() {
		return r, err
	}
	if err := r.skipTo(places, tell); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// startSend starts the child; o is closed with what it returns, or at once.
func startSend(ctx context.Context, binary string, o *Outgoing, step dataset.Step) (_ *sending, err error) {
	if step.Flags == Compressed {
		err = progs.KnowsEncoded(progs.Sysfs)
	}
	var lock *sendLock
	if err == nil {
		lock, err = o.lock(step.ID())
	}
	if err != nil {
		o.End()
		return nil, err
	}
	child, err := command.Start(ctx, command.Spec{Args: append([]string{binary, "send", "-q"}, o.Args...), Lock: lock.Lock, Alarm: progs.ErrorLine})
	if err != nil {
		err = errors.Join(progs.Explain(o.File, err, ""), lock.remove())
		o.End()
		return nil, err
	}
	r := &sending{from: o, child: child, lock: lock, what: step.To.Name, stream: child.Stdout()}
	r.close = sync.OnceValue(r.end)
	return r, nil
}

// Args are those of btrfs send; where finds the paths of both ends.
func Args(step dataset.Step, where func(dataset.Snapshot) (string, error)) ([]string, error) {
	to, err := where(step.To)
	if err == nil && to == "" {
		err = fmt.Errorf("snapshot %s (%s) of %s: %w", step.To.Name, step.To.ID, step.Dataset.Path, dataset.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	args := []string{to}
	switch step.Flags {
	case "":
	case Compressed:
		args = append([]string{"--proto", "2", "--compressed-data"}, args...)
	default:
		return nil, fmt.Errorf("send flags %q are unknown: %w", step.Flags, dataset.ErrRefused)
	}
	if step.IsFull() {
		return args, nil
	}
	base, err := where(step.From)
	if err == nil && base == "" {
		err = fmt.Errorf("base %s (%s): %w", step.From.Name, step.From.ID, dataset.ErrBaseMissing)
	}
	if err != nil {
		return nil, err
	}
	return append([]string{"-p", base}, args...), nil
}

// sendLock is the lock of one run of send. Several may send one step, to several
// targets, so each has a file of its own.
type sendLock struct {
	*command.Lock
	dir  *os.File
	name string
}

func (o *Outgoing) lock(step dataset.StepID) (*sendLock, error) {
	dir, err := subvol.MakeDirBelow(o.Facts.Dir, sendingDir, 0o700)
	if err != nil {
		return nil, err
	}
	name := string(step) + "." + rand.Text()
	lock, err := command.TryLock(filepath.Join(dir.Name(), name))
	if err != nil {
		dir.Close()
		return nil, subvol.SpaceError(o.File, err)
	}
	return &sendLock{Lock: lock, dir: dir, name: name}, nil
}

func (l *sendLock) remove() error {
	err := unix.Unlinkat(int(l.dir.Fd()), l.name, 0)
	if errors.Is(err, unix.ENOENT) {
		err = nil
	}
	return errors.Join(err, l.Close(), l.dir.Close())
}

// sending is a running send.
// It embeds nothing: io.Copy would find an *os.File's WriteTo.
type sending struct {
	from   *Outgoing
	child  *command.Child
	lock   *sendLock
	what   string
	stream io.Reader    // what is still to be read of the child's output
	close  func() error // end, once
}

// skipTo reads again what the target has. `btrfs send` is deterministic but for
// three causes that are nobody's fault (FIELD-NOTES B.1), so that it is compared.
func (s *sending) skipTo(p segment.Places, tell func(done, of int64)) error {
	r := stream.NewReader(raw{s})
	if _, err := stream.Head(r); err != nil {
		return err
	}
	marks := p.Marks()
	if r.Version() != p.Version {
		marks = nil
	}
	agreed, err := stream.Skip(r, marks, func(done int64) { tell(done, p.Total()) })
	if err != nil {
		return err
	}
	if agreed < len(p.Marks()) {
		return p.Stale(agreed)
	}
	s.stream = r.Rest()
	return nil
}

// raw is the child's output as Read explains it.
type raw struct{ s *sending }

func (r raw) Read(p []byte) (int, error) { return r.s.read(r.s.child.Stdout(), p) }

// Read answers io.EOF only when the child exited with 0 and reported no error.
func (s *sending) Read(p []byte) (int, error) { return s.read(s.stream, p) }

func (s *sending) read(from io.Reader, p []byte) (int, error) {
	n, err := from.Read(p)
	if err == nil || errors.Is(err, dataset.ErrCut) { // or explained already
		return n, err
	}
	if errors.Is(err, io.EOF) {
		line := s.child.Alarm()
		if line == "" {
			return n, io.EOF
		}
		err = errors.New(line)
	}
	return n, fmt.Errorf("send %s: %w: %w", s.what, dataset.ErrCut, progs.Explain(s.from.File, err, s.child.Stderr()))
}

// Close ends the child and waits for it, each of several at once too: whoever
// cancels a transfer closes its source beside the one who opened it.
func (s *sending) Close() error { return s.close() }

func (s *sending) end() error {
	err := s.child.Close()
	if err != nil {
		err = progs.Explain(s.from.File, err, "")
	}
	err = errors.Join(err, s.lock.remove())
	s.from.End()
	if err != nil {
		return fmt.Errorf("end send of %s: %w", s.what, err)
	}
	return nil
}

// Estimate is the size of a step's stream in bytes. It reads metadata and no data.
func Estimate(ctx context.Context, binary string, prepare func(dataset.Step) (*Outgoing, error), step dataset.Step) (int64, error) {
	o, err := prepare(step)
	if err != nil {
		return 0, fmt.Errorf("estimate %s: %w", step.To.Name, err)
	}
	defer o.End()
	child, err := command.Start(ctx, command.Spec{Args: append([]string{binary, "send", "-q", "--no-data"}, o.Args...)})
	if err != nil {
		return 0, fmt.Errorf("estimate %s: %w", step.To.Name, progs.Explain(o.File, err, ""))
	}
	bytes, err := stream.Size(child.Stdout())
	if err != nil {
		err = progs.Explain(o.File, err, child.Stderr())
	}
	if err = errors.Join(err, child.Close()); err != nil {
		return 0, fmt.Errorf("estimate %s: %w", step.To.Name, err)
	}
	return bytes, nil
}

// Sweep ends sends whose daemon is gone and removes their locks.
func Sweep(ctx context.Context, f facts.Dir) error {
	dir, missing, err := f.Sub(sendingDir)
	if missing || err != nil {
		return err
	}
	defer dir.Close()
	list, err := subvol.Names(dir)
	if err != nil {
		return err
	}
	for _, name := range list {
		err := command.EndOrphan(ctx, filepath.Join(dir.Name(), name))
		if errors.Is(err, command.ErrLocked) {
			continue // it is running
		}
		if err == nil {
			err = sidecar.Remove(dir, name)
		}
		if err != nil {
			return progs.Explain(dir, err, "")
		}
	}
	return nil
}
