package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Child is a running command. Its methods may be called concurrently, except
// that Stdout has one reader and Stdin one writer. Close must be called.
type Child struct {
	spec   Spec
	cmd    *exec.Cmd
	stdin  *os.File // ours; nil without Spec.Feed
	stdout *os.File // ours
	stderr *tail

	stop     chan struct{} // closed by the first Close
	stopOnce sync.Once
	done     chan struct{} // closed by supervise, when err is final
	err      error         // read only after done

	mu   sync.Mutex // guards gone
	gone bool       // the process has ended: its number is no longer ours to signal
}

// Start starts a command, which ends when ctx does. Errors: ErrMissing, what
// Before answered, what the system answered, the cause of ctx.
func Start(ctx context.Context, s Spec) (*Child, error) {
	if len(s.Args) == 0 {
		return nil, errors.New("start a command: no arguments")
	}
	if ctx.Err() != nil {
		return nil, fmt.Errorf("%s: %w", title(s.Args), context.Cause(ctx))
	}
	path, err := lookup(s.Args[0])
	if err != nil {
		return nil, err
	}
	c := newChild(s.withDefaults(), path)
	theirs, err := c.openPipes()
	if err == nil {
		err = c.fork()
	}
	closeAll(theirs...)
	if err != nil {
		closeAll(c.stdin, c.stdout)
		return nil, fmt.Errorf("start %s: %w", title(s.Args), err)
	}
	// Recorded before anybody may reap it: a child that is over already still has
	// its entry in /proc then.
	recorded := c.record()
	go c.supervise(ctx)
	if recorded != nil {
		return nil, errors.Join(recorded, c.Close())
	}
	return c, nil
}

func newChild(s Spec, path string) *Child {
	c := &Child{spec: s, stderr: &tail{alarm: s.Alarm}, stop: make(chan struct{}), done: make(chan struct{})}
	c.cmd = &exec.Cmd{
		Path: path, Args: s.Args, Dir: s.Dir, Env: environment(), Stderr: c.stderr,
		SysProcAttr: &syscall.SysProcAttr{Setpgid: true},
		// Who keeps standard error open after the child and its group are
		// dead does not keep us waiting.
		WaitDelay: s.Grace,
	}
	if s.Stdin != nil {
		c.cmd.Stdin = s.Stdin
	}
	if s.Lock != nil {
		c.cmd.ExtraFiles = []*os.File{s.Lock.file}
	}
	return c
}

// openPipes makes the pipes that the child gets as descriptors, so that no
// goroutine copies between it and us, and returns the child's ends.
func (c *Child) openPipes() (theirs []*os.File, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	widen(r)
	c.stdout, c.cmd.Stdout, theirs = r, w, append(theirs, w)
	if !c.spec.Feed {
		return theirs, nil
	}
	if r, w, err = os.Pipe(); err != nil {
		return theirs, err
	}
	widen(w)
	c.stdin, c.cmd.Stdin = w, r
	return append(theirs, r), nil
}

// widen is a wish: a kernel may refuse (fs.pipe-max-size, pipe-user-pages-soft).
// It does not use Fd, which would make our end block beyond the reach of Close.
func widen(f *os.File) {
	conn, err := f.SyscallConn()
	if err != nil {
		return
	}
	_ = conn.Control(func(fd uintptr) { _, _ = unix.FcntlInt(fd, unix.F_SETPIPE_SZ, pipeSize) })
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		if f != nil {
			_ = f.Close()
		}
	}
}

// fork starts the process, after Before on a thread of its own.
func (c *Child) fork() error {
	if c.spec.Before == nil {
		return c.cmd.Start()
	}
	return onThrowawayThread(func() error {
		if err := c.spec.Before(); err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
		return c.cmd.Start()
	})
}

// onThrowawayThread runs f on a thread that ends with it. The main thread cannot
// end: the runtime would park it for good, and with it the mount namespace that
// f made (and /proc/self would show that one). Where the goroutine finds itself
// there, it keeps the main thread occupied and passes f on.
func onThrowawayThread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			result <- onThrowawayThread(f)
			return
		}
		result <- f() // no UnlockOSThread: the thread dies with the goroutine
	}()
	return <-result
}

// record writes into the lock which process inherited it. A child that cannot
// be found again as an orphan does not run.
func (c *Child) record() error {
	if c.spec.Lock == nil {
		return nil
	}
	if err := c.spec.Lock.recordChild(c.Pid()); err != nil {
		return fmt.Errorf("start %s: %w", title(c.spec.Args), err)
	}
	return nil
}

// Pid is the process, and its process group.
func (c *Child) Pid() int { return c.cmd.Process.Pid }

// Stdin is the writing end of the child's standard input, nil without
// Spec.Feed. The caller closes it to end the input. Writing fails with EPIPE
// when the child has ended: ask Wait why.
func (c *Child) Stdin() *os.File { return c.stdin }

// Stdout reads what the child writes. It answers io.EOF only when all was read
// and the child has exited with 0; otherwise the error of Wait.
func (c *Child) Stdout() io.Reader { return output{c} }

type output struct{ c *Child }

func (o output) Read(p []byte) (int, error) {
	n, err := o.c.stdout.Read(p)
	if err == nil || n > 0 {
		return n, nil
	}
	if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
		return 0, fmt.Errorf("read from %s: %w", title(o.c.spec.Args), err)
	}
	if werr := o.c.Wait(); werr != nil {
		return 0, werr
	}
	if errors.Is(err, os.ErrClosed) {
		return 0, fmt.Errorf("%s: %w", title(o.c.spec.Args), ErrClosed)
	}
	return 0, io.EOF
}

// Stderr is the end of what the child wrote to standard error so far.
func (c *Child) Stderr() string { return c.stderr.String() }

// Alarm is the first line on standard error that begins with Spec.Alarm; "" if
// there was none so far.
func (c *Child) Alarm() string { return c.stderr.alarmed() }

// Wait waits for the child to end; one that waits for its input or for somebody
// to read its output ends only with its context. Errors: *ExitError, ErrStuck,
// ErrClosed, the cause of the context.
func (c *Child) Wait() error {
	<-c.done
	return c.err
}

// Close ends the child, if it has not ended, waits for it and closes the pipes.
// It may be called again. Errors: ErrStuck.
func (c *Child) Close() error {
	c.stopOnce.Do(func() { close(c.stop) })
	<-c.done
	closeAll(c.stdin, c.stdout)
	if errors.Is(c.err, ErrStuck) {
		return c.err
	}
	return nil
}

// supervise waits for the child, or ends it with ctx or Close.
func (c *Child) supervise(ctx context.Context) {
	defer close(c.done)
	ended := make(chan error, 1)
	go func() { ended <- c.reap() }()
	select {
	case err := <-ended:
		c.err = c.outcome(err, nil)
	case <-ctx.Done():
		c.err = c.end(ended, context.Cause(ctx))
	case <-c.stop:
		c.err = c.end(ended, ErrClosed)
	}
}

// end asks, then kills, then gives up. What the child writes interests nobody any more,
// and a `zfs send -w` that waits in the kernel for room in its pipe feels no signal; that
// the pipe is broken it does. A `zfs receive` that waits there for input may sleep on with
// a SIGKILL; the end of the input wakes it. Before that signal it would take a part for all.
func (c *Child) end(ended <-chan error, why error) error {
	closeAll(c.stdout)
	for _, try := range []struct {
		sig  syscall.Signal
		wait time.Duration
	}{{syscall.SIGTERM, c.spec.Grace}, {syscall.SIGKILL, c.spec.Patience}} {
		c.signal(try.sig)
		if try.sig == syscall.SIGKILL {
			closeAll(c.stdin)
		}
		timer := time.NewTimer(try.wait)
		select {
		case err := <-ended:
			timer.Stop()
			return c.outcome(err, why)
		case <-timer.C:
		}
	}
	return fmt.Errorf("%s: process %d (%w) %w", title(c.spec.Args), c.Pid(), why, ErrStuck)
}

// signal signals the group, unless its leader has ended: reap sees to the rest.
func (c *Child) signal(sig syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.gone {
		_ = c.spec.signal(-c.Pid(), sig) // ESRCH: it ended just now
	}
}

// reap waits for the child, kills what it leaves of its group while its number
// cannot be given to anybody else, and collects its status.
func (c *Child) reap() error {
	for {
		err := unix.Waitid(unix.P_PID, c.Pid(), nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	c.mu.Lock()
	c.gone = true
	_ = syscall.Kill(-c.Pid(), syscall.SIGKILL)
	c.mu.Unlock()
	return c.cmd.Wait()
}

// outcome tells what a child's end means. One that succeeded before it felt
// that it should end has succeeded.
func (c *Child) outcome(waited, why error) error {
	state := c.cmd.ProcessState
	switch {
	case state == nil:
		return fmt.Errorf("wait for %s: %w", title(c.spec.Args), waited)
	case state.Success():
		return nil
	case why != nil:
		return fmt.Errorf("%s: %w", title(c.spec.Args), why)
	}
	e := &ExitError{Args: c.spec.Args, Code: state.ExitCode(), Stderr: c.stderr.String()}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		e.Signal = ws.Signal()
	}
	return e
}

// tail keeps the last MaxStderr bytes that were written to it, and the first
// line that begins with alarm.
type tail struct {
	alarm string

	mu    sync.Mutex // guards what follows
	buf   []byte     // at most twice MaxStderr
	cut   bool       // something before buf was dropped
	line  []byte     // the beginning of the line that is being written
	first string     // line of alarm
}

// Write never fails and never blocks the child.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(p)
	t.watch(p)
	if over := len(p) - MaxStderr; over > 0 {
		p, t.cut = p[over:], true
	}
	t.buf = append(t.buf, p...)
	if over := len(t.buf) - MaxStderr; over > MaxStderr/2 {
		t.buf, t.cut = append(t.buf[:0], t.buf[over:]...), true
	}
	return n, nil
}

// watch looks at the lines in p; the caller holds mu.
func (t *tail) watch(p []byte) {
	if t.alarm == "" {
		return
	}
	for ended := true; ended && t.first == ""; {
		var part []byte
		part, p, ended = bytes.Cut(p, []byte("\n"))
		t.line = append(t.line, part[:min(len(part), maxLine-len(t.line))]...)
		if ended {
			t.endLine()
		}
	}
}

func (t *tail) endLine() {
	if bytes.HasPrefix(t.line, []byte(t.alarm)) {
		t.first = string(t.line)
	}
	t.line = t.line[:0]
}

// alarmed is the first line of alarm, also if it is not ended.
func (t *tail) alarmed() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.first == "" && t.alarm != "" && bytes.HasPrefix(t.line, []byte(t.alarm)) {
		return string(t.line)
	}
	return t.first
}

// String returns at most MaxStderr bytes; where earlier ones were dropped it
// starts with a whole line.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, cut := string(t.buf), t.cut
	if over := len(s) - MaxStderr; over > 0 {
		s, cut = s[over:], true
	}
	if _, rest, found := strings.Cut(s, "\n"); cut && found {
		return rest
	}
	return s
}
