package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrLocked means: another process, or another part of this one, holds the lock, and
// its owner lives.
var ErrLocked = errors.New("locked by a running process")

const (
	maxRecord  = 256 // bytes; more is not a record of ours
	lockPoll   = 20 * time.Millisecond
	recordHead = "antipode-lock 1"
)

// Lock is an exclusive flock(2) on a file. A child that inherits it keeps it
// locked for as long as it lives, even when its daemon is gone. The file says who
// took it and which child inherited it:
//
//	antipode-lock 1
//	owner PID STARTTIME
//	child PID STARTTIME
//
// STARTTIME is field 22 of /proc/PID/stat: together with the PID it names one
// process of this boot. flock does not outlive a boot, so neither needs the record.
//
// A daemon that dies between starting a child and recording it leaves an orphan
// that cannot be named. Its pipes are broken, so it ends by itself.
type Lock struct {
	file  *os.File
	owner process
}

// process is one process, distinct from a later one with the same number.
type process struct {
	pid   int
	start uint64 // clock ticks since boot
}

// TryLock takes the lock at path, and makes the file if it is missing. Errors:
// ErrLocked, also when the holder is an orphan (see EndOrphan).
func TryLock(path string) (*Lock, error) {
	for range 8 { // again only if the file was replaced under us
		l, err := tryLock(path)
		if l != nil || err != nil {
			return l, err
		}
	}
	return nil, fmt.Errorf("lock %s: the file is replaced again and again", path)
}

// tryLock returns nil, nil if the file it locked is no longer the one at path.
func tryLock(path string) (*Lock, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	l := &Lock{file: f}
	err = flock(f)
	if err == nil {
		err = l.recordOwner()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	if !isAt(f, path) {
		return nil, f.Close()
	}
	return l, nil
}

func flock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return ErrLocked
		default:
			return err
		}
	}
}

// isAt reports whether path still names f: a file that was removed after we
// opened it keeps nobody out.
func isAt(f *os.File, path string) bool {
	ours, err1 := f.Stat()
	there, err2 := os.Lstat(path)
	return err1 == nil && err2 == nil && os.SameFile(ours, there)
}

// Close lets go of the lock; it stays locked until the child that inherited it
// has ended too. (LOCK_UN would take it from the child.)
func (l *Lock) Close() error { return l.file.Close() }

func (l *Lock) recordOwner() error {
	start, _, err := inspect(os.Getpid())
	if err != nil {
		return err
	}
	l.owner = process{os.Getpid(), start}
	return l.write(process{})
}

func (l *Lock) recordChild(pid int) error {
	start, _, err := inspect(pid)
	if err != nil {
		return fmt.Errorf("record process %d: %w", pid, err)
	}
	return l.write(process{pid, start})
}

func (l *Lock) write(child process) error {
	text := fmt.Sprintf("%s\nowner %d %d\nchild %d %d\n", recordHead, l.owner.pid, l.owner.start, child.pid, child.start)
	if _, err := l.file.WriteAt([]byte(text), 0); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return l.file.Truncate(int64(len(text)))
}

// EndOrphan makes sure that nobody holds the lock at path whose daemon is gone:
// it ends the process group of the recorded child (SIGTERM, then SIGKILL) and
// waits until the lock is free. A lock that nobody holds, or that is missing,
// is success. It holds the lock itself for an instant, so that a TryLock beside it
// may answer ErrLocked. Errors: ErrLocked (its owner lives, or it names no child), ErrStuck, the cause
// of ctx.
func EndOrphan(ctx context.Context, path string) error {
	return endOrphan(ctx, path, defaultGrace, defaultPatience)
}

func endOrphan(ctx context.Context, path string, grace, patience time.Duration) error {
	free, owner, child, err := look(path)
	if free || err != nil {
		return err
	}
	if owner.isAlive() {
		return fmt.Errorf("end orphan at %s: %w (process %d)", path, ErrLocked, owner.pid)
	}
	for _, try := range []struct {
		sig  syscall.Signal
		wait time.Duration
	}{{syscall.SIGTERM, grace}, {syscall.SIGKILL, patience}} {
		if child.isAlive() {
			_ = syscall.Kill(-child.pid, try.sig) // it leads its group: Setpgid
		}
		free, err := awaitFree(ctx, path, try.wait)
		if free || err != nil {
			return err
		}
	}
	if child.pid == 0 { // its owner died before it could write down whom it had started
		return fmt.Errorf("end orphan at %s: %w by a process that it does not name", path, ErrLocked)
	}
	return fmt.Errorf("end orphan at %s: process %d %w", path, child.pid, ErrStuck)
}

// look tells whether the lock at path is free, and otherwise what it records.
func look(path string) (free bool, owner, child process, err error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return true, owner, child, nil
	}
	if err != nil {
		return false, owner, child, fmt.Errorf("end orphan: %w", err)
	}
	defer f.Close()
	switch err = flock(f); {
	case err == nil:
		return true, owner, child, nil
	case !errors.Is(err, ErrLocked):
		return false, owner, child, fmt.Errorf("end orphan at %s: %w", path, err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxRecord))
	if err != nil {
		return false, owner, child, fmt.Errorf("end orphan: %w", err)
	}
	owner, child = parseRecord(string(text))
	return false, owner, child, nil
}

// parseRecord reads what write wrote; anything else names nobody.
func parseRecord(text string) (owner, child process) {
	lines := strings.Split(text, "\n")
	if len(lines) != 4 || lines[0] != recordHead || lines[3] != "" {
		return process{}, process{}
	}
	return parseProcess(lines[1], "owner"), parseProcess(lines[2], "child")
}

func parseProcess(line, who string) process {
	f := strings.Split(line, " ")
	if len(f) != 3 || f[0] != who {
		return process{}
	}
	pid, err1 := strconv.ParseInt(f[1], 10, 32)
	start, err2 := strconv.ParseUint(f[2], 10, 64)
	// 1 is init and below is nobody: kill(-1) would be everybody.
	if err1 != nil || err2 != nil || pid <= 1 && who == "child" || pid < 1 {
		return process{}
	}
	return process{int(pid), start}
}

// awaitFree waits until nobody holds the lock.
func awaitFree(ctx context.Context, path string, most time.Duration) (free bool, err error) {
	timer := time.NewTimer(most)
	defer timer.Stop()
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for {
		free, owner, _, err := look(path)
		if free || err != nil {
			return free, err
		}
		if owner.isAlive() { // somebody took it since, or had not yet signed it
			return false, fmt.Errorf("end orphan at %s: %w (process %d)", path, ErrLocked, owner.pid)
		}
		select {
		case <-ctx.Done():
			return false, fmt.Errorf("end orphan at %s: %w", path, context.Cause(ctx))
		case <-timer.C:
			return false, nil
		case <-tick.C:
		}
	}
}

// isAlive reports whether this very process runs; a zombie holds no lock.
func (p process) isAlive() bool {
	if p.pid == 0 {
		return false
	}
	start, state, err := inspect(p.pid)
	return err == nil && start == p.start && state != 'Z' && state != 'X'
}

// inspect reads the start time and the state of a process from /proc (proc(5)).
func inspect(pid int) (start uint64, state byte, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	return parseStat(string(stat))
}

// parseStat reads fields 3 and 22. The name of the program, field 2, is in
// parentheses and may hold anything, parentheses and spaces too.
func parseStat(stat string) (start uint64, state byte, err error) {
	i := strings.LastIndexByte(stat, ')')
	if i < 0 {
		return 0, 0, fmt.Errorf("no process in %q", stat)
	}
	f := strings.Fields(stat[i+1:])
	if len(f) < 20 || len(f[0]) != 1 {
		return 0, 0, fmt.Errorf("no start time in %q", stat)
	}
	start, err = strconv.ParseUint(f[19], 10, 64)
	return start, f[0][0], err
}
