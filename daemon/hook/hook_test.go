package hook_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"antipode/daemon/hook"
)

func sh(script string, args ...string) hook.Command {
	return hook.Command{Argv: append([]string{"/bin/sh", "-c", script, "hook"}, args...)}
}

func TestRun(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/run/systemd/notify")
	t.Setenv("ANTIPODE_STALE", "from outside")
	for _, c := range []struct {
		name    string
		command hook.Command
		env     map[string]string
		output  string
		code    int
		says    string // part of the error, "" for none
	}{
		{"facts arrive", sh(`echo "$ANTIPODE_EVENT|$ANTIPODE_TEXT"`), map[string]string{"EVENT": "missed", "TEXT": "two words; $(x)"}, "missed|two words; $(x)\n", 0, ""},
		{"no shell reads the arguments", sh(`echo "$1"`, "$HOME `id` *"), nil, "$HOME `id` *\n", 0, ""},
		{"systemd's socket and stale facts do not", sh(`echo "[$NOTIFY_SOCKET$ANTIPODE_STALE]"`), nil, "[]\n", 0, ""},
		{"both outputs, in order", sh(`echo a; echo b >&2; echo c`), nil, "a\nb\nc\n", 0, ""},
		{"standard input is empty", sh(`cat; pwd`), nil, "/\n", 0, ""},
		{"a NUL in a value", sh(`echo "$ANTIPODE_TEXT"`), map[string]string{"TEXT": "a\x00b"}, "ab\n", 0, ""},
		{"exit status", sh(`echo no pager configured; exit 3`), nil, "no pager configured\n", 3, `exit status 3: it said "no pager configured"`},
		{"not there", hook.Command{Argv: []string{"/nonexistent/tell-me"}}, nil, "", -1, "does not exist"},
		{"not executable", hook.Command{Argv: []string{"/etc/passwd"}}, nil, "", -1, "chmod +x"},
		{"relative", hook.Command{Argv: []string{"tell-me"}}, nil, "", -1, "absolute path"},
		{"empty", hook.Command{}, nil, "", -1, "absolute path"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := hook.Run(t.Context(), c.command, c.env)
			if r.Output != c.output || r.Code != c.code {
				t.Errorf("got %q and %d, want %q and %d", r.Output, r.Code, c.output, c.code)
			}
			if got := text(err); c.says == "" && got != "" || !strings.Contains(got, c.says) {
				t.Errorf("error: got %q, want %q in it", got, c.says)
			}
		})
	}
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestOutputIsBounded(t *testing.T) {
	r, err := hook.Run(t.Context(), sh(`head -c 1000000 /dev/zero | tr '\0' x`), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Output) != hook.MaxOutputBytes || r.Cut != 1000000-hook.MaxOutputBytes {
		t.Errorf("got %d bytes and %d cut, want %d and %d", len(r.Output), r.Cut, hook.MaxOutputBytes, 1000000-hook.MaxOutputBytes)
	}
}

func TestLongValuesAreCut(t *testing.T) {
	r, err := hook.Run(t.Context(), sh(`printf %s "$ANTIPODE_TEXT" | wc -c`), map[string]string{"TEXT": strings.Repeat("x", 1<<20)})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := strings.TrimSpace(r.Output), "16384"; got != want {
		t.Errorf("got %s bytes, want %s", got, want)
	}
}

// TestTheWholeGroupEndsAtTheTimeout holds a fifo open in a grandchild: its end of
// file comes only when that is dead too.
func TestTheWholeGroupEndsAtTheTimeout(t *testing.T) {
	for _, c := range []struct {
		name, script string
	}{
		{"heeds SIGTERM", `sleep 1000 >"$1" & wait`},
		{"ignores SIGTERM", `trap "" TERM; sleep 1000 >"$1" & while :; do sleep 1000; done`},
		{"leader heeds it, child does not", `(trap "" TERM; sleep 1000; sleep 1000) >"$1" & wait`},
	} {
		t.Run(c.name, func(t *testing.T) {
			fifo := filepath.Join(t.TempDir(), "held")
			if err := syscall.Mkfifo(fifo, 0o600); err != nil {
				t.Fatal(err)
			}
			ended := make(chan error, 1)
			go func() { _, err := os.ReadFile(fifo); ended <- err }()
			command := sh(c.script, fifo)
			command.Timeout, command.Grace = 200*time.Millisecond, 200*time.Millisecond
			r, err := hook.Run(t.Context(), command, nil)
			if !errors.Is(err, hook.ErrTimeout) || r.Code != -1 {
				t.Errorf("got %v and %d, want ErrTimeout and -1", err, r.Code)
			}
			if err := <-ended; err != nil {
				t.Errorf("read the fifo: %v", err)
			}
		})
	}
}

func TestCancelEndsIt(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "started")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		f, err := os.Open(fifo)
		if err == nil {
			io.Copy(io.Discard, f)
			f.Close()
		}
		cancel()
	}()
	_, err := hook.Run(ctx, sh(`echo up >"$1"; sleep 1000`, fifo), nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

// TestAGrandchildThatHoldsTheOutputDoesNotHoldUs: a command that starts something
// in the background has succeeded when it exits.
func TestAGrandchildThatHoldsTheOutputDoesNotHoldUs(t *testing.T) {
	command := sh(`sleep 1000 & echo $!`)
	command.Grace = 100 * time.Millisecond
	r, err := hook.Run(t.Context(), command, nil)
	if err != nil || r.Code != 0 {
		t.Errorf("got %v and %d, want success", err, r.Code)
	}
	if out, err := exec.Command("/bin/kill", strings.TrimSpace(r.Output)).CombinedOutput(); err != nil {
		t.Errorf("end the grandchild %q: %v: %s", r.Output, err, out)
	}
}

func TestExitErrorIsKept(t *testing.T) {
	_, err := hook.Run(t.Context(), sh(`exit 7`), nil)
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != 7 {
		t.Errorf("got %v, want an exec.ExitError of 7", err)
	}
}

func TestArgvIsNotChanged(t *testing.T) {
	argv := []string{"/bin/echo", "a", "b"}
	want := slices.Clone(argv)
	if _, err := hook.Run(t.Context(), hook.Command{Argv: argv}, nil); err != nil || !slices.Equal(argv, want) {
		t.Errorf("got %v %v, want %v", argv, err, want)
	}
}
