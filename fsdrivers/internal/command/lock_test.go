package command

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func lockAt(t *testing.T, path string) *Lock {
	t.Helper()
	l, err := TryLock(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func TestLockIsExclusive(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l := lockAt(t, path)
	if _, err := TryLock(path); !errors.Is(err, ErrLocked) {
		t.Errorf("second TryLock = %v, want ErrLocked", err)
	}
	if err := EndOrphan(t.Context(), path); !errors.Is(err, ErrLocked) {
		t.Errorf("EndOrphan on our own = %v, want ErrLocked", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := EndOrphan(t.Context(), path); err != nil {
		t.Errorf("EndOrphan on a free lock = %v", err)
	}
	lockAt(t, path)
}

func TestMissingLockIsNoOrphan(t *testing.T) {
	if err := EndOrphan(t.Context(), filepath.Join(t.TempDir(), "none")); err != nil {
		t.Errorf("EndOrphan = %v", err)
	}
}

func TestLockRemovedUnderUsIsTakenAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	lockAt(t, path)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	l := lockAt(t, path)
	if !isAt(l.file, path) {
		t.Error("the lock is on a file that is not there")
	}
}

func TestLockIsNoSymlink(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("elsewhere", filepath.Join(dir, "lock")); err != nil {
		t.Fatal(err)
	}
	if _, err := TryLock(filepath.Join(dir, "lock")); err == nil {
		t.Error("TryLock followed a symbolic link")
	}
}

func TestChildKeepsTheLock(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l := lockAt(t, path)
	c := start(t, t.Context(), Spec{Args: []string{"sleep", "1000"}, Lock: l})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := TryLock(path); !errors.Is(err, ErrLocked) {
		t.Errorf("TryLock while the child lives = %v, want ErrLocked", err)
	}
	if err := EndOrphan(t.Context(), path); !errors.Is(err, ErrLocked) {
		t.Errorf("EndOrphan while its daemon lives = %v, want ErrLocked", err)
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	lockAt(t, path)
}

func TestChildThatCannotBeRecordedDoesNotRun(t *testing.T) {
	l := lockAt(t, filepath.Join(t.TempDir(), "lock"))
	readOnly, err := os.Open(l.file.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer readOnly.Close()
	c, err := Start(t.Context(), Spec{Args: []string{"sleep", "1000"}, Lock: &Lock{file: readOnly}})
	if err == nil || c != nil {
		t.Errorf("Start = %v, %v, want an error and no child", c, err)
	}
}

// dieAfterStart is a daemon that starts a child and is gone at once.
func dieAfterStart(path, script string) {
	l, err := TryLock(path)
	if err == nil {
		s := sh(script)
		s.Lock = l
		var c *Child
		if c, err = Start(context.Background(), s); err == nil {
			line, _ := bufio.NewReader(c.Stdout()).ReadString('\n')
			fmt.Println(c.Pid(), strings.TrimSpace(line))
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		}
	}
	fmt.Println(err)
	os.Exit(1)
}

// orphan leaves a child behind, and the grandchild that it names.
func orphan(t *testing.T, path, script string) (child, grandchild int) {
	t.Helper()
	out, _ := exec.Command(os.Args[0], "die-after-start", path, script).Output()
	if _, err := fmt.Sscan(string(out), &child, &grandchild); err != nil {
		t.Fatalf("the dying daemon said %q: %v", out, err)
	}
	t.Cleanup(func() { _ = syscall.Kill(-child, syscall.SIGKILL) })
	return child, grandchild
}

func TestOrphanIsFoundAndEnded(t *testing.T) {
	for name, script := range map[string]string{
		"that obeys":   "sleep 1000 >&- & echo $!; wait",
		"that refuses": `trap "" TERM; sleep 1000 >&- & echo $!; wait; wait`,
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "lock")
			child, grandchild := orphan(t, path, script)
			if _, err := TryLock(path); !errors.Is(err, ErrLocked) {
				t.Fatalf("TryLock = %v, want ErrLocked: there is no orphan to end", err)
			}
			if err := endOrphan(t.Context(), path, 50*time.Millisecond, 10*time.Second); err != nil {
				t.Fatalf("EndOrphan = %v", err)
			}
			if !isGone(t, child) || !isGone(t, grandchild) {
				t.Error("orphan or its child lives")
			}
			lockAt(t, path)
		})
	}
}

func TestStrangerWithTheSameNumberIsNotEnded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	child, _ := orphan(t, path, "sleep 1000 >&- & echo $!; wait")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := strings.TrimSuffix(string(text), "\n") + "1\n" // another start time
	if err := os.WriteFile(path, []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := endOrphan(t.Context(), path, time.Millisecond, time.Millisecond); !errors.Is(err, ErrStuck) {
		t.Errorf("EndOrphan = %v, want ErrStuck", err)
	}
	if start, state, err := inspect(child); err != nil || start == 0 || state == 'Z' {
		t.Errorf("the process was ended: state %c, %v", state, err)
	}
}

// The owner died between starting its child and writing that down.
func TestAnOrphanWithoutANameIsNotSaidToHang(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	orphan(t, path, "sleep 1000 >&- & echo $!; wait")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	lines[2] = "child 0 0"
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	err = endOrphan(t.Context(), path, time.Millisecond, time.Millisecond)
	if !errors.Is(err, ErrLocked) || errors.Is(err, ErrStuck) || strings.Contains(err.Error(), "process 0") {
		t.Errorf("EndOrphan = %v, want that somebody holds the lock", err)
	}
}

func TestEndOrphanEndsWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	orphan(t, path, `trap "" TERM; sleep 1000 >&- & echo $!; wait; wait`)
	cause := errors.New("shutdown")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	if err := EndOrphan(ctx, path); !errors.Is(err, cause) {
		t.Errorf("EndOrphan = %v, want the cause of its context", err)
	}
}

func TestParseStat(t *testing.T) {
	rest := " S 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1000 200"
	for name, c := range map[string]struct {
		stat  string
		start uint64
		fails bool
	}{
		"plain":                      {"42 (btrfs)" + rest, 12345, false},
		"name with parentheses":      {"42 (a) R 1 (b)" + rest, 12345, false},
		"name with spaces and lines": {"42 (a b\nc)" + rest, 12345, false},
		"empty":                      {"", 0, true},
		"short":                      {"42 (btrfs) S 1 2", 0, true},
		"not a number":               {"42 (btrfs)" + strings.Replace(rest, "12345", "x", 1), 0, true},
	} {
		start, state, err := parseStat(c.stat)
		if (err != nil) != c.fails || start != c.start || !c.fails && state != 'S' {
			t.Errorf("%s: start %d, state %c, error %v, want %d", name, start, state, err, c.start)
		}
	}
}

func TestParseRecord(t *testing.T) {
	none := process{}
	for name, c := range map[string]struct {
		text         string
		owner, child process
	}{
		"both":             {"antipode-lock 1\nowner 5 6\nchild 7 8\n", process{5, 6}, process{7, 8}},
		"no child yet":     {"antipode-lock 1\nowner 5 6\nchild 0 0\n", process{5, 6}, none},
		"init as owner":    {"antipode-lock 1\nowner 1 6\nchild 7 8\n", process{1, 6}, process{7, 8}},
		"everybody":        {"antipode-lock 1\nowner 5 6\nchild 1 8\n", process{5, 6}, none},
		"group of another": {"antipode-lock 1\nowner 5 6\nchild -7 8\n", process{5, 6}, none},
		"another version":  {"antipode-lock 2\nowner 5 6\nchild 7 8\n", none, none},
		"cut":              {"antipode-lock 1\nowner 5 6\nchild 7 8", none, none},
		"empty":            {"", none, none},
		"number too large": {"antipode-lock 1\nowner 5 6\nchild 4294967298 8\n", process{5, 6}, none},
	} {
		owner, child := parseRecord(c.text)
		if owner != c.owner || child != c.child {
			t.Errorf("%s: owner %v, child %v, want %v and %v", name, owner, child, c.owner, c.child)
		}
	}
}

// FuzzParseRecord: whatever the file holds, nobody but a single process above
// init is named, and what is written is read again.
func FuzzParseRecord(f *testing.F) {
	f.Add("antipode-lock 1\nowner 5 6\nchild 7 8\n")
	f.Add("antipode-lock 1\nowner 1 6\nchild -1 8\n")
	f.Fuzz(func(t *testing.T, text string) {
		owner, child := parseRecord(text)
		if owner.pid < 0 || child.pid < 0 || child.pid == 1 {
			t.Errorf("%q names owner %v and child %v", text, owner, child)
		}
	})
}

// FuzzParseStat must not fail on any name that a program gives itself.
func FuzzParseStat(f *testing.F) {
	f.Add("btrfs")
	f.Add("a) S 1 (b")
	f.Fuzz(func(t *testing.T, name string) {
		start, state, err := parseStat("42 (" + name + ") D 1 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 99 1000")
		if err != nil || start != 99 || state != 'D' {
			t.Errorf("%q: start %d, state %c, %v", name, start, state, err)
		}
	})
}

// A child that was over before it was recorded made its Start fail, once in a few
// hundred small sends.
func TestAChildThatIsOverAtOnceIsAChildThatEnded(t *testing.T) {
	lock, err := TryLock(filepath.Join(t.TempDir(), "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	for range 300 {
		child, err := Start(t.Context(), Spec{Args: []string{"true"}, Lock: lock})
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Wait(); err != nil {
			t.Fatal(err)
		}
	}
}
