package benchwan

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"antipode/integration/node"
	"antipode/integration/wan"
)

const sshPort = "2222"

// sshd runs one of our own at the far end of the link, and returns the command
// that runs another on it. It has a PID namespace for itself: its sessions are in
// groups of their own, would wait for the link for ever, and keep the output open that
// `go test` waits for.
func sshd(b *testing.B, l *wan.WAN) (ssh []string) {
	b.Helper()
	dir := b.TempDir()
	node.Must(b, os.MkdirAll("/run/sshd", 0o755)) // where sshd wants it
	for _, name := range []string{"host", "user"} {
		run(b, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, name))
	}
	at := l.B.Address.String()
	config := filepath.Join(dir, "sshd_config")
	text := fmt.Sprintf("Port %s\nListenAddress %s\nHostKey %s\nAuthorizedKeysFile %s\nPidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin yes\nPasswordAuthentication no\n",
		sshPort, at, filepath.Join(dir, "host"), filepath.Join(dir, "user.pub"))
	node.Must(b, os.WriteFile(config, []byte(text), 0o600))
	daemon, err := exec.LookPath("sshd")
	node.Must(b, err)
	start(b, append(l.B.Prefix(), "unshare", "--pid", "--fork", "--kill-child", daemon, "-D", "-e", "-f", config)...)
	return []string{
		"ssh", "-F", "none", "-i", filepath.Join(dir, "user"), "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
		"-o", "BatchMode=yes", "-o", "ConnectionAttempts=20", "-o", "LogLevel=ERROR", "-p", sshPort, "root@" + at,
	}
}

// start runs a command in a group of its own until the benchmark ends.
func start(b *testing.B, args ...string) {
	b.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	node.Must(b, cmd.Start())
	b.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // it may have ended
		_ = cmd.Wait()
	})
}

// pipe is `btrfs send | way | btrfs receive`; with mbuffer on both sides of it.
func (s *stage) pipe(b *testing.B, l *wan.WAN, isBuffered bool) float64 {
	b.Helper()
	target := s.target(b)
	send, receive := "btrfs send -q "+s.point, "btrfs receive "+target
	if isBuffered {
		send, receive = send+" | mbuffer -q -m 64M", "mbuffer -q -m 64M | "+receive
	}
	ssh := strings.Join(sshd(b, l), " ")
	start(b, append(l.A.Prefix(), "bash", "-c", fmt.Sprintf("%s | %s '%s'", send, ssh, receive))...)
	pid := waitFor(b, isReceive(target))
	rate := measure(b, func() int64 { return readBy(b, pid) })
	_ = syscall.Kill(pid, syscall.SIGKILL)
	return rate
}

// BenchmarkRivals is one connection of others on the link that loses 0.1 %.
func BenchmarkRivals(b *testing.B) {
	const loss = 0.001
	var ours, theirs float64
	for _, f := range []struct {
		name, congestion string
		isBuffered       bool
	}{
		{"ssh_default_loss01", "", false},
		{"ssh_cubic_loss01", "cubic", false},
		{"ssh_mbuffer_cubic_loss01", "cubic", true},
	} {
		b.Run(f.name, func(b *testing.B) {
			s := newStage(b, 1<<30)
			l := link(b, far200(loss))
			congestion(b, l, f.congestion)
			rate := s.pipe(b, l, f.isBuffered)
			if f.name == "ssh_cubic_loss01" {
				theirs = rate
			}
			figure(f.name, rate/float64(far200(0).Rate), "of-the-link")
		})
	}
	for _, c := range []string{"", "cubic"} {
		name := "tls_pipe_" + map[string]string{"": "default", "cubic": "cubic"}[c] + "_loss01"
		b.Run(name, func(b *testing.B) {
			s := newStage(b, 1<<30)
			l := link(b, far200(loss))
			congestion(b, l, c)
			figure(name, s.tlsPipe(b, l)/float64(far200(0).Rate), "of-the-link")
		})
	}
	b.Run("ours", func(b *testing.B) {
		s := newStage(b, 1<<30)
		ours = s.goodput(b, link(b, far200(loss)), "")
	})
	if theirs > 0 && ours > 0 {
		figure("wan_vs_ssh_cubic", ours/theirs, "times")
	}
}

// congestion sets what the link's ends use by themselves; "" leaves it.
func congestion(b *testing.B, l *wan.WAN, name string) {
	b.Helper()
	if name == "" {
		return
	}
	node.Must(b, l.A.SetCongestion(name))
	node.Must(b, l.B.SetCongestion(name))
}
