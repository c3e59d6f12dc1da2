package crossing

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
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"antipode/daemon/control"
	"antipode/daemon/status"
	"antipode/integration/loopfs"
)

const (
	pollEvery = 50 * time.Millisecond
	patience  = 30 * time.Second // of a condition; a bound, nothing is decided by it
	stopBound = 35 * time.Second // what the daemon promises for SIGTERM, and a little
	toolBound = time.Minute
)

// places counts the sides of this process, so that each has an address of its own.
var places atomic.Int32

// site is one machine: a file system, and a daemon with its own files, key and
// address. A test that ends, however it ends, leaves nothing of it behind.
type site struct {
	t       *testing.T
	name    string
	fs      *loopfs.FS
	dir     string // configuration, state, socket, log
	address string // host:port, where its daemon listens
	// advertise is the address that others are told; "" is address.
	advertise string
	peers     string   // [[peer]] sections
	sections  string   // what the test wants in the file beside them
	env       []string // of the daemon, beside the test's own
	shell     string   // runs the daemon as "$@"; "" starts it directly

	process *exec.Cmd
	ended   chan struct{} // closed when the process was reaped
}

// newSite makes a machine that does nothing yet.
func newSite(t *testing.T, name string, size int64) *site {
	t.Helper()
	s := &site{t: t, name: name, fs: loopfs.Make(t, size)}
	// A socket's path has at most 107 bytes, and t.TempDir has the test's name in it.
	dir, err := os.MkdirTemp("", "apx-")
	must(t, err)
	s.dir = dir
	t.Cleanup(func() { os.RemoveAll(dir) })
	host := fmt.Sprintf("127.%d.%d.%d", 64+os.Getpid()%128, os.Getpid()/128%256, places.Add(1))
	l, err := net.Listen("tcp", host+":0")
	must(t, err)
	s.address = l.Addr().String()
	l.Close()
	t.Cleanup(s.release)
	s.write()
	return s
}

// release ends whatever of the daemon is left, before the file system goes.
func (s *site) release() {
	if s.t.Failed() {
		s.t.Logf("log of %s:\n%s", s.name, s.tail(12))
	}
	s.kill()
	for _, pid := range s.children() {
		_ = unix.Kill(pid, unix.SIGKILL) // it may have ended by now
	}
	s.eventually("the children end", func() bool { return len(s.children()) == 0 })
}

func (s *site) at(parts ...string) string {
	return filepath.Join(append([]string{s.fs.Dir}, parts...)...)
}
func (s *site) file(name string) string { return filepath.Join(s.dir, name) }
func (s *site) config() string          { return s.file("antipode.toml") }

// text is the configuration file.
func (s *site) text(sections string) string {
	advertise := s.advertise
	if advertise == "" {
		advertise = s.address
	}
	head := fmt.Sprintf("node = %q\nstate_dir = %q\ncontrol_socket = %q\n", s.name, s.file("state"), s.file("sock"))
	if !strings.Contains(sections, "[listen]") {
		sections = fmt.Sprintf("[listen]\naddress = %q\nadvertise = %q\n[log]\nformat = \"json\"\n", s.address, advertise) + sections
	}
	return head + sections
}

// write puts the configuration in place; a daemon that runs is not told.
func (s *site) write() {
	s.t.Helper()
	must(s.t, os.WriteFile(s.config(), []byte(s.text(s.sections+s.peers)), 0o600))
}

// configure writes the sections, and has a daemon that runs take them over.
func (s *site) configure(sections string) {
	s.t.Helper()
	s.sections = sections
	s.write()
	if s.isUp() {
		s.ask(nil, "reload")
	}
}

// knows pins a peer's key by hand.
func (s *site) knows(name, key, address string) {
	s.t.Helper()
	s.peers += fmt.Sprintf("[[peer]]\nname = %q\nkey = %q\n", name, key)
	if address != "" {
		s.peers += fmt.Sprintf("address = %q\n", address)
	}
	s.write()
}

func (s *site) key() string {
	s.t.Helper()
	var id control.IdentityResponse
	s.ask(&id, "identity")
	return id.Key
}

// start runs the daemon and returns when it answers.
func (s *site) start() {
	s.t.Helper()
	s.launch()
	s.eventually("the daemon answers", func() bool {
		select {
		case <-s.ended:
			s.t.Fatalf("the daemon of %s ended at once:\n%s", s.name, s.tail(10))
		default:
		}
		var v struct{ Daemon *control.VersionResponse }
		return s.try(&v, "version") == nil && v.Daemon != nil
	})
}

// launch runs the daemon and does not wait for it.
func (s *site) launch() {
	s.t.Helper()
	log, err := os.OpenFile(s.file("log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(s.t, err)
	defer log.Close()
	args := []string{binary, "daemon", "--config", s.config()}
	if s.shell != "" {
		args = append([]string{"unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", s.shell, "sh"}, args...)
	}
	s.process = exec.Command(args[0], args[1:]...)
	s.process.Env = append(os.Environ(), s.env...)
	s.process.Stdout, s.process.Stderr = log, log
	s.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(s.t, s.process.Start())
	ended := make(chan struct{})
	s.ended = ended
	go func(p *exec.Cmd) {
		_ = p.Wait() // how it ended is in ProcessState
		close(ended)
	}(s.process)
}

func (s *site) isUp() bool {
	if s.process == nil {
		return false
	}
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

func (s *site) signal(sig syscall.Signal) {
	s.t.Helper()
	must(s.t, s.process.Process.Signal(sig))
}

// kill is kill -9. Children of the daemon are left to themselves.
func (s *site) kill() {
	if s.isUp() {
		_ = s.process.Process.Kill() // it may have ended by now
		<-s.ended
	}
}

// stop is SIGTERM; it returns how long the daemon took.
func (s *site) stop() time.Duration {
	s.t.Helper()
	began := time.Now()
	s.signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(stopBound):
		s.t.Fatalf("the daemon of %s did not stop within %s", s.name, stopBound)
	}
	if code := s.process.ProcessState.ExitCode(); code != 0 {
		s.t.Errorf("the daemon of %s stopped with exit code %d, want 0:\n%s", s.name, code, s.tail(5))
	}
	return time.Since(began)
}

// children are the processes that work on this site's file system for a daemon,
// also for one that is gone: their command lines name it.
func (s *site) children() []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		s.t.Fatal(err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && bytes.Contains(line, []byte(s.fs.Dir+"/")) && bytes.Contains(line, []byte("btrfs\x00")) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// call runs a command of antipode against this site.
func (s *site) call(args ...string) (stdout, stderr string, code int) {
	ctx, cancel := context.WithTimeout(context.Background(), toolBound)
	defer cancel()
	var out, errOut bytes.Buffer
	cmd := exec.CommandContext(ctx, binary, append([]string{"--config", s.config()}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		s.t.Fatalf("run antipode %v: %v", args, err)
	}
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// try runs a command with --json and decodes its answer; nil decodes nothing.
func (s *site) try(answer any, args ...string) error {
	out, errOut, code := s.call(append(args, "--json")...)
	if code != 0 {
		return fmt.Errorf("antipode %s on %s: exit code %d: %s%s", strings.Join(args, " "), s.name, code, errOut, out)
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal([]byte(out), answer)
}

// ask is try that must succeed.
func (s *site) ask(answer any, args ...string) {
	s.t.Helper()
	if err := s.try(answer, args...); err != nil {
		s.t.Fatal(err)
	}
}

// refused runs a command that must fail, and returns what it said.
func (s *site) refused(args ...string) string {
	s.t.Helper()
	out, errOut, code := s.call(args...)
	if code == 0 {
		s.t.Fatalf("antipode %s on %s succeeded, want a refusal:\n%s", strings.Join(args, " "), s.name, out)
	}
	return errOut + out
}

func (s *site) status() status.Status {
	s.t.Helper()
	var st status.Status
	s.ask(&st, "status")
	return st
}

// await polls the status until done says so, and returns that status.
func (s *site) await(what string, done func(status.Status) bool) status.Status {
	s.t.Helper()
	return s.awaitWithin(patience, what, done)
}

func (s *site) awaitWithin(most time.Duration, what string, done func(status.Status) bool) (st status.Status) {
	s.t.Helper()
	if !within(most, func() bool { st = s.status(); return done(st) }) {
		text, _ := json.MarshalIndent(st, "", " ")
		s.t.Fatalf("on %s, not within %s: %s\nlast status: %s", s.name, most, what, text)
	}
	return st
}

// eventually polls a condition that no status shows.
func (s *site) eventually(what string, done func() bool) {
	s.t.Helper()
	if !within(patience, done) {
		s.t.Fatalf("on %s, not within %s: %s", s.name, patience, what)
	}
}

// within polls until done or until the time is over.
func within(most time.Duration, done func() bool) bool {
	limit := time.NewTimer(most)
	defer limit.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if done() {
			return true
		}
		select {
		case <-limit.C:
			return done()
		case <-tick.C:
		}
	}
}

// tail is the end of the daemon's log.
func (s *site) tail(lines int) string {
	text, err := os.ReadFile(s.file("log"))
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// logged counts the lines of the log that hold all the words.
func (s *site) logged(words ...string) int {
	s.t.Helper()
	text, err := os.ReadFile(s.file("log"))
	must(s.t, err)
	n := 0
	for line := range strings.Lines(string(text)) {
		if missing(line, words...) == "" {
			n++
		}
	}
	return n
}

// trigger runs a job to its end.
func (s *site) trigger(job string) control.TriggerResponse {
	s.t.Helper()
	var r control.TriggerResponse
	s.ask(&r, "trigger", job, "--wait")
	return r
}

// triggerFails runs a job that must end with errors, and returns them as text.
func (s *site) triggerFails(job string) string {
	s.t.Helper()
	out, errOut, code := s.call("trigger", job, "--wait", "--json")
	var r control.TriggerResponse
	if code == 0 || json.Unmarshal([]byte(out), &r) != nil {
		s.t.Fatalf("trigger %s: exit code %d, want errors:\n%s%s", job, code, out, errOut)
	}
	text := ""
	for _, e := range r.Errors {
		text += e.Error() + "\n"
	}
	return text
}

// missing returns the first of the words that text lacks; "" if it has all.
func missing(text string, words ...string) string {
	for _, w := range words {
		if !strings.Contains(text, w) {
			return w
		}
	}
	return ""
}

// says fails the test unless text holds all the words.
func says(t *testing.T, text string, words ...string) {
	t.Helper()
	if w := missing(text, words...); w != "" {
		t.Errorf("it does not say %q:\n%s", w, text)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tool runs one of the system's programs and returns what it printed.
func tool(t *testing.T, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), toolBound)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
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

func decode(t *testing.T, text string, v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), v); err != nil {
		t.Fatalf("decode: %v: %q", err, text)
	}
}
