// Package send is one `zfs send`: which snapshots of a dataset a step names, the arguments,
// a resume token of our own making, and the child that runs. It does not know whether the
// dataset is live or a replica.
package send

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync/atomic"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/internal/command"
	"antipode/fsdrivers/zfs/cli"
	"antipode/fsdrivers/zfs/pool"
	"antipode/fsdrivers/zfs/stream"
	"antipode/fsdrivers/zfs/token"
)

// parseSize reads `zfs send -nP`: the last line is "size", a tab, and bytes.
func parseSize(out string) (int64, error) {
	for line := range strings.Lines(out) {
		if size, found := strings.CutPrefix(line, "size\t"); found {
			n, err := strconv.ParseInt(strings.TrimSpace(size), 10, 63)
			if err != nil || n < 0 {
				return 0, fmt.Errorf("cannot read the size %.80q of zfs send", size)
			}
			return n, nil
		}
	}
	return 0, fmt.Errorf("zfs send -nP printed no size: %.200q", out)
}

// Plan is what a step means on this host.
type Plan struct {
	ds   string
	to   pool.Entry
	from pool.Entry // zero for a full step
	raw  bool
}

// New plans a step between two of the snapshots and bookmarks of ds, raw or not. Both ends
// are looked up by identity; their names may have changed. Errors: ErrNotFound,
// ErrBaseMissing.
func New(ds string, all []pool.Entry, step dataset.Step, raw bool) (Plan, error) {
	p := Plan{ds: ds, raw: raw}
	return p, p.ends(all, step)
}

// Start runs the step as one single one: `zfs send -w` or `-L -c`, with -i from a snapshot
// or a bookmark. From a checkpoint it goes on with a token of our own making: only the
// position is taken from the target's.
func (p Plan) Start(ctx context.Context, z *pool.Host, step dataset.Step, from dataset.Checkpoint) (io.ReadCloser, error) {
	args := p.args()
	if !from.IsZero() {
		var err error
		if args, err = p.resume(step, from); err != nil {
			return nil, err
		}
	}
	s := &sending{zfs: z, on: p.ds, what: p.to.Name, resumed: !from.IsZero()}
	ctx, s.unwatch = z.Watch(ctx, p.ds, s.moved)
	var err error
	if s.child, err = z.Start(ctx, p.ds, command.Spec{Args: args}); err != nil {
		s.unwatch()
		return nil, err
	}
	return s, nil
}

// Estimate asks how many bytes the step has. From a bookmark ZFS may not know, and what it
// says is sometimes absurd (openzfs issue 12265).
func (p Plan) Estimate(ctx context.Context, z *pool.Host) (int64, error) {
	out, err := z.Run(ctx, p.ds, append([]string{"send", "-n", "-P"}, p.args()[1:]...)...)
	if err != nil {
		return 0, err
	}
	return parseSize(out)
}

// IsRaw says how a dataset is sent.
func IsRaw(flags string, encrypted bool) (bool, error) {
	switch flags {
	case stream.FlagsAuto:
		return encrypted, nil
	case stream.FlagsPlain:
		return false, nil
	case stream.FlagsRaw:
		if !encrypted {
			return false, fmt.Errorf("raw is for encrypted datasets, and this one is not: %w", dataset.ErrRefused)
		}
		return true, nil
	}
	return false, fmt.Errorf("send flags %q: want %q, %q or none: %w", flags, stream.FlagsRaw, stream.FlagsPlain, dataset.ErrRefused)
}

// ends finds both ends of the step. A snapshot is better than a bookmark: with it
// zfs knows how big the step is.
func (p *Plan) ends(all []pool.Entry, step dataset.Step) error {
	for _, e := range all {
		switch {
		case e.ID() == step.To.ID && e.IsSnapshot():
			p.to = e
		case e.ID() == step.From.ID && (p.from.Name == "" || e.IsSnapshot()):
			p.from = e
		}
	}
	if p.to.Name == "" {
		return fmt.Errorf("snapshot %s (%s) of %s: %w", step.To.Name, step.To.ID, p.ds, dataset.ErrNotFound)
	}
	if !step.IsFull() && p.from.Name == "" {
		return fmt.Errorf("base %s (%s) of %s, or a bookmark of it: %w", step.From.Name, step.From.ID, p.ds, dataset.ErrBaseMissing)
	}
	return nil
}

func (p Plan) flags() []string {
	if p.raw {
		return []string{"-w"}
	}
	return []string{"-L", "-c"}
}

func (p Plan) args() []string {
	args := append([]string{"send"}, p.flags()...)
	if p.from.Name != "" {
		args = append(args, "-i", p.from.Name)
	}
	return append(args, p.to.Name)
}

// token is the token of this step at its beginning.
func (p Plan) token() token.Token {
	return token.Token{
		Position: stream.Position{Object: 1}, ToGUID: p.to.GUID, FromGUID: p.from.GUID, ToName: p.to.Name,
		LargeOK: true, PackedOK: true, RawOK: p.raw,
	}
}

// resume makes the arguments of a send that goes on. Errors: ErrStaleCheckpoint.
func (p Plan) resume(step dataset.Step, from dataset.Checkpoint) ([]string, error) {
	if from.Kind != stream.CheckpointKind || from.Step != step.ID() {
		return nil, fmt.Errorf("this driver cannot go on from a %q checkpoint of step %s: %w", from.Kind, from.Step, dataset.ErrStaleCheckpoint)
	}
	theirs, err := token.Parse(string(from.Opaque))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", dataset.ErrStaleCheckpoint, err)
	}
	mine := p.token()
	if what := theirs.Fits(mine); what != "" {
		return nil, fmt.Errorf("the target's resume token: %s: %w", what, dataset.ErrStaleCheckpoint)
	}
	mine.Position, mine.Bytes = theirs.Position, theirs.Bytes
	args := []string{"send"}
	if p.raw {
		args = append(args, "-w") // whatever the token says (openzfs issue 14153)
	}
	return append(args, "-t", mine.String()), nil
}

// sending is a running send.
// It embeds nothing: io.Copy would find an *os.File's WriteTo.
type sending struct {
	zfs     *pool.Host
	child   *cli.Child
	on      string
	what    string
	resumed bool
	reads   atomic.Int64 // odd while a Read waits
	unwatch func()
	closed  bool
}

// moved stays the same only while one Read waits. A send that nobody reads from, because the
// link is down, waits for us and not for its pool.
func (s *sending) moved() int64 {
	if n := s.reads.Load(); n%2 != 0 {
		return n
	}
	return s.reads.Add(2)
}

// Read answers io.EOF only when the child exited with 0. Errors: ErrCut, and in a resumed
// send ErrStaleCheckpoint, when nothing is at the position in the token; ErrStuck where the
// pool is suspended.
func (s *sending) Read(p []byte) (int, error) {
	s.reads.Add(1)
	defer s.reads.Add(1)
	n, err := s.child.Stdout().Read(p)
	if err == nil || errors.Is(err, io.EOF) {
		return n, err
	}
	err = cli.Explain(s.on, err, s.child.Stderr())
	if s.resumed && errors.Is(err, cli.ErrNoEntry) {
		err = fmt.Errorf("%w: nothing is at the position in the resume token: %w", dataset.ErrStaleCheckpoint, err)
	}
	return n, fmt.Errorf("send %s: %w: %w", s.what, dataset.ErrCut, err)
}

// Close ends the child and waits for it.
func (s *sending) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	defer s.unwatch()
	if err := s.zfs.End(s.child, s.on, nil); err != nil {
		return fmt.Errorf("end send of %s: %w", s.what, err)
	}
	return nil
}
