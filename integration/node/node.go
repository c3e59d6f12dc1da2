// Package node runs one machine of a crossing in a test: a daemon with its own
// configuration, state, socket, key and address, spoken to as an operator does,
// through the command line; only waits ask its socket. Whatever a test does, nothing of it is left behind.
//
// It must not know file systems, nor what joins two machines.
package node

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const (
	pollEvery = 50 * time.Millisecond // unless a node says otherwise
	stopBound = 35 * time.Second      // what the daemon promises for SIGTERM, and a little
)

// Node is one machine.
type Node struct {
	T       testing.TB
	Name    string
	Dir     string // configuration, state, socket, log
	Address string // host:port, where its daemon listens
	// Advertise is the address that others are told; "" is Address.
	Advertise string
	Peers     string   // [[peer]] sections
	Sections  string   // what the test wants in the file beside them
	Env       []string // of the daemon, beside the test's own
	Prefix    []string // the command that runs the daemon as its last arguments
	// IsChild tells by its command line (NUL between arguments) which process
	// works for a daemon of this machine, also for one that is gone.
	IsChild func(cmdline []byte) bool
	// Patience bounds every wait; nothing is decided by it.
	Patience time.Duration
	// Poll is how long after a look the next one is, where a wait polls.
	Poll time.Duration

	binary  string
	process *exec.Cmd
	ended   chan struct{} // closed when the process was reaped
}

// New makes a machine that does nothing yet.
func New(t testing.TB, binary, name, address string) *Node {
	t.Helper()
	// A socket's path has at most 107 bytes, and t.TempDir has the test's name in it.
	dir, err := os.MkdirTemp("", "apx-")
	Must(t, err)
	n := &Node{
		T: t, Name: name, Dir: dir, Address: address, binary: binary,
		IsChild: func([]byte) bool { return false }, Patience: 30 * time.Second, Poll: pollEvery,
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Cleanup(n.release)
	n.Write()
	return n
}

// release ends whatever of the daemon is left.
func (n *Node) release() {
	if n.T.Failed() {
		n.T.Logf("log of %s:\n%s", n.Name, n.Tail(12))
	}
	n.Kill()
	n.EndChildren()
}

// FindBinary is the antipode that ANTIPODE_BIN names, or one that is built in dir.
func FindBinary(dir string) (string, error) {
	if named := os.Getenv("ANTIPODE_BIN"); named != "" {
		return filepath.Abs(named)
	}
	built := filepath.Join(dir, "antipode")
	out, err := exec.Command("go", "build", "-o", built, "antipode/daemon/cmd/antipode").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build antipode: %w: %s", err, out)
	}
	return built, nil
}

// File is one of the machine's own files.
func (n *Node) File(name string) string { return filepath.Join(n.Dir, name) }

// Config is the configuration file.
func (n *Node) Config() string { return n.File("antipode.toml") }

// Text is what the configuration file says with these sections.
func (n *Node) Text(sections string) string {
	advertise := n.Advertise
	if advertise == "" {
		advertise = n.Address
	}
	head := fmt.Sprintf("node = %q\nstate_dir = %q\ncontrol_socket = %q\n", n.Name, n.File("state"), n.File("sock"))
	if !strings.Contains(sections, "[listen]") {
		sections = fmt.Sprintf("[listen]\naddress = %q\nadvertise = %q\n[log]\nformat = \"json\"\n", n.Address, advertise) + sections
	}
	return head + sections
}

// Write puts the configuration in place; a daemon that runs is not told.
func (n *Node) Write() {
	n.T.Helper()
	Must(n.T, os.WriteFile(n.Config(), []byte(n.Text(n.Sections+n.Peers)), 0o600))
}

// Configure writes the sections, and has a daemon that runs take them over.
func (n *Node) Configure(sections string) {
	n.T.Helper()
	n.Sections = sections
	n.Write()
	if n.IsUp() {
		n.Ask(nil, "reload")
	}
}

// Knows pins a peer's key by hand.
func (n *Node) Knows(name, key, address string) {
	n.T.Helper()
	n.Peers += fmt.Sprintf("[[peer]]\nname = %q\nkey = %q\n", name, key)
	if address != "" {
		n.Peers += fmt.Sprintf("address = %q\n", address)
	}
	n.Write()
}

// Tail is the end of the daemon's log.
func (n *Node) Tail(lines int) string {
	text, err := os.ReadFile(n.File("log"))
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Logged counts the lines of the log that hold all the words.
func (n *Node) Logged(words ...string) int {
	n.T.Helper()
	text, err := os.ReadFile(n.File("log"))
	Must(n.T, err)
	count := 0
	for line := range strings.Lines(string(text)) {
		if Missing(line, words...) == "" {
			count++
		}
	}
	return count
}
