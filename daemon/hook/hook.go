// Package hook runs the operator's own commands: argv without a shell, the facts
// in ANTIPODE_* variables, a time limit, and bounded output. It does not know
// when or why a command is run.
package hook

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Limits of a command.
const (
	DefaultTimeout = 60 * time.Second
	DefaultGrace   = 5 * time.Second // from SIGTERM to SIGKILL, and from there to giving up
	MaxOutputBytes = 32 << 10
	MaxValueBytes  = 16 << 10 // of one variable; the kernel's bound for one string is 128 KiB
)

// Prefix stands in front of the name of every variable that Run sets.
const Prefix = "ANTIPODE_"

var (
	// ErrTimeout means that the command did not end in time and was killed, with what it had started.
	ErrTimeout = errors.New("did not end in time and was killed")
	// ErrStuck means that it could not even be killed: it hangs in the kernel.
	ErrStuck = errors.New("cannot be killed, it hangs in the kernel")
)

// Command is what the operator wants to be run.
type Command struct {
	Argv    []string      // Argv[0] is an absolute path
	Timeout time.Duration // DefaultTimeout if 0
	Grace   time.Duration // DefaultGrace if 0
}

// Result is what came of it.
type Result struct {
	Output  string // standard output and error together, at most MaxOutputBytes
	Cut     int64  // bytes of output that did not fit
	Code    int    // exit status; -1 if it did not end by itself
	Elapsed time.Duration
}

// Run runs the command in "/" with standard input empty, and waits for it. env
// maps names without Prefix to values. The result is filled in as far as it is
// known, also with an error: ErrTimeout, ErrStuck, the context's, an
// *exec.ExitError where it exited with anything but 0, or why it did not start.
func Run(ctx context.Context, c Command, env map[string]string) (Result, error) {
	if len(c.Argv) == 0 || !filepath.IsAbs(c.Argv[0]) {
		return Result{Code: -1}, fmt.Errorf("run hook %q: want the absolute path of a program first", c.Argv)
	}
	c = c.withDefaults()
	out := &output{limit: MaxOutputBytes}
	cmd := exec.Command(c.Argv[0], c.Argv[1:]...)
	cmd.Dir = "/"
	cmd.Env = environment(os.Environ(), env)
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = c.Grace // for output that a grandchild keeps open
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return Result{Code: -1}, fmt.Errorf("run hook %s: %w", c.Argv[0], explainStart(err))
	}
	err := c.supervise(ctx, cmd)
	r := Result{Elapsed: time.Since(start), Code: -1}
	r.Output, r.Cut = out.text()
	if !errors.Is(err, ErrStuck) {
		r.Code = cmd.ProcessState.ExitCode()
	}
	if err != nil {
		return r, fmt.Errorf("run hook %s: %w%s", c.Argv[0], err, lastLine(r.Output))
	}
	return r, nil
}

// Startable tells why a program cannot be started, as far as the file shows.
func Startable(program string) error {
	if _, err := exec.LookPath(program); err != nil {
		return explainStart(err)
	}
	return nil
}

func (c Command) withDefaults() Command {
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Grace <= 0 {
		c.Grace = DefaultGrace
	}
	return c
}

// supervise waits for the command, and ends its process group when its time is up
// or ctx ends. It returns within Timeout + 2 * Grace, whatever the command does.
func (c Command) supervise(ctx context.Context, cmd *exec.Cmd) error {
	var exit error // written before done is closed
	done := make(chan struct{})
	go func() { // outlives us only if the command hangs in the kernel
		defer close(done)
		exit = cmd.Wait()
	}()
	limit := time.NewTimer(c.Timeout)
	defer limit.Stop()

	var cause error
	select {
	case <-done:
		if errors.Is(exit, exec.ErrWaitDelay) {
			return nil // it succeeded, and left something behind that holds its output
		}
		return exit
	case <-limit.C:
		cause = fmt.Errorf("%w (limit %s)", ErrTimeout, c.Timeout)
	case <-ctx.Done():
		cause = context.Cause(ctx)
	}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		signalGroup(cmd, sig)
		if await(done, c.Grace) {
			signalGroup(cmd, syscall.SIGKILL) // what did not heed SIGTERM and outlived the leader
			return cause
		}
	}
	return fmt.Errorf("%w (pid %d)", ErrStuck, cmd.Process.Pid)
}

// await reports whether the command ended within d.
func await(done <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-done:
		return true
	case <-t.C:
		return false
	}
}

// signalGroup reaches the command and all that it started.
func signalGroup(cmd *exec.Cmd, sig syscall.Signal) {
	_ = syscall.Kill(-cmd.Process.Pid, sig) // a group that is gone is what we want
}

// environment is ours, without what systemd meant for the daemon alone, and with
// the facts.
func environment(own []string, facts map[string]string) []string {
	var env []string
	for _, v := range own {
		name, _, _ := strings.Cut(v, "=")
		switch name {
		case "NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES":
			continue
		}
		if !strings.HasPrefix(name, Prefix) {
			env = append(env, v)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(facts)) {
		env = append(env, Prefix+name+"="+clean(facts[name]))
	}
	return env
}

// clean makes a value that a variable can hold: a NUL would end it, or keep the
// command from starting, as would too long a one.
func clean(s string) string {
	s = strings.ReplaceAll(s, "\x00", "")
	if len(s) > MaxValueBytes {
		s = s[:MaxValueBytes]
	}
	return strings.ToValidUTF8(s, "?")
}

func explainStart(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("it, or the interpreter that it names, does not exist: %w", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("it cannot be executed, try `chmod +x`: %w", err)
	}
	return err
}

// lastLine ends an error with what the command said last.
func lastLine(output string) string {
	lines := strings.Split(strings.TrimSpace(output), "\n")
	last := strings.TrimSpace(lines[len(lines)-1])
	if last == "" {
		return ""
	}
	return fmt.Sprintf(": it said %.200q", last)
}
