package benchwan

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"antipode/integration/loopfs"
	"antipode/integration/node"
	procs "antipode/integration/stage" // stage is a source of data here
	"antipode/integration/wan"
	"antipode/transport/peer"
)

const (
	settle   = 5 * time.Second // that do not count
	window   = 20 * time.Second
	patience = 2 * time.Minute
)

// stage is a source of data, a file in a subvolume.
type stage struct {
	dataset, point string
	size           int64
	cores          float64 // that the daemons used in the last measurement
	idle           float64 // share of the machine that nobody used in it
}

// newStage has incompressible data.
func newStage(b *testing.B, size int64) *stage {
	b.Helper()
	var seed [32]byte
	_, err := rand.Read(seed[:])
	node.Must(b, err)
	return newStageOf(b, mrand.NewChaCha8(seed), size)
}

func newStageOf(b *testing.B, content io.Reader, size int64) *stage {
	b.Helper()
	root := loopfs.New(b, 2*size)
	s := &stage{dataset: filepath.Join(root, "data"), point: filepath.Join(root, "point"), size: size}
	run(b, "btrfs", "subvolume", "create", s.dataset)
	f, err := os.Create(filepath.Join(s.dataset, "file"))
	node.Must(b, err)
	_, err = io.CopyN(f, content, size)
	node.Must(b, err)
	node.Must(b, f.Close())
	run(b, "btrfs", "subvolume", "snapshot", "-r", s.dataset, s.point)
	run(b, "sync", "-f", root)
	return s
}

// target is an empty file system.
func (s *stage) target(b *testing.B) string {
	b.Helper()
	return loopfs.New(b, 2*s.size)
}

func link(b *testing.B, shape wan.Shape) *wan.WAN {
	b.Helper()
	if why := wan.Missing(); why != "" {
		b.Fatalf("no link can be made here: %s", why)
	}
	l, err := wan.Open(shape, 1)
	node.Must(b, err)
	b.Cleanup(func() { node.Must(b, l.Close()) })
	return l
}

// measure is the bytes per second that count adds up, after the first seconds.
func measure(b *testing.B, count func() int64) float64 {
	b.Helper()
	time.Sleep(settle)
	began, before := time.Now(), count()
	time.Sleep(window)
	moved, passed := count()-before, time.Since(began)
	return float64(moved) / passed.Seconds()
}

// figure prints a result, with four digits.
func figure(name string, value float64, unit string) {
	fmt.Printf("bench: %s %.4g %s\n", name, value, unit)
}

func run(b *testing.B, name string, args ...string) {
	b.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		b.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// isReceive knows a `btrfs receive` into a directory by its command line.
func isReceive(target string) func([]byte) bool {
	return func(line []byte) bool {
		args := bytes.Split(line, []byte{0})
		return len(args) > 2 && filepath.Base(string(args[0])) == "btrfs" && string(args[1]) == "receive" && bytes.Contains(line, []byte(target))
	}
}

// waitFor returns the process that is, as soon as there is one.
func waitFor(b *testing.B, is func([]byte) bool) int {
	b.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		for _, path := range lines {
			line, err := os.ReadFile(path)
			if err == nil && is(line) {
				pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
				return pid
			}
		}
	}
	b.Fatal("the receive did not start")
	return 0
}

// readBy is how many bytes a process has read (proc(5), io).
func readBy(b *testing.B, pid int) int64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", pid))
	node.Must(b, err)
	value, _ := strings.CutPrefix(strings.SplitN(string(text), "\n", 2)[0], "rchar: ")
	n, err := strconv.ParseInt(value, 10, 64)
	node.Must(b, err)
	return n
}

// cpu is what both daemons and the children that they have waited for have used.
func cpu(b *testing.B, p *pair) time.Duration {
	b.Helper()
	var total time.Duration
	for _, n := range []*node.Node{p.near, p.far} {
		own, children, err := procs.CPU(n.Pid())
		node.Must(b, err)
		total += own + children
	}
	return total
}

// processors is how long this machine's processors had nothing to do, or waited for a
// disk, and how long that could have been, in ticks (proc_stat(5)).
func processors(b *testing.B) (idle, total float64) {
	b.Helper()
	text, err := os.ReadFile("/proc/stat")
	node.Must(b, err)
	line, _, _ := strings.Cut(string(text), "\n")
	for i, f := range strings.Fields(line)[1:9] { // user to steal
		v, err := strconv.ParseFloat(f, 64)
		node.Must(b, err)
		total += v
		if i == 3 || i == 4 {
			idle += v
		}
	}
	return idle, total
}

// peak is the most memory that a daemon has had, in bytes (proc_pid_status(5)).
func peak(b *testing.B, n *node.Node) int64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.Pid()))
	node.Must(b, err)
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	kib, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	node.Must(b, err)
	return kib << 10
}

// tlsPipe is `btrfs send | TLS | btrfs receive` over one connection.
func (s *stage) tlsPipe(b *testing.B, l *wan.WAN) float64 {
	b.Helper()
	near, far := identity(b), identity(b)
	var listener net.Listener
	node.Must(b, l.B.Do(func() (err error) {
		listener, err = net.Listen("tcp", l.B.Address.String()+":0")
		return err
	}))
	defer listener.Close()
	target := s.target(b)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		known := func(f peer.Fingerprint) (string, bool) { return "near", f == near.Fingerprint() }
		receive := exec.Command("btrfs", "receive", target)
		receive.Stdin = tls.Server(conn, peer.ServerConfig(far, known, func() bool { return false }))
		_ = receive.Run() // it is cut off when the measurement is over
	}()
	var conn net.Conn
	node.Must(b, l.A.Do(func() (err error) {
		conn, err = net.Dial("tcp", listener.Addr().String())
		return err
	}))
	defer conn.Close()
	send := exec.Command("btrfs", "send", "-q", s.point)
	send.Stdout = tls.Client(conn, peer.ClientConfig(near, far.Fingerprint()))
	send.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	node.Must(b, send.Start())
	pid := waitFor(b, isReceive(target))
	rate := measure(b, func() int64 { return readBy(b, pid) })
	_ = send.Process.Kill() // the end of the pipe ends the rest
	_ = send.Wait()
	_ = syscall.Kill(pid, syscall.SIGKILL)
	return rate
}

func identity(b *testing.B) peer.Identity {
	b.Helper()
	id, err := peer.NewIdentity()
	node.Must(b, err)
	return id
}
