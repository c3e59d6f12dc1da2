package command

import (
	"errors"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestBeforeMayRefuse(t *testing.T) {
	refusal := errors.New("no namespace")
	s := sh("echo ran")
	s.Before = func() error { return refusal }
	if out, err := Run(t.Context(), s); !errors.Is(err, refusal) || out != nil {
		t.Errorf("Run = %q, %v, want the refusal and nothing run", out, err)
	}
}

// TestBeforeStaysOnItsThread: a namespace that Before makes is the child's, and
// neither the main thread nor any that stays is in it.
func TestBeforeStaysOnItsThread(t *testing.T) {
	if os.Geteuid() != 0 {
		if os.Getenv("CI") == "true" {
			t.Fatal("needs root to make a mount namespace")
		}
		t.Skip("needs root to make a mount namespace")
	}
	ours, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		t.Fatal(err)
	}
	s := Spec{Args: []string{"readlink", "/proc/self/ns/mnt"}, Before: func() error { return unix.Unshare(unix.CLONE_NEWNS) }}
	for range 20 {
		theirs, err := Run(t.Context(), s)
		if err != nil || strings.TrimSpace(string(theirs)) == ours {
			t.Fatalf("child's namespace %q, %v, want another than %q", theirs, err, ours)
		}
	}
	if now, err := os.Readlink("/proc/self/ns/mnt"); err != nil || now != ours {
		t.Errorf("our namespace is %q, %v, was %q", now, err, ours)
	}
}

func TestThrowawayThreadIsNeverTheMainOne(t *testing.T) {
	for range 50 {
		err := onThrowawayThread(func() error {
			if unix.Gettid() == unix.Getpid() {
				return errors.New("on the main thread")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		runtime.Gosched()
	}
}
