package stage

import (
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
)

const stopWithin = 35 * time.Second // what a daemon promises for SIGTERM, and a little

// Node is one machine: a daemon with its own files.
type Node struct {
	Name, Address string // Address is host:port
	Key           string // what its peers pin
	dir           string // of its configuration, state, socket and log
	program       string
	process       *exec.Cmd
	ended         chan struct{} // closed when the process was reaped
}

// Node prepares a daemon of program on a loopback address of its own.
func (s *Stage) Node(ctx context.Context, program, name, host string) (*Node, error) {
	dir, err := os.MkdirTemp(s.Dir, "etc-"+name+"-")
	if err != nil {
		return nil, err
	}
	n := &Node{Name: name, dir: dir, program: program}
	if n.Address, err = FreeAddress(host); err != nil {
		return nil, err
	}
	if err := n.Configure(n.Address, ""); err != nil {
		return nil, err
	}
	n.Key, err = n.Run(ctx, "identity")
	return n, err
}

// FreeAddress finds one that nobody listens on at this moment.
func FreeAddress(host string) (string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (n *Node) config() string { return filepath.Join(n.dir, "antipode.toml") }
func (n *Node) socket() string { return filepath.Join(n.dir, "control.sock") }

// Log is the file of the daemon's log: JSON, a line each.
func (n *Node) Log() string { return filepath.Join(n.dir, "log") }

// Configure writes the node's file: what every node has, where others reach it,
// then what is given.
func (n *Node) Configure(advertise, sections string) error {
	text := fmt.Sprintf("node = %q\nstate_dir = %q\ncontrol_socket = %q\n\n[listen]\naddress = %q\nadvertise = %q\n\n[log]\nformat = \"json\"\n\n%s",
		n.Name, filepath.Join(n.dir, "state"), n.socket(), n.Address, advertise, sections)
	return os.WriteFile(n.config(), []byte(text), 0o600)
}

// Start runs the daemon in a process group of its own, so that Ctrl-C reaches it
// through us only; should we be killed, the kernel stops it.
func (n *Node) Start(ctx context.Context, s *Stage) error {
	log, err := os.Create(n.Log())
	if err != nil {
		return err
	}
	defer log.Close()
	n.process = exec.Command(n.program, "daemon", "--config", n.config())
	n.process.Stdout, n.process.Stderr = log, log
	n.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := n.process.Start(); err != nil {
		return fmt.Errorf("start the daemon of %s: %w", n.Name, err)
	}
	n.ended = make(chan struct{})
	go func() {
		_ = n.process.Wait() // that it ended is what counts
		close(n.ended)
	}()
	s.Later(func(context.Context) error { return n.stop() })
	return Until(ctx, func() (bool, error) {
		select {
		case <-n.ended:
			return false, fmt.Errorf("the daemon of %s ended at once: %s", n.Name, strings.Join(n.Tail(3), "\n"))
		default:
		}
		_, missing := os.Stat(n.socket())
		return missing == nil, nil
	})
}

// PID is the daemon's process.
func (n *Node) PID() int { return n.process.Process.Pid }

// stop ends the daemon gracefully, and by force when that takes too long.
func (n *Node) stop() error {
	if err := n.process.Process.Signal(syscall.SIGTERM); err != nil {
		return gone(err)
	}
	select {
	case <-n.ended:
		return nil
	case <-time.After(stopWithin):
		return errors.Join(fmt.Errorf("the daemon of %s did not stop within %s", n.Name, stopWithin), n.Kill())
	}
}

// Kill is kill -9.
func (n *Node) Kill() error {
	if err := n.process.Process.Kill(); err != nil {
		return gone(err)
	}
	<-n.ended
	return nil
}

func gone(err error) error {
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Run runs a command of antipode on the node and returns what it printed.
func (n *Node) Run(ctx context.Context, args ...string) (string, error) {
	return Tool(ctx, n.program, append([]string{"--config", n.config()}, args...)...)
}

// Ask runs a command with --json and decodes the answer.
func (n *Node) Ask(ctx context.Context, answer any, args ...string) error {
	out, err := n.Run(ctx, append(args, "--json")...)
	if err != nil {
		return fmt.Errorf("on %s: %w", n.Name, err)
	}
	if err := json.Unmarshal([]byte(out), answer); err != nil {
		return fmt.Errorf("answer of antipode %s on %s: %w", args[0], n.Name, err)
	}
	return nil
}

// Event is a line of a daemon's log, as far as a story needs it.
type Event struct {
	Message  string `json:"message"`
	Snapshot string `json:"snapshot"`
	Why      string `json:"why"`
	Bytes    int64  `json:"bytes"`
}

// Events returns the lines of the node's log with that message.
func (n *Node) Events(message string) ([]Event, error) {
	text, err := os.ReadFile(n.Log())
	if err != nil {
		return nil, err
	}
	var found []Event
	for line := range bytes.Lines(text) {
		var e Event
		if json.Unmarshal(line, &e) == nil && e.Message == message {
			found = append(found, e)
		}
	}
	return found, nil
}

// Tail returns the last lines of the node's log.
func (n *Node) Tail(lines int) []string {
	text, err := os.ReadFile(n.Log())
	if err != nil {
		return nil
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return all[max(0, len(all)-lines):]
}
