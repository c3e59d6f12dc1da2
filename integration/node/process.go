package node

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"antipode/daemon/control"
)

// Start runs the daemon and returns when it answers.
func (n *Node) Start() {
	n.T.Helper()
	n.Launch()
	n.Eventually("the daemon answers", func() bool {
		select {
		case <-n.ended:
			n.T.Fatalf("the daemon of %s ended at once:\n%s", n.Name, n.Tail(10))
		default:
		}
		var v struct{ Daemon *control.VersionResponse }
		return n.Try(&v, "version") == nil && v.Daemon != nil
	})
}

// Launch runs the daemon and does not wait for it.
func (n *Node) Launch() {
	n.T.Helper()
	log, err := os.OpenFile(n.File("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	Must(n.T, err)
	defer log.Close()
	args := append(append([]string{}, n.Prefix...), n.binary, "daemon", "--config", n.Config())
	n.process = exec.Command(args[0], args[1:]...)
	n.process.Env = append(os.Environ(), n.Env...)
	n.process.Stdout, n.process.Stderr = log, log
	n.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	Must(n.T, n.process.Start())
	ended := make(chan struct{})
	n.ended = ended
	go func(p *exec.Cmd) {
		_ = p.Wait() // how it ended is in ProcessState
		close(ended)
	}(n.process)
}

// Pid is the number of the daemon that was started last.
func (n *Node) Pid() int { return n.process.Process.Pid }

// Ended is closed when the daemon that was started last has ended.
func (n *Node) Ended() <-chan struct{} { return n.ended }

// IsUp reports whether the daemon runs.
func (n *Node) IsUp() bool {
	if n.process == nil {
		return false
	}
	select {
	case <-n.ended:
		return false
	default:
		return true
	}
}

// Signal sends the daemon a signal.
func (n *Node) Signal(sig syscall.Signal) {
	n.T.Helper()
	Must(n.T, n.process.Process.Signal(sig))
}

// Kill is kill -9. Children of the daemon are left to themselves.
func (n *Node) Kill() {
	if n.IsUp() {
		_ = n.process.Process.Kill() // it may have ended by now
		<-n.ended
	}
}

// Stop is SIGTERM; it returns how long the daemon took.
func (n *Node) Stop() time.Duration {
	n.T.Helper()
	began := time.Now()
	n.Signal(syscall.SIGTERM)
	select {
	case <-n.ended:
	case <-time.After(stopBound):
		n.T.Fatalf("the daemon of %s did not stop within %s", n.Name, stopBound)
	}
	if code := n.process.ProcessState.ExitCode(); code != 0 {
		n.T.Errorf("the daemon of %s stopped with exit code %d, want 0:\n%s", n.Name, code, n.Tail(5))
	}
	return time.Since(began)
}

// Children are the processes that work for a daemon of this machine.
func (n *Node) Children() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		n.T.Fatal(err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && n.IsChild(line) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// EndChildren ends those that are left, and waits for it.
func (n *Node) EndChildren() {
	for _, pid := range n.Children() {
		_ = unix.Kill(pid, unix.SIGKILL) // it may have ended by now
	}
	n.Eventually("the children end", func() bool { return len(n.Children()) == 0 })
}
