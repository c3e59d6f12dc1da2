package process_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"antipode/daemon/config"
	"antipode/daemon/control"
	"antipode/daemon/process"
)

// host is a directory with the configuration of a node that nobody can dial.
type host struct {
	t              *testing.T
	socket, config string
	heard          chan string // lines of the log that tests wait for
}

func newHost(t *testing.T) *host {
	t.Helper()
	dir, err := os.MkdirTemp("", "process") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h := &host{t: t, socket: filepath.Join(dir, "sock"), config: filepath.Join(dir, "antipode.toml"), heard: make(chan string, 100)}
	text := fmt.Sprintf("node = \"fra1\"\nstate_dir = %q\ncontrol_socket = %q\n[listen]\naddress = \"none\"\n", filepath.Join(dir, "state"), h.socket)
	if err := os.WriteFile(h.config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return h
}

// Run notes the message of an entry.
func (h *host) Run(_ *zerolog.Event, _ zerolog.Level, message string) { h.heard <- message }

func (h *host) run(ctx context.Context) error {
	return process.Run(ctx, process.Options{ConfigPath: h.config, Version: "1", NewLog: func(config.Log) zerolog.Logger {
		return zerolog.New(zerolog.NewTestWriter(h.t)).Hook(h)
	}})
}

// waitFor waits until the log says so.
func (h *host) waitFor(message string) {
	h.t.Helper()
	late := time.After(time.Minute)
	for {
		select {
		case got := <-h.heard:
			if got == message {
				return
			}
		case <-late:
			h.t.Fatalf("the log does not say %q", message)
		}
	}
}

func TestAProcessAnswersReloadsKeepsOthersOutAndStops(t *testing.T) {
	h := newHost(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- h.run(ctx) }()
	h.waitFor("daemon is up")
	v, err := control.Call[control.Nothing, control.VersionResponse](ctx, h.socket, control.Version, control.Nothing{})
	if err != nil || v.Version != "1" {
		t.Errorf("version: %+v, %v, want 1", v, err)
	}
	if err := h.run(ctx); !errors.Is(err, process.ErrRunning) || !strings.Contains(err.Error(), "state_dir of its own") {
		t.Errorf("a second one on its state directory: %v, want %v and what to do", err, process.ErrRunning)
	}
	if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	h.waitFor("configuration is in force")
	stop()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v, want nothing", err)
	}
	again, cancel := context.WithCancel(t.Context())
	go func() { ended <- h.run(again) }()
	h.waitFor("daemon is up")
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("the next one ended with %v, want nothing", err)
	}
}

// What a daemon has set going ends too where its socket cannot be opened.
func TestAProcessWithoutASocketEnds(t *testing.T) {
	h := newHost(t)
	if err := os.MkdirAll(filepath.Join(h.socket, "taken"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := h.run(t.Context()); err == nil || !strings.Contains(err.Error(), "open the control socket "+h.socket) {
		t.Errorf("got %v, want which socket", err)
	}
}
