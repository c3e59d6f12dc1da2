package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	stopTimeout = 35 * time.Second // what a daemon promises for SIGTERM, and a little
	// tick is the unit of times in /proc/PID/stat (USER_HZ, proc(5)).
	tick = 10 * time.Millisecond
)

// node is one machine: a daemon with its own files.
type node struct {
	name, address string // address is host:port
	bin           string
	dir           string // of its configuration, state, socket and log
	key           string
	process       *exec.Cmd
	ended         chan struct{} // closed when the process was reaped
}

// node prepares a daemon on a loopback address of its own.
func (b *bench) node(ctx context.Context, name, host string) (*node, error) {
	dir, err := os.MkdirTemp(b.dir, name+"-")
	if err != nil {
		return nil, err
	}
	n := &node{name: name, bin: b.bin, dir: dir}
	if n.address, err = freeAddress(host); err != nil {
		return nil, err
	}
	if err := n.configure(""); err != nil {
		return nil, err
	}
	n.key, err = n.run(ctx, "identity")
	return n, err
}

// freeAddress finds one that nobody listens on at this moment.
func freeAddress(host string) (string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (n *node) config() string { return filepath.Join(n.dir, "antipode.toml") }
func (n *node) socket() string { return filepath.Join(n.dir, "control.sock") }

// configure writes the node's file: what every node has, then what is given.
func (n *node) configure(sections string) error {
	text := fmt.Sprintf("node = %q\nstate_dir = %q\ncontrol_socket = %q\n\n[listen]\naddress = %q\n\n[log]\nformat = \"json\"\n\n%s",
		n.name, filepath.Join(n.dir, "state"), n.socket(), n.address, sections)
	return os.WriteFile(n.config(), []byte(text), 0o600)
}

// start runs the daemon in a process group of its own; should we be killed, the
// kernel stops it.
func (n *node) start(ctx context.Context, s *stage) error {
	log, err := os.Create(filepath.Join(n.dir, "log"))
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
			text, _ := os.ReadFile(log.Name())
			return false, fmt.Errorf("the daemon of %s ended at once: %s", n.name, text)
		default:
		}
		_, missing := os.Stat(n.socket())
		return missing == nil, nil
	})
}

// stop ends the daemon gracefully, and by force when that takes too long.
func (n *node) stop() error {
	if err := n.process.Process.Signal(syscall.SIGTERM); err != nil {
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

// peak is the most memory that the daemon has had resident, in bytes (VmHWM).
func (n *node) peak() (int64, error) {
	text, err := n.proc("status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(line, "VmHWM:"); found {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("no VmHWM of %s", n.name)
}

// cpu is the processor time of the daemon and of the children that it has waited
// for.
func (n *node) cpu() (own, children time.Duration, err error) {
	text, err := n.proc("stat")
	if err != nil {
		return 0, 0, err
	}
	// Behind the name, which is in brackets, utime is the 12th field.
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	var ticks [4]time.Duration
	for i := range ticks {
		v, err := strconv.ParseInt(fields[11+i], 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("processor time of %s: %w", n.name, err)
		}
		ticks[i] = time.Duration(v) * tick
	}
	return ticks[0] + ticks[1], ticks[2] + ticks[3], nil
}

func (n *node) proc(file string) (string, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", n.process.Process.Pid, file))
	return string(text), err
}
