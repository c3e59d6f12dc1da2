package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	volumeBytes  = 6 << 30 // sparse; what is not written takes no room
	toolTimeout  = 5 * time.Minute
	strikeWithin = time.Minute
	pollEvery    = 50 * time.Millisecond
)

// stage holds what was put on this machine, and takes it down again.
type stage struct {
	dir  string
	undo []func(context.Context) error // newest last
}

func newStage(below string) (*stage, error) {
	dir, err := os.MkdirTemp(below, "antipode-bench-")
	if err != nil {
		return nil, err
	}
	s := &stage{dir: dir}
	s.later(func(context.Context) error { return os.RemoveAll(dir) })
	return s, nil
}

// later adds something to take down.
func (s *stage) later(undo func(context.Context) error) { s.undo = append(s.undo, undo) }

// strike takes everything down, the newest first. It goes on after errors.
func (s *stage) strike() error { return s.strikeTo(0) }

// strikeTo takes down what was added since there were so many things.
func (s *stage) strikeTo(mark int) error {
	ctx, cancel := context.WithTimeout(context.Background(), strikeWithin)
	defer cancel()
	var errs []error
	for len(s.undo) > mark {
		last := len(s.undo) - 1
		undo := s.undo[last]
		s.undo = s.undo[:last]
		errs = append(errs, undo(ctx))
	}
	return errors.Join(errs...)
}

// volume is a Btrfs file system in a sparse file.
type volume struct {
	image, dir string
}

// volume makes and mounts one. Its loop device is detached at once, which means:
// as soon as it is unmounted.
func (s *stage) volume(ctx context.Context, name string) (*volume, error) {
	v := &volume{image: filepath.Join(s.dir, name+".img"), dir: filepath.Join(s.dir, name)}
	if err := os.WriteFile(v.image, nil, 0o600); err != nil {
		return nil, err
	}
	s.later(func(context.Context) error { return errors.Join(os.Remove(v.image), os.Remove(v.dir)) })
	if err := errors.Join(os.Truncate(v.image, volumeBytes), os.Mkdir(v.dir, 0o755)); err != nil {
		return nil, err
	}
	if _, err := tool(ctx, "mkfs.btrfs", "--quiet", v.image); err != nil {
		return nil, err
	}
	device, err := tool(ctx, "losetup", "--find", "--show", v.image)
	if err != nil {
		return nil, err
	}
	_, err = tool(ctx, "mount", "-t", "btrfs", device, v.dir)
	if err == nil {
		s.later(v.unmount)
	}
	_, detach := tool(context.WithoutCancel(ctx), "losetup", "--detach", device)
	return v, errors.Join(err, detach)
}

// unmount falls back to a lazy unmount: the file system vanishes with its last
// user.
func (v *volume) unmount(ctx context.Context) error {
	_, err := tool(ctx, "umount", v.dir)
	if err != nil {
		_, err = tool(ctx, "umount", "--lazy", v.dir)
	}
	return err
}

// tool runs a program and returns its standard output. What it wrote to standard
// error is part of the error.
func tool(ctx context.Context, name string, args ...string) (string, error) {
	out, _, err := timed(ctx, name, args...)
	return out, err
}

// timed is tool; it also tells the processor time of the program and all that it
// waited for.
func timed(ctx context.Context, name string, args ...string) (string, time.Duration, error) {
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

// until asks again and again until done, an error, or the end of ctx.
func until(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
