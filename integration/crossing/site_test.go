package crossing

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/status"
	"antipode/integration/loopfs"
	"antipode/integration/node"
)

// patience bounds every wait of these tests; nothing is decided by it.
const patience = 30 * time.Second

// places counts the sides of this process, so that each has an address of its own.
var places atomic.Int32

// site is one machine: a Btrfs file system, and a daemon beside it. A test that
// ends, however it ends, leaves nothing of it behind.
type site struct {
	*node.Node
	t     *testing.T
	fs    *loopfs.FS
	shell string // runs the daemon as "$@"; "" starts it directly
}

// newSiteOf makes a machine, with a build of antipode, that does nothing yet.
func newSiteOf(t *testing.T, binary, name string, size int64) *site {
	t.Helper()
	fs := loopfs.Make(t, size) // taken down after the node, whose children use it
	host := fmt.Sprintf("127.%d.%d.%d", 64+os.Getpid()%128, os.Getpid()/128%256, places.Add(1))
	l, err := net.Listen("tcp", host+":0")
	must(t, err)
	defer l.Close()
	s := &site{Node: node.New(t, binary, name, l.Addr().String()), t: t, fs: fs}
	s.Patience = patience
	// What works on this site's file system names it.
	s.IsChild = func(line []byte) bool {
		return bytes.Contains(line, []byte(fs.Dir+"/")) && bytes.Contains(line, []byte("btrfs\x00"))
	}
	return s
}

func (s *site) at(parts ...string) string {
	return filepath.Join(append([]string{s.fs.Dir}, parts...)...)
}

func (s *site) start() { s.t.Helper(); s.wrap(); s.Start() }

func (s *site) wrap() {
	s.Prefix = nil
	if s.shell != "" {
		s.Prefix = []string{"unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", s.shell, "sh"}
	}
}

// The words of these tests for what a node does.

func (s *site) file(name string) string         { return s.File(name) }
func (s *site) config() string                  { return s.Config() }
func (s *site) write()                          { s.t.Helper(); s.Write() }
func (s *site) configure(sections string)       { s.t.Helper(); s.Configure(sections) }
func (s *site) knows(name, key, addr string)    { s.t.Helper(); s.Knows(name, key, addr) }
func (s *site) key() string                     { s.t.Helper(); return s.Key() }
func (s *site) isUp() bool                      { return s.IsUp() }
func (s *site) signal(sig syscall.Signal)       { s.t.Helper(); s.Signal(sig) }
func (s *site) kill()                           { s.Kill() }
func (s *site) stop() time.Duration             { s.t.Helper(); return s.Stop() }
func (s *site) children() []int                 { return s.Children() }
func (s *site) try(a any, args ...string) error { return s.Try(a, args...) }
func (s *site) ask(a any, args ...string)       { s.t.Helper(); s.Ask(a, args...) }
func (s *site) refused(args ...string) string   { s.t.Helper(); return s.Refused(args...) }
func (s *site) status() status.Status           { s.t.Helper(); return s.Status() }
func (s *site) tail(lines int) string           { return s.Tail(lines) }
func (s *site) logged(words ...string) int      { s.t.Helper(); return s.Logged(words...) }
func (s *site) triggerFails(job string) string  { s.t.Helper(); return s.TriggerFails(job) }

func (s *site) call(args ...string) (stdout, stderr string, code int) { return s.Call(args...) }

func (s *site) await(what string, done func(status.Status) bool) status.Status {
	s.t.Helper()
	return s.Await(what, done)
}

func (s *site) awaitWithin(most time.Duration, what string, done func(status.Status) bool) status.Status {
	s.t.Helper()
	return s.AwaitWithin(most, what, done)
}

func (s *site) eventually(what string, done func() bool) { s.t.Helper(); s.Eventually(what, done) }

func (s *site) trigger(job string) control.TriggerResponse { s.t.Helper(); return s.Trigger(job) }

func within(most time.Duration, done func() bool) bool { return node.Within(most, done) }

func missing(text string, words ...string) string { return node.Missing(text, words...) }

func says(t *testing.T, text string, words ...string) { t.Helper(); node.Says(t, text, words...) }

func must(t *testing.T, err error) { t.Helper(); node.Must(t, err) }

func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	return node.Tool(t, name, args...)
}

// line finds the pair of a dataset in fra1's status.
func line(s status.Status, path string) status.Pair { return node.Line(s, path) }

// replicaLine finds a replica in sin1's status.
func replicaLine(s status.Status, path string) status.Replica { return node.ReplicaLine(s, path) }

// problemOf is what a line says went wrong.
func problemOf(p *status.Problem) string { return node.ProblemOf(p) }

func check(t *testing.T, s *site, object string, severity control.Severity) string {
	t.Helper()
	return s.Check(object, severity)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, os.ErrNotExist)
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return string(text)
}
