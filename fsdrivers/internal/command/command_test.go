package command

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain is also the daemon that dies: see TestOrphanIsFoundAndEnded.
func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "die-after-start" {
		dieAfterStart(os.Args[2], os.Args[3])
	}
	os.Exit(m.Run())
}

func sh(script string, args ...string) Spec {
	return Spec{Args: append([]string{"sh", "-c", script, "sh"}, args...)}
}

// start starts a child that the test ends.
func start(t *testing.T, ctx context.Context, s Spec) *Child {
	t.Helper()
	c, err := Start(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// line reads one line: the child has come that far.
func line(t *testing.T, c *Child) string {
	t.Helper()
	var b []byte
	for one := make([]byte, 1); ; {
		if _, err := io.ReadFull(c.Stdout(), one); err != nil {
			t.Fatalf("child said %q and then: %v", b, err)
		}
		if one[0] == '\n' {
			return string(b)
		}
		b = append(b, one[0])
	}
}

func pidOf(t *testing.T, text string) int {
	t.Helper()
	pid, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// isGone waits until a process that is not our child has ended.
func isGone(t *testing.T, pid int) bool {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return true
	}
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
	return err == nil && n == 1
}

func TestRun(t *testing.T) {
	for name, c := range map[string]struct {
		spec Spec
		want string
	}{
		"output":      {sh("echo hello"), "hello\n"},
		"environment": {Spec{Args: []string{"env"}}, "PATH=" + searchPath() + "\nLC_ALL=C\nTZ=UTC\n"},
		"no shell":    {Spec{Args: []string{"echo", "$HOME; `id` '-x"}}, "$HOME; `id` '-x\n"},
		"directory":   {Spec{Args: []string{"pwd"}, Dir: "/"}, "/\n"},
		"stdin":       {Spec{Args: []string{"cat"}}, ""},
		"own group":   {sh(`ps=$(cut -d' ' -f5 /proc/$$/stat); [ $ps = $$ ] && echo leads`), "leads\n"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Run(t.Context(), c.spec)
			if err != nil || string(got) != c.want {
				t.Errorf("Run = %q, %v, want %q", got, err, c.want)
			}
		})
	}
}

func TestFailureTellsHowAndWhatWasSaid(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		code   int
		signal syscall.Signal
		text   string
	}{
		"exit status": {"echo ERROR: no such thing >&2; exit 3", 3, 0, "exit status 3: ERROR: no such thing"},
		"signal":      {"kill -SEGV $$", -1, syscall.SIGSEGV, "ended by signal 11"},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := Run(t.Context(), sh("echo half; "+c.script))
			var exit *ExitError
			if !errors.As(err, &exit) || out != nil {
				t.Fatalf("Run = %q, %v, want no output and an ExitError", out, err)
			}
			if exit.Code != c.code || exit.Signal != c.signal || !strings.Contains(err.Error(), c.text) {
				t.Errorf("error = %+v (%v), want code %d, signal %d and %q", exit, err, c.code, c.signal, c.text)
			}
		})
	}
}

func TestMissingProgramIsNamed(t *testing.T) {
	notProgram := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(notProgram, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"no-such-tool-of-any-kind", "/no/such/tool", notProgram, t.TempDir()} {
		_, err := Run(t.Context(), Spec{Args: []string{name, "list"}})
		if !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error = %v, want ErrMissing with the name", name, err)
		}
	}
	if _, err := Start(t.Context(), Spec{}); err == nil {
		t.Error("no arguments: no error")
	}
}

func TestRelativeDirectoryInPathIsNotSearched(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "planted-tool"), []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	t.Setenv("PATH", ".:/usr/bin:/bin")
	if _, err := Run(t.Context(), Spec{Args: []string{"planted-tool"}}); !errors.Is(err, ErrMissing) {
		t.Errorf("error = %v, want ErrMissing", err)
	}
}

// TestEndNeedsBothEOFAndSuccess: a child that wrote everything and then failed
// has not succeeded.
func TestEndNeedsBothEOFAndSuccess(t *testing.T) {
	c := start(t, t.Context(), sh("echo data; exec >&-; exit 7"))
	c2 := start(t, t.Context(), sh("echo data"))
	if got, err := io.ReadAll(c2.Stdout()); err != nil || string(got) != "data\n" {
		t.Errorf("child that succeeds: read %q, %v", got, err)
	}
	got, err := io.ReadAll(c.Stdout())
	var exit *ExitError
	if string(got) != "data\n" || !errors.As(err, &exit) || exit.Code != 7 {
		t.Errorf("child that fails after its output: read %q, %v, want its data and an ExitError", got, err)
	}
	if err := c.Wait(); !errors.As(err, &exit) {
		t.Errorf("Wait = %v, want the same", err)
	}
}

func TestFeed(t *testing.T) {
	s := Spec{Args: []string{"cat"}, Feed: true}
	c := start(t, t.Context(), s)
	data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go func() {
		_, _ = c.Stdin().Write(data)
		_ = c.Stdin().Close()
	}()
	got, err := io.ReadAll(c.Stdout())
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("cat gave back %d bytes, %v, want %d", len(got), err, len(data))
	}
}

func TestFeedingAChildThatFailedIsAnError(t *testing.T) {
	s := sh("echo broken >&2; exit 4")
	s.Feed = true
	c := start(t, t.Context(), s)
	var err error
	for block := make([]byte, 1<<20); err == nil; {
		_, err = c.Stdin().Write(block)
	}
	if !errors.Is(err, syscall.EPIPE) {
		t.Errorf("writing: %v, want EPIPE", err)
	}
	var exit *ExitError
	if err := c.Wait(); !errors.As(err, &exit) || exit.Code != 4 {
		t.Errorf("Wait = %v, want exit status 4", err)
	}
}

func TestPipesAreWide(t *testing.T) {
	s := Spec{Args: []string{"cat"}, Feed: true}
	c := start(t, t.Context(), s)
	conn, err := c.Stdin().SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	size := 0
	if err := conn.Control(func(fd uintptr) { size, err = unix.FcntlInt(fd, unix.F_GETPIPE_SZ, 0) }); err != nil {
		t.Fatal(err)
	}
	if err != nil || os.Geteuid() == 0 && size != pipeSize {
		t.Errorf("pipe holds %d bytes, %v, want %d", size, err, pipeSize)
	}
}

func TestStderrIsBounded(t *testing.T) {
	c := start(t, t.Context(), sh(`i=0; while [ $i -lt 3000 ]; do echo "line $i of standard error ..........." >&2; i=$((i+1)); done; exit 1`))
	err := c.Wait()
	got := c.Stderr()
	if len(got) > MaxStderr || !strings.HasSuffix(got, "line 2999 of standard error ...........\n") || !strings.HasPrefix(got, "line ") {
		t.Errorf("kept %d bytes, %.40q to %.60q, want whole lines up to the last within %d", len(got), got, got[max(0, len(got)-60):], MaxStderr)
	}
	var exit *ExitError
	if !errors.As(err, &exit) || exit.Stderr != got {
		t.Errorf("error does not carry the same: %.100v", err)
	}
}

func TestAlarm(t *testing.T) {
	for name, c := range map[string]struct {
		writes []string
		want   string
	}{
		"nothing":               {nil, ""},
		"other lines":           {[]string{"At subvol x\n", "WARNING: an ERROR: in it\n"}, ""},
		"among others":          {[]string{"At x\nERROR: gone\ny\n"}, "ERROR: gone"},
		"the first of two":      {[]string{"ERROR: 1\nERROR: 2\n"}, "ERROR: 1"},
		"in pieces":             {[]string{"a\nER", "ROR: go", "ne\nb"}, "ERROR: gone"},
		"not ended":             {[]string{"a\nERROR: gone"}, "ERROR: gone"},
		"not ended, and no":     {[]string{"ERROR"[:3]}, ""},
		"long before the end":   {[]string{"ERROR: gone\n", strings.Repeat("x\n", 2*MaxStderr)}, "ERROR: gone"},
		"in front of much":      {[]string{"ERROR: gone\n" + strings.Repeat("x\n", 2*MaxStderr)}, "ERROR: gone"},
		"behind a long line":    {[]string{strings.Repeat("x", 2*maxLine), "\nERROR: gone\n"}, "ERROR: gone"},
		"longer than is looked": {[]string{"ERROR" + strings.Repeat("x", maxLine)}, "ERROR" + strings.Repeat("x", maxLine-5)},
	} {
		tl := tail{alarm: "ERROR"}
		for _, w := range c.writes {
			if n, err := tl.Write([]byte(w)); n != len(w) || err != nil {
				t.Errorf("%s: Write = %d, %v, want all", name, n, err)
			}
		}
		if got := tl.alarmed(); got != c.want {
			t.Errorf("%s: got %.60q, want %.60q", name, got, c.want)
		}
	}
}

func TestTail(t *testing.T) {
	for name, c := range map[string]struct {
		writes []string
		want   string
	}{
		"nothing":       {nil, ""},
		"all of it":     {[]string{"a\n", "b\n"}, "a\nb\n"},
		"exactly full":  {[]string{strings.Repeat("x", MaxStderr)}, strings.Repeat("x", MaxStderr)},
		"one long":      {[]string{strings.Repeat("x", MaxStderr), "\nlast\n"}, "last\n"},
		"huge write":    {[]string{strings.Repeat("y\n", MaxStderr)}, strings.Repeat("y\n", MaxStderr/2-1)},
		"no line break": {[]string{strings.Repeat("z", 3*MaxStderr)}, strings.Repeat("z", MaxStderr)},
	} {
		t.Run(name, func(t *testing.T) {
			var b tail
			for _, w := range c.writes {
				if n, err := b.Write([]byte(w)); n != len(w) || err != nil {
					t.Errorf("Write = %d, %v", n, err)
				}
			}
			if got := b.String(); got != c.want {
				t.Errorf("kept %d bytes %.30q, want %d bytes %.30q", len(got), got, len(c.want), c.want)
			}
			if len(b.buf) > 2*MaxStderr {
				t.Errorf("holds %d bytes", len(b.buf))
			}
		})
	}
}

func TestOutputIsBounded(t *testing.T) {
	_, err := Run(t.Context(), Spec{Args: []string{"head", "-c", strconv.Itoa(MaxOutput + 1), "/dev/zero"}})
	if !errors.Is(err, ErrTooLong) {
		t.Errorf("error = %v, want ErrTooLong", err)
	}
}

func TestContextEndsTheWholeGroup(t *testing.T) {
	cause := errors.New("promoted")
	ctx, cancel := context.WithCancelCause(t.Context())
	c := start(t, ctx, sh("sleep 1000 & echo $!; wait"))
	grandchild := pidOf(t, line(t, c))
	cancel(cause)
	if _, err := io.ReadAll(c.Stdout()); !errors.Is(err, cause) {
		t.Errorf("reading: %v, want the cause of the context", err)
	}
	if err := c.Wait(); !errors.Is(err, cause) {
		t.Errorf("Wait = %v, want the cause of the context", err)
	}
	if !isGone(t, grandchild) {
		t.Errorf("grandchild %d lives", grandchild)
	}
	if _, err := Start(ctx, sh("true")); !errors.Is(err, cause) {
		t.Errorf("Start after the end: %v, want the cause of the context", err)
	}
}

func TestWhoIgnoresTermIsKilled(t *testing.T) {
	s := sh(`trap "" TERM; sleep 1000 & echo $!; wait; wait`)
	s.Grace = 20 * time.Millisecond
	c := start(t, t.Context(), s)
	grandchild := pidOf(t, line(t, c))
	if err := c.Close(); err != nil {
		t.Errorf("Close = %v", err)
	}
	if !isGone(t, c.Pid()) || !isGone(t, grandchild) {
		t.Error("child or grandchild lives")
	}
	if err := c.Wait(); !errors.Is(err, ErrClosed) {
		t.Errorf("Wait = %v, want ErrClosed", err)
	}
	if _, err := c.Stdout().Read(make([]byte, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("Read = %v, want ErrClosed", err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("second Close = %v", err)
	}
}

func TestGrandchildrenDoNotOutliveTheirLeader(t *testing.T) {
	c := start(t, t.Context(), sh("sleep 1000 >&- & echo $!"))
	grandchild := pidOf(t, line(t, c))
	if err := c.Wait(); err != nil {
		t.Errorf("Wait = %v", err)
	}
	if !isGone(t, grandchild) {
		t.Errorf("grandchild %d lives", grandchild)
	}
}

func TestSuccessBeforeTheEndIsSuccess(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := start(t, ctx, sh("trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done"))
	line(t, c)
	cancel()
	if err := c.Wait(); err != nil {
		t.Errorf("Wait = %v, want nil: the child ended with 0", err)
	}
}

// TestAChildThatWaitsForAReaderIsLetGo: signals get lost, as in a system call that
// goes on until it has written.
func TestAChildThatWaitsForAReaderIsLetGo(t *testing.T) {
	s := sh("echo up; exec cat /dev/zero")
	s.Grace = time.Minute
	s.signal = func(int, syscall.Signal) error { return nil }
	c := start(t, t.Context(), s)
	line(t, c)
	if err := c.Close(); err != nil {
		t.Errorf("Close = %v, want that the broken pipe ended it", err)
	}
	isGone(t, c.Pid())

	ctx, cancel := context.WithCancel(t.Context())
	c = start(t, ctx, s)
	line(t, c)
	cancel()
	if err := c.Wait(); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait = %v, want that the broken pipe ended it", err)
	}
	isGone(t, c.Pid())
}

// TestAChildThatSleepsAtItsInputIsWoken: by the end of the input, once it was killed and
// no sooner: it might take what it has for all.
func TestAChildThatSleepsAtItsInputIsWoken(t *testing.T) {
	s := sh("echo up; cat >/dev/null; exit 3")
	s.Feed, s.Grace, s.Patience = true, time.Millisecond, time.Minute
	var mu sync.Mutex
	var open []error
	var c *Child
	s.signal = func(int, syscall.Signal) error {
		mu.Lock()
		defer mu.Unlock()
		_, err := c.Stdin().Write([]byte("more"))
		open = append(open, err)
		return nil
	}
	c = start(t, t.Context(), s)
	line(t, c)
	if err := c.Close(); err != nil {
		t.Errorf("Close = %v, want that the end of its input ended it", err)
	}
	isGone(t, c.Pid())
	mu.Lock()
	defer mu.Unlock()
	if len(open) != 2 || open[0] != nil || open[1] != nil {
		t.Errorf("at the signals its input was %v, want it open at both", open)
	}
}

// TestStuckChildIsGivenUp: signals get lost, as with a child that hangs in the
// kernel. Nobody may hang with it.
func TestStuckChildIsGivenUp(t *testing.T) {
	s := sh("echo ready; sleep 1000")
	s.Feed, s.Grace, s.Patience = true, time.Millisecond, time.Millisecond
	s.signal = func(int, syscall.Signal) error { return nil }
	c := start(t, t.Context(), s)
	t.Cleanup(func() {
		_ = syscall.Kill(-c.Pid(), syscall.SIGKILL)
		isGone(t, c.Pid())
	})
	line(t, c)
	read := make(chan error, 1)
	go func() {
		_, err := io.ReadAll(c.Stdout())
		read <- err
	}()
	if err := c.Close(); !errors.Is(err, ErrStuck) {
		t.Errorf("Close = %v, want ErrStuck", err)
	}
	if err := <-read; !errors.Is(err, ErrStuck) {
		t.Errorf("read = %v, want ErrStuck", err)
	}
	if err := c.Wait(); !errors.Is(err, ErrStuck) || !strings.Contains(err.Error(), fmt.Sprint(c.Pid())) {
		t.Errorf("Wait = %v, want ErrStuck with the process", err)
	}
}
