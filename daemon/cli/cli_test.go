package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"antipode/daemon/config"
	"antipode/daemon/control"
	"antipode/daemon/status"
	"antipode/integration/golden"
	"antipode/transport/peer"
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

// host is a machine with a configuration, and with a daemon if one is started.
type host struct {
	dir    string
	in     string // standard input
	socket string
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{dir: t.TempDir()}
	h.socket = filepath.Join(h.dir, "s")
	h.configure(t, "")
	return h
}

func (h *host) configure(t *testing.T, more string) {
	t.Helper()
	text := fmt.Sprintf("node = \"fra1\"\nstate_dir = %q\ncontrol_socket = %q\n%s", h.dir, h.socket, more)
	if err := os.WriteFile(filepath.Join(h.dir, "antipode.toml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// daemon answers with the given handlers until the test ends.
func (h *host) daemon(t *testing.T, register func(*control.Server)) {
	t.Helper()
	l, err := control.Listen(h.socket)
	if err != nil {
		t.Fatal(err)
	}
	s := control.NewServer(zerolog.Nop())
	register(s)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// answers registers a handler that always answers the same, and fails the test
// when it is asked for something else than want.
func answers[Req comparable, Resp any](t *testing.T, s *control.Server, verb control.Verb, want Req, resp Resp, err error) {
	control.Handle(s, verb, func(_ context.Context, got Req) (Resp, error) {
		if got != want {
			t.Errorf("%s was asked for %+v, want %+v", verb, got, want)
		}
		return resp, err
	})
}

// run executes a command line with a clock that stands at noon.
func (h *host) run(t *testing.T, args ...string) (code int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	root := newRoot(&app{now: func() time.Time { return noon }})
	root.SetArgs(append([]string{"--config", filepath.Join(h.dir, "antipode.toml")}, args...))
	root.SetIn(strings.NewReader(h.in))
	root.SetOut(&o)
	root.SetErr(&e)
	code = exitCode(root.ExecuteContext(t.Context()), &e)
	return code, strings.ReplaceAll(o.String(), h.dir, "DIR"), strings.ReplaceAll(e.String(), h.dir, "DIR")
}

// tells compares got with a file whose first line tells the story.
func tells(t *testing.T, name, about, got string) {
	t.Helper()
	golden.Check(t, filepath.Join("testdata", name+".txt"), "# "+about+"\n"+got)
}

func TestUsageIsExitCode2(t *testing.T) {
	h := newHost(t)
	cases := []struct {
		name string
		args []string
		text string
	}{
		{"unknown command", []string{"statis"}, `unknown command "statis"; did you mean status?`},
		{"unknown flag", []string{"status", "--loud"}, "unknown flag: --loud"},
		{"missing argument", []string{"trigger"}, "usage: antipode trigger JOB"},
		{"too many arguments", []string{"health", "x"}, "usage: antipode health"},
		{"no dataset path", []string{"promote", "../x"}, "not clean"},
		{"no token", []string{"pair", "-"}, "no token"},
	}
	for _, c := range cases {
		code, _, errOut := h.run(t, c.args...)
		if code != exitUsage || !strings.Contains(errOut, c.text) || strings.Count(errOut, "antipode: ") != 1 {
			t.Errorf("%s: got %d %q, want 2 with %q, once", c.name, code, errOut, c.text)
		}
	}
	if code, out, _ := h.run(t); code != exitOK || !strings.Contains(out, "Available Commands") {
		t.Errorf("no command: got %d %q, want help", code, out)
	}
}

func TestWithoutADaemonTheNextStepIsSaid(t *testing.T) {
	h := newHost(t)
	for _, args := range [][]string{{"trigger", "db"}, {"pause", "db"}, {"abort", "db"}, {"plan"}, {"pair"}, {"promote", "/x", "--yes"}, {"reload"}} {
		code, out, errOut := h.run(t, args...)
		if code != exitFail || out != "" || !strings.Contains(errOut, "no daemon answers; next: start it") {
			t.Errorf("%v: got %d %q %q, want 1 and the next step", args, code, out, errOut)
		}
	}
}

func TestSimpleCommands(t *testing.T) {
	boom := &control.Error{Kind: control.KindNotFound, Object: "job db", Text: "no such job", Next: "see `antipode status`"}
	ended := control.TriggerResponse{Job: "db", Started: noon, Ended: noon.Add(12 * time.Second), Snapshots: 2, Steps: 2, Bytes: 3 << 20}
	failed := ended
	failed.Errors = []control.Error{*boom}
	aborted := control.AbortResponse{Aborted: []control.Aborted{{Dataset: "/d", Peer: "sin1", Bytes: 2048}}}
	cases := []struct {
		name     string
		args     []string
		register func(*testing.T, *control.Server)
		code     int
		out, err string
	}{
		{"trigger", []string{"trigger", "db"}, func(t *testing.T, s *control.Server) {
			answers(t, s, control.Trigger, control.TriggerRequest{Job: "db"}, control.TriggerResponse{Job: "db"}, nil)
		}, 0, "job db was started\n", ""},
		{"trigger and wait", []string{"trigger", "db", "--wait"}, func(t *testing.T, s *control.Server) {
			answers(t, s, control.Trigger, control.TriggerRequest{Job: "db", Wait: true}, ended, nil)
		}, 0, "job db: snapshots made: 2, steps sent: 2, 3.00 MiB in 12s\n", ""},
		{"trigger fails", []string{"trigger", "db", "--wait"}, func(t *testing.T, s *control.Server) {
			answers(t, s, control.Trigger, control.TriggerRequest{Job: "db", Wait: true}, failed, nil)
		}, 1, "  ! job db: no such job\n    next: see `antipode status`\n", ""},
		{"the daemon's error", []string{"trigger", "db"}, func(t *testing.T, s *control.Server) {
			answers(t, s, control.Trigger, control.TriggerRequest{Job: "db"}, control.TriggerResponse{}, error(boom))
		}, 1, "", "antipode: job db: no such job; next: see `antipode status`\n"},
		{"pause", []string{"pause", "db"}, func(t *testing.T, s *control.Server) {
			answers(t, s, control.Pause, control.JobRequest{Job: "db"}, control.PauseResponse{Job: "db", Paused: true}, nil)
		}, 0, "job db is paused\n", ""},
		{"unpause what runs", []string{"unpause", "db"}, func(t *testing.T, s *control.Server) {
			answers(t, s, control.Unpause, control.JobRequest{Job: "db"}, control.PauseResponse{Job: "db"}, nil)
		}, 0, "job db runs by its schedule, as before\n", ""},
		{"abort", []string{"abort", "db", "/d", "--peer", "sin1"}, func(t *testing.T, s *control.Server) {
			answers(t, s, control.Abort, control.AbortRequest{Job: "db", Dataset: "/d", Peer: "sin1"}, aborted, nil)
		}, 0, "gave up /d to sin1, 2.00 KiB had arrived\n", ""},
		{"abort nothing, as JSON", []string{"abort", "db", "--json"}, func(t *testing.T, s *control.Server) {
			answers(t, s, control.Abort, control.AbortRequest{Job: "db"}, control.AbortResponse{}, nil)
		}, 0, "{\n  \"aborted\": null\n}\n", ""},
		{"issue a token", []string{"pair"}, func(t *testing.T, s *control.Server) {
			answers(t, s, control.Pair, control.Nothing{}, control.PairResponse{Token: "tok", Expires: noon.Add(10 * time.Minute)}, nil)
		}, 0, "tok\n", "On the other node, within 10m and once:  antipode pair TOKEN\n"},
		{"accept a token", []string{"pair", "tok"}, func(t *testing.T, s *control.Server) {
			answers(t, s, control.PairAccept, control.PairAcceptRequest{Token: "tok"}, control.PairAcceptResponse{Peer: "sin1", Address: "a:1", Key: "k", File: "/f"}, nil)
		}, 0, "paired with sin1 at a:1\nits key k is pinned in /f\n", ""},
		{"accept a token of who cannot dial us", []string{"pair", "tok", "--reverse"}, func(t *testing.T, s *control.Server) {
			answers(t, s, control.PairAccept, control.PairAcceptRequest{Token: "tok", Reverse: true}, control.PairAcceptResponse{Peer: "sin1"}, nil)
		}, 0, "paired with sin1", ""},
		{"accept a token from standard input", []string{"pair", "-"}, func(t *testing.T, s *control.Server) {
			answers(t, s, control.PairAccept, control.PairAcceptRequest{Token: "from-stdin"}, control.PairAcceptResponse{Peer: "sin1"}, nil)
		}, 0, "paired with sin1", ""},
		{"reload", []string{"reload"}, func(t *testing.T, s *control.Server) {
			answers(t, s, control.Reload, control.Nothing{}, control.ReloadResponse{Changes: []string{"job db: every 1h"}}, nil)
		}, 0, "job db: every 1h\n", ""},
		{"version of another daemon", []string{"version"}, func(t *testing.T, s *control.Server) {
			answers(t, s, control.Version, control.Nothing{}, control.VersionResponse{Version: "v9"}, nil)
		}, 0, "the running daemon is v9, protocol 0; restart it\n", ""},
		{"datasets for a shell", []string{"__complete", "pin", "/data/w"}, func(t *testing.T, s *control.Server) {
			answers(t, s, control.Names, control.NamesRequest{}, control.NamesResponse{Names: []string{"/data/db", "/data/www"}}, nil)
		}, 0, "/data/www@\n:6\n", ""}, // 6: no file, and no space behind it
		{"snapshots for a shell", []string{"__complete", "explain", "/data/db@antipode_db_2026"}, func(t *testing.T, s *control.Server) {
			answers(t, s, control.Names, control.NamesRequest{Dataset: "/data/db"}, control.NamesResponse{Names: []string{"antipode_db_2025", "antipode_db_20260101T000000Z"}}, nil)
		}, 0, "/data/db@antipode_db_20260101T000000Z\n:4\n", ""},
		{"snapshots of a dataset for a shell", []string{"__complete", "promote", "/data/db", "--snapshot", "b"}, func(t *testing.T, s *control.Server) {
			answers(t, s, control.Names, control.NamesRequest{Dataset: "/data/db"}, control.NamesResponse{Names: []string{"a", "b1", "b2"}}, nil)
		}, 0, "b1\nb2\n:4\n", ""},
		{"datasets to resolve for a shell", []string{"__complete", "resolve", ""}, func(t *testing.T, s *control.Server) {
			answers(t, s, control.Names, control.NamesRequest{}, control.NamesResponse{Names: []string{"/data/db"}}, nil)
		}, 0, "/data/db\n:4\n", ""},
		{"names for a shell", []string{"__complete", "trigger", ""}, func(t *testing.T, s *control.Server) {
			answers(t, s, control.Status, control.Nothing{}, status.Status{Jobs: []status.Job{{ID: "db"}, {ID: "www"}}}, nil)
		}, 0, "db\nwww\n", ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			h.in = "from-stdin\n"
			h.daemon(t, func(s *control.Server) { c.register(t, s) })
			code, out, errOut := h.run(t, c.args...)
			if code != c.code || !strings.Contains(out, c.out) || !strings.Contains(errOut, c.err) {
				t.Errorf("got %d\nout %q\nerr %q\nwant %d\nout %q\nerr %q", code, out, errOut, c.code, c.out, c.err)
			}
		})
	}
}

func TestVersionAndCompletionNeedNoDaemon(t *testing.T) {
	h := newHost(t)
	if code, out, _ := h.run(t, "version"); code != exitOK || !strings.HasPrefix(out, "antipode ") {
		t.Errorf("version: got %d %q", code, out)
	}
	if code, out, _ := h.run(t, "completion", "bash"); code != exitOK || !strings.Contains(out, "__start_antipode") {
		t.Errorf("completion: got %d and %d bytes", code, len(out))
	}
}

func TestADaemonWithABadFileDoesNotStart(t *testing.T) {
	h := newHost(t)
	h.configure(t, "nonsense = 1\n")
	if code, _, errOut := h.run(t, "daemon"); code != exitFail || !strings.Contains(errOut, `antipode.toml:4: unknown key "nonsense"`) {
		t.Errorf("got %d %q, want 1 with the file and the line", code, errOut)
	}
}

// The real daemon behind the real socket, with nothing to do.
func TestADaemonRunsUntilItIsStopped(t *testing.T) {
	h := newHost(t)
	// A loopback address of this process's own: no other test can have the port.
	pid := os.Getpid()
	h.configure(t, fmt.Sprintf("[listen]\naddress = \"127.%d.%d.%d:8771\"\n", 1+pid>>16&127, pid>>8&255, pid&255))
	ctx, cancel := context.WithCancel(t.Context())
	up, log := make(chan struct{}), &firstWrite{}
	log.then = func() { close(up) }
	ended := make(chan int, 1)
	go func() {
		ended <- Run(ctx, []string{"daemon", "--config", filepath.Join(h.dir, "antipode.toml")}, nil, log, log)
	}()
	select {
	case <-up:
	case code := <-ended:
		t.Fatalf("the daemon ended with %d: %s", code, log.all.String())
	}
	if code, out, errOut := h.run(t, "status"); code != exitOK || !strings.Contains(out, "Nothing to show yet") {
		t.Errorf("status: got %d %q %q", code, out, errOut)
	}
	if code, out, _ := h.run(t, "health"); code != status.HealthUnknown || !strings.Contains(out, "no job runs here") {
		t.Errorf("health: got %d %q", code, out)
	}
	cancel()
	if code := <-ended; code != exitOK {
		t.Errorf("the daemon ended with %d, want 0", code)
	}
}

// firstWrite tells when the first line was logged that says the daemon is up.
type firstWrite struct {
	once sync.Once
	then func()
	all  bytes.Buffer
}

func (w *firstWrite) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("daemon is up")) {
		w.once.Do(w.then)
	}
	return w.all.Write(b)
}

func TestIdentityNeedsNoDaemonAndStaysTheSame(t *testing.T) {
	h := newHost(t)
	code, first, errOut := h.run(t, "identity")
	if _, err := peer.ParseFingerprint(strings.TrimSpace(first)); code != exitOK || err != nil {
		t.Fatalf("got %d %q %q: %v; want a key alone", code, first, errOut, err)
	}
	_, raw, _ := h.run(t, "identity", "--json")
	var second control.IdentityResponse
	if err := json.Unmarshal([]byte(raw), &second); err != nil || second.Key != strings.TrimSpace(first) || second.Node != "fra1" {
		t.Errorf("got %+v, %v; want node fra1 with key %s", second, err, first)
	}
}

func TestLogger(t *testing.T) {
	cases := []struct {
		name string
		in   config.Log
		want string
	}{
		{"a pipe gets JSON", config.Log{Format: "auto"}, `"message":"hello"`},
		{"pretty when asked for", config.Log{Format: "pretty"}, "INF hello"},
		{"a level leaves out", config.Log{Level: "error"}, ""},
	}
	for _, c := range cases {
		var b bytes.Buffer
		log := Logger(&b, c.in)
		log.Info().Msg("hello")
		if got := b.String(); !strings.Contains(got, c.want) || (c.want == "") != (got == "") || strings.Contains(got, "\x1b") {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func FuzzReadToken(f *testing.F) {
	f.Add("token\n")
	f.Add("")
	f.Add(" \n x")
	f.Fuzz(func(t *testing.T, in string) {
		token, err := readToken("-", strings.NewReader(in))
		if (err == nil) != (token != "") || len(token) > maxToken || strings.ContainsRune(token, '\n') {
			t.Errorf("%q: got %q, %v", in, token, err)
		}
	})
}
