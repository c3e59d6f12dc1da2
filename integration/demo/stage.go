package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	volumeBytes  = 3 << 30 // sparse; what is not written takes no room
	toolTimeout  = 2 * time.Minute
	stopTimeout  = 30 * time.Second // of a daemon that was told to stop
	strikeWithin = 2 * time.Minute
	pollEvery    = 100 * time.Millisecond
)

// stage holds what the demo has put on this machine, and takes it down again.
type stage struct {
	dir  string
	undo []func(context.Context) error // newest last
}

func newStage() (*stage, error) {
	dir, err := os.MkdirTemp("", "antipode-demo-")
	if err != nil {
		return nil, err
	}
	s := &stage{dir: dir}
	s.later(func(context.Context) error { return os.RemoveAll(dir) })
	return s, nil
}

// later adds something to take down.
func (s *stage) later(undo func(context.Context) error) { s.undo = append(s.undo, undo) }

// strike takes everything down, the newest first. It goes on after errors, and
// by itself it ends.
func (s *stage) strike() error {
	ctx, cancel := context.WithTimeout(context.Background(), strikeWithin)
	defer cancel()
	var errs []error
	for len(s.undo) > 0 {
		last := len(s.undo) - 1
		undo := s.undo[last]
		s.undo = s.undo[:last]
		errs = append(errs, undo(ctx))
	}
	return errors.Join(errs...)
}

// short takes the stage's own directory out of a text.
func (s *stage) short(text string) string { return strings.ReplaceAll(text, s.dir, "…") }

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
	s.later(v.unmount)
	_, err = tool(ctx, "mount", "-t", "btrfs", device, v.dir)
	_, detach := tool(context.WithoutCancel(ctx), "losetup", "--detach", device)
	return v, errors.Join(err, detach)
}

// unmount waits a little for the last users. What does not let go is unmounted
// lazily: it vanishes with its last user.
func (v *volume) unmount(ctx context.Context) error {
	if !mounted(v.dir) {
		return nil
	}
	patient, cancel := context.WithTimeout(ctx, stopTimeout)
	defer cancel()
	err := until(patient, func() (bool, error) {
		_, err := tool(ctx, "umount", v.dir)
		return err == nil, nil
	})
	if err != nil {
		_, err = tool(ctx, "umount", "--lazy", v.dir)
	}
	return err
}

func mounted(dir string) bool {
	mounts, err := os.ReadFile("/proc/self/mounts")
	return err == nil && strings.Contains(string(mounts), " "+dir+" ")
}

// isAttached reports whether a loop device still uses the image.
func (v *volume) isAttached(ctx context.Context) bool {
	out, err := tool(ctx, "losetup", "--associated", v.image)
	return err != nil || out != ""
}

// node is one machine of the story: a daemon with its own files.
type node struct {
	name, address string // address is host:port
	bin           string
	dir           string // of its configuration, state, socket and log
	process       *exec.Cmd
	ended         chan struct{} // closed when the process was reaped
}

// node prepares a daemon on a loopback address of its own.
func (s *stage) node(bin, name, host string) (*node, error) {
	n := &node{name: name, bin: bin, dir: filepath.Join(s.dir, "etc-"+name)}
	port, err := freePort(host)
	if err != nil {
		return nil, err
	}
	n.address = net.JoinHostPort(host, port)
	return n, os.Mkdir(n.dir, 0o700)
}

// freePort finds a port that nobody listens on at this moment.
func freePort(host string) (string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

func (n *node) config() string  { return filepath.Join(n.dir, "antipode.toml") }
func (n *node) logFile() string { return filepath.Join(n.dir, "log") }

// configure writes the node's file: what every node has, then what is given.
func (n *node) configure(advertise, sections string) error {
	text := fmt.Sprintf(`node = %q
state_dir = %q
control_socket = %q

[listen]
address = %q
advertise = %q

[log]
format = "json"

%s`, n.name, filepath.Join(n.dir, "state"), filepath.Join(n.dir, "control.sock"), n.address, advertise, sections)
	return os.WriteFile(n.config(), []byte(text), 0o600)
}

// start runs the daemon in a process group of its own, so that Ctrl-C reaches it
// through the demo only; should the demo be killed, the kernel stops it.
func (n *node) start(ctx context.Context, s *stage) error {
	log, err := os.Create(n.logFile())
	if err != nil {
		return err
	}
	defer log.Close()
	n.process = exec.Command(n.bin, "daemon", "--config", n.config())
	n.process.Stdout, n.process.Stderr = log, log
	n.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := n.process.Start(); err != nil {
		return fmt.Errorf("start the daemon of %s: %w", n.name, err)
	}
	n.ended = make(chan struct{})
	go func() {
		_ = n.process.Wait() // that it ended is what counts
		close(n.ended)
	}()
	s.later(func(context.Context) error { return n.stop() })
	return until(ctx, func() (bool, error) {
		select {
		case <-n.ended:
			return false, fmt.Errorf("the daemon of %s ended at once", n.name)
		default:
		}
		_, err := n.run(ctx, "version", "--json")
		_, missing := os.Stat(filepath.Join(n.dir, "control.sock"))
		return err == nil && missing == nil, nil
	})
}

func (n *node) pid() int { return n.process.Process.Pid }

// stop ends the daemon gracefully, and by force when that takes too long.
func (n *node) stop() error {
	if err := n.process.Process.Signal(unix.SIGTERM); err != nil {
		return n.gone(err)
	}
	select {
	case <-n.ended:
		return nil
	case <-time.After(stopTimeout):
		return errors.Join(fmt.Errorf("the daemon of %s did not stop within %s", n.name, stopTimeout), n.kill())
	}
}

// kill is kill -9.
func (n *node) kill() error {
	if err := n.process.Process.Kill(); err != nil {
		return n.gone(err)
	}
	<-n.ended
	return nil
}

func (n *node) gone(err error) error {
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// run runs a command of antipode on the node and returns what it printed.
func (n *node) run(ctx context.Context, args ...string) (string, error) {
	return tool(ctx, n.bin, append([]string{"--config", n.config()}, args...)...)
}

// ask runs a command with --json and decodes the answer.
func (n *node) ask(ctx context.Context, answer any, args ...string) error {
	out, err := n.run(ctx, append(args, "--json")...)
	if err != nil {
		return fmt.Errorf("on %s: %w", n.name, err)
	}
	if err := json.Unmarshal([]byte(out), answer); err != nil {
		return fmt.Errorf("answer of antipode %s on %s: %w", args[0], n.name, err)
	}
	return nil
}

// event is a line of a daemon's log, as far as the story needs it.
type event struct {
	Message  string `json:"message"`
	Snapshot string `json:"snapshot"`
	Why      string `json:"why"`
	Bytes    int64  `json:"bytes"`
}

// events returns the lines of the node's log with that message.
func (n *node) events(message string) ([]event, error) {
	text, err := os.ReadFile(n.logFile())
	if err != nil {
		return nil, err
	}
	var found []event
	for line := range bytes.Lines(text) {
		var e event
		if json.Unmarshal(line, &e) == nil && e.Message == message {
			found = append(found, e)
		}
	}
	return found, nil
}

// tail returns the last lines of the node's log.
func (n *node) tail(lines int) []string {
	f, err := os.Open(n.logFile())
	if err != nil {
		return nil
	}
	defer f.Close()
	var last []string
	for scan := bufio.NewScanner(f); scan.Scan(); {
		last = append(last, scan.Text())
		if len(last) > lines {
			last = last[1:]
		}
	}
	return last
}

// tool runs a program and returns its standard output. What it wrote to standard
// error is part of the error.
func tool(ctx context.Context, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, toolTimeout)
	defer cancel()
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the demo
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, strings.TrimSpace(errOut.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// until asks again and again until done, an error, or the end of ctx. It pauses at
// least as long as an answer takes: on a slow machine asking must not be all that it
// does.
func until(ctx context.Context, done func() (bool, error)) error {
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
