package stage

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	toolTimeout = 5 * time.Minute
	pollEvery   = 50 * time.Millisecond
)

// Tool runs a program and returns its standard output. What it wrote to standard
// error is part of the error.
func Tool(ctx context.Context, name string, args ...string) (string, error) {
	out, _, err := Timed(ctx, name, args...)
	return out, err
}

// Timed is Tool; it also tells the processor time of the program and of all that
// it waited for.
func Timed(ctx context.Context, name string, args ...string) (string, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, toolTimeout)
	defer cancel()
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	// A group of its own: Ctrl-C is for us, and what is cancelled goes as a whole.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := cmd.Run(); err != nil {
		return "", 0, fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, strings.TrimSpace(errOut.String()+out.String()))
	}
	return strings.TrimSpace(out.String()), cmd.ProcessState.SystemTime() + cmd.ProcessState.UserTime(), nil
}

// Until asks again and again until done, an error, or the end of ctx. It pauses at
// least as long as an answer takes: on a slow machine asking must not be all that it
// does.
func Until(ctx context.Context, done func() (bool, error)) error {
	for {
		began := time.Now()
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(max(pollEvery, time.Since(began))):
		}
	}
}
