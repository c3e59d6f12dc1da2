package btrfs

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

	"antipode/fsdrivers"
	"antipode/fsdrivers/btrfs/segment"
	"antipode/fsdrivers/btrfs/stream"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/internal/command"
)

const sendingDir = "sending"

// FlagCompressed is the dataset.Step.Flags of a stream of version 2 in which what
// the source has compressed stays so; any other stream is of version 1.
const FlagCompressed = "compressed"

var _ fsdrivers.Rereader = (*Source)(nil)

// Send implements fsdrivers.Sender with `btrfs send [-p parent] snapshot`: never
// -c, whose sources the receiver could not vouch for, and never -e.
func (s *Source) Send(ctx context.Context, step dataset.Step, from dataset.Checkpoint) (io.ReadCloser, error) {
	return s.SendAgain(ctx, step, from, func(int64, int64) {})
}

// SendAgain implements fsdrivers.Rereader.
func (s *Source) SendAgain(ctx context.Context, step dataset.Step, from dataset.Checkpoint, tell func(done, of int64)) (io.ReadCloser, error) {
	return sendAgain(ctx, s.binary, s.prepareSend, step, from, tell)
}

// outgoing is a step that is ready to be sent.
type outgoing struct {
	file  *os.File // on the file system
	facts facts    // of the dataset: locks of sends lie there
	args  []string // of btrfs send
	end   func()   // closes all of that
}

func sendAgain(ctx context.Context, binary string, prepare func(dataset.Step) (*outgoing, error), step dataset.Step,
	from dataset.Checkpoint, tell func(done, of int64),
) (io.ReadCloser, error) {
	r, err := send(ctx, binary, prepare, step, from, tell)
	if err != nil {
		return nil, fmt.Errorf("send %s: %w", step.To.Name, err)
	}
	return r, nil
}

func send(ctx context.Context, binary string, prepare func(dataset.Step) (*outgoing, error), step dataset.Step,
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
func startSend(ctx context.Context, binary string, o *outgoing, step dataset.Step) (_ *sending, err error) {
	if step.Flags == FlagCompressed {
		err = mustKnowEncoded(sysfs)
	}
	var lock *sendLock
	if err == nil {
		lock, err = o.lock(step.ID())
	}
	if err != nil {
		o.end()
		return nil, err
	}
	child, err := command.Start(ctx, command.Spec{Args: append([]string{binary, "send", "-q"}, o.args...), Lock: lock.Lock, Alarm: errorLine})
	if err != nil {
		err = errors.Join(explain(o.file, err, ""), lock.remove())
		o.end()
		return nil, err
	}
	r := &sending{from: o, child: child, lock: lock, what: step.To.Name, stream: child.Stdout()}
	r.close = sync.OnceValue(r.end)
	return r, nil
}

// prepareSend looks both ends up by identity; their names may have changed.
func (s *Source) prepareSend(step dataset.Step) (*outgoing, error) {
	o, err := s.openAll(step.Dataset.Path, false)
	if err != nil {
		return nil, err
	}
	out := &outgoing{file: o.File, facts: o.facts, end: o.close}
	if step.Dataset.ID != o.id {
		err = fmt.Errorf("%s is now subvolume %s, planned was %s: %w", o.Name(), o.id, step.Dataset.ID, dataset.ErrNotFound)
	} else {
		out.args, err = sendArgs(step, o.where)
	}
	if err != nil {
		o.close()
		return nil, err
	}
	return out, nil
}

// where is the path of a listed snapshot; "" if there is none of that identity.
func (o *opened) where(want dataset.Snapshot) (string, error) {
	s, err := o.find(want)
	if errors.Is(err, dataset.ErrNotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return filepath.Join(o.dir.Name(), s.Name), nil
}

// sendArgs are those of btrfs send; where finds the paths of both ends.
func sendArgs(step dataset.Step, where func(dataset.Snapshot) (string, error)) ([]string, error) {
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
	case FlagCompressed:
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

func (o *outgoing) lock(step dataset.StepID) (*sendLock, error) {
	dir, err := makeBelow(o.facts.dir, sendingDir, 0o700)
	if err != nil {
		return nil, err
	}
	name := string(step) + "." + rand.Text()
	lock, err := command.TryLock(filepath.Join(dir.Name(), name))
	if err != nil {
		dir.Close()
		return nil, spaceError(o.file, err)
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
	from   *outgoing
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
	return n, fmt.Errorf("send %s: %w: %w", s.what, dataset.ErrCut, explain(s.from.file, err, s.child.Stderr()))
}

// Close ends the child and waits for it, each of several at once too: whoever
// cancels a transfer closes its source beside the one who opened it.
func (s *sending) Close() error { return s.close() }

func (s *sending) end() error {
	err := s.child.Close()
	if err != nil {
		err = explain(s.from.file, err, "")
	}
	err = errors.Join(err, s.lock.remove())
	s.from.end()
	if err != nil {
		return fmt.Errorf("end send of %s: %w", s.what, err)
	}
	return nil
}

// Estimate implements fsdrivers.Estimator: it reads the metadata of the step and
// no data (FIELD-NOTES B.6: within 0.1 %).
func (s *Source) Estimate(ctx context.Context, step dataset.Step) (int64, error) {
	return estimate(ctx, s.binary, s.prepareSend, step)
}

func estimate(ctx context.Context, binary string, prepare func(dataset.Step) (*outgoing, error), step dataset.Step) (int64, error) {
	o, err := prepare(step)
	if err != nil {
		return 0, fmt.Errorf("estimate %s: %w", step.To.Name, err)
	}
	defer o.end()
	child, err := command.Start(ctx, command.Spec{Args: append([]string{binary, "send", "-q", "--no-data"}, o.args...)})
	if err != nil {
		return 0, fmt.Errorf("estimate %s: %w", step.To.Name, explain(o.file, err, ""))
	}
	bytes, err := stream.Size(child.Stdout())
	if err != nil {
		err = explain(o.file, err, child.Stderr())
	}
	if err = errors.Join(err, child.Close()); err != nil {
		return 0, fmt.Errorf("estimate %s: %w", step.To.Name, err)
	}
	return bytes, nil
}
