// Package command runs the tools of a file system: argv and never a shell, an
// environment of our own, a process group of its own, bounded standard error,
// and an end for every child: asked with SIGTERM, then killed with all of its
// group, then given up when it hangs in the kernel.
//
// It starts nothing by itself and knows nothing of file systems, datasets or
// jobs; callers map its errors to their own.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

var (
	// ErrMissing means: the program is not installed or not where we look.
	ErrMissing = errors.New("not installed, or not in PATH")
	// ErrStuck means: the process did not end when it was killed: it hangs in the
	// kernel. It may still run, and still holds its Lock.
	ErrStuck = errors.New("does not end when killed, it hangs in the kernel")
	// ErrClosed means: the child was ended by Close before it was done.
	ErrClosed = errors.New("ended by its caller")
	// ErrTooLong means: the child wrote more to standard output than Run keeps.
	ErrTooLong = errors.New("more output than expected")
)

const (
	// MaxStderr is how much of the end of standard error is kept, in bytes.
	MaxStderr = 32 << 10
	maxLine   = 4 << 10 // of a line that is looked at for Spec.Alarm, in bytes
	// MaxOutput is how much standard output Run accepts, in bytes.
	MaxOutput = 64 << 20
	// pipeSize is what our pipes are made to hold: fewer switches between the
	// processes of a stream. The kernel's own 64 KiB serve where it says no.
	pipeSize = 1 << 20

	defaultGrace    = 5 * time.Second
	defaultPatience = 15 * time.Second
	extraPath       = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
)

// Spec says what to run.
type Spec struct {
	// Args is the command line; Args[0] is the program, looked up in PATH and
	// the usual sbin directories, which an operator's shell often leaves out.
	Args []string
	// Dir is where it runs; "" is where we run.
	Dir string
	// Stdin is given to the child as it is and stays the caller's. Nil is
	// /dev/null, unless Feed is set.
	Stdin *os.File
	// Feed makes a pipe whose writing end is Child.Stdin. Not with Stdin.
	Feed bool
	// Lock, if any, is inherited by the child, so that it stays locked as long
	// as the child lives, and records which process that is.
	Lock *Lock
	// Before, if any, runs just before the fork, on a thread that only this
	// child is forked from and that ends afterwards: what it does to the thread
	// (a mount namespace) is the child's and nobody else's.
	Before func() error
	// Alarm is the beginning of a line on standard error that must not be missed,
	// however much follows it; see Child.Alarm. "" is none.
	Alarm string
	// Grace is how long the child may take to end after SIGTERM; 0 is 5 s.
	Grace time.Duration
	// Patience is how long we wait after SIGKILL before ErrStuck; 0 is 15 s.
	Patience time.Duration

	// signal replaces kill(2) in tests of what cannot be killed.
	signal func(pid int, sig syscall.Signal) error
}

// withDefaults fills in what was left zero.
func (s Spec) withDefaults() Spec {
	if s.Grace <= 0 {
		s.Grace = defaultGrace
	}
	if s.Patience <= 0 {
		s.Patience = defaultPatience
	}
	if s.signal == nil {
		s.signal = syscall.Kill
	}
	return s
}

// ExitError is a child that ended with anything but success.
type ExitError struct {
	Args   []string
	Code   int            // exit status; -1 if a signal ended it
	Signal syscall.Signal // 0 unless a signal ended it
	Stderr string         // the end of standard error, at most MaxStderr bytes
}

// Error names the command, how it ended and what it last said.
func (e *ExitError) Error() string {
	how := fmt.Sprintf("exit status %d", e.Code)
	if e.Signal != 0 {
		how = fmt.Sprintf("ended by signal %d (%v)", int(e.Signal), e.Signal)
	}
	if said := strings.TrimSpace(e.Stderr); said != "" {
		how += ": " + said
	}
	return title(e.Args) + ": " + how
}

// Run runs a command to its end and returns what it wrote to standard output.
// Errors means: ErrMissing, *ExitError, ErrTooLong, ErrStuck, the cause of ctx.
func Run(ctx context.Context, s Spec) ([]byte, error) {
	c, err := Start(ctx, s)
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(c.Stdout(), MaxOutput+1))
	if err == nil && len(out) > MaxOutput {
		err = fmt.Errorf("%s: %w (%d bytes)", title(s.Args), ErrTooLong, MaxOutput)
	}
	if cerr := c.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, err
	}
	return out, nil
}

// title is a command line as an operator would type it, cut where it is long.
func title(args []string) string {
	const most = 300
	t := strings.Join(args, " ")
	if len(t) > most {
		t = t[:most] + "..."
	}
	return t
}

// searchPath is PATH with the directories that tools of file systems live in.
func searchPath() string {
	if p := os.Getenv("PATH"); p != "" {
		return p + ":" + extraPath
	}
	return extraPath
}

// environment is all that a child gets: its messages are parsed, so they are
// in no language but C's, and its times in no zone but UTC.
func environment() []string {
	return []string{"PATH=" + searchPath(), "LC_ALL=C", "TZ=UTC"}
}

// lookup finds a program. A name with a slash is taken as it is.
func lookup(name string) (string, error) {
	if strings.Contains(name, "/") {
		if isProgram(name) {
			return name, nil
		}
		return "", fmt.Errorf("%s: %w", name, ErrMissing)
	}
	for _, dir := range filepath.SplitList(searchPath()) {
		// A relative directory in PATH would run what lies where we stand.
		if p := filepath.Join(dir, name); filepath.IsAbs(dir) && isProgram(p) {
			return p, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, ErrMissing)
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
