package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
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
	"antipode/daemon/ledger"
	"antipode/daemon/plan"
	"antipode/daemon/prune"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
	"antipode/transport/peer"
)

var update = flag.Bool("update", false, "rewrite the golden files")

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

// golden compares got with a file whose first line tells the story.
func golden(t *testing.T, name, about, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	got = "# " + about + "\n" + got
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil || got != string(want) {
		t.Errorf("%s: %v\ngot:\n%s\nwant:\n%s", path, err, got, want)
	}
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
		{"accept a token from standard input", []string{"pair", "-"}, func(t *testing.T, s *control.Server) {
			answers(t, s, control.PairAccept, control.PairAcceptRequest{Token: "from-stdin"}, control.PairAcceptResponse{Peer: "sin1"}, nil)
		}, 0, "paired with sin1", ""},
		{"reload", []string{"reload"}, func(t *testing.T, s *control.Server) {
			answers(t, s, control.Reload, control.Nothing{}, control.ReloadResponse{Changes: []string{"job db: every 1h"}}, nil)
		}, 0, "job db: every 1h\n", ""},
		{"version of another daemon", []string{"version"}, func(t *testing.T, s *control.Server) {
			answers(t, s, control.Version, control.Nothing{}, control.VersionResponse{Version: "v9"}, nil)
		}, 0, "the running daemon is v9, protocol 0; restart it\n", ""},
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

func TestHealthExitsWithItsCode(t *testing.T) {
	for code := range 4 {
		h := newHost(t)
		h.daemon(t, func(s *control.Server) {
			answers(t, s, control.Health, control.Nothing{}, control.HealthResponse{Code: code, Line: "the line"}, nil)
		})
		if got, out, errOut := h.run(t, "health"); got != code || out != "the line\n" || errOut != "" {
			t.Errorf("got %d %q %q, want %d and the line", got, out, errOut, code)
		}
	}
}

// fact is a replication whose newest point is that old.
func fact(side ledger.Side, path dataset.Path, ago time.Duration) ledger.Fact {
	return ledger.Fact{
		FactKey: ledger.FactKey{Side: side, Job: "db", Dataset: path, Peer: "sin1"}, At: noon.Add(-time.Hour), RPO: time.Hour,
		Point: ledger.Point{Name: "p", Created: noon.Add(-ago)}, State: "ok",
	}
}

func (h *host) remember(t *testing.T, b ledger.Batch) *ledger.Ledger {
	t.Helper()
	l, err := ledger.Open(ledger.Path(h.dir), func() time.Time { return noon })
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Write(b); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestHealthWithoutADaemonComesFromTheLedger(t *testing.T) {
	seeding := fact(ledger.Source, "/d", 0)
	seeding.Point = ledger.Point{}
	cases := []struct {
		name  string
		facts []ledger.Fact
		code  int
		line  string
	}{
		{"all was well", []ledger.Fact{fact(ledger.Source, "/d", time.Minute)}, 1, "WARNING: no daemon runs; when it stopped: OK: 1 replica sent, largest lag 1m"},
		{"an objective is missed since", []ledger.Fact{fact(ledger.Source, "/c", time.Minute), fact(ledger.Source, "/d", 2*time.Hour)}, 2, "CRITICAL: /d to sin1: rpo missed, lag 2h of 1h (no daemon runs; told from the ledger)"},
		{"a target speaks up too", []ledger.Fact{fact(ledger.Target, "/d", 2*time.Hour)}, 2, "CRITICAL: /d from sin1: rpo missed"},
		{"it was seeding", []ledger.Fact{seeding}, 1, "first copy: none yet"},
		{"nothing is remembered", nil, 3, "UNKNOWN: no job runs here"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			h.remember(t, ledger.Batch{Facts: c.facts, Events: []ledger.Event{{Text: "x"}}}).Close()
			if code, out, _ := h.run(t, "health"); code != c.code || !strings.Contains(out, c.line) {
				t.Errorf("got %d %q, want %d with %q", code, out, c.code, c.line)
			}
		})
	}
}

func TestHealthIsUnknownWhenNothingCanTell(t *testing.T) {
	h := newHost(t)
	if code, out, _ := h.run(t, "health"); code != 3 || !strings.Contains(out, "there is no ledger") {
		t.Errorf("no ledger: got %d %q", code, out)
	}
	defer h.remember(t, ledger.Batch{}).Close() // another process has it
	if code, out, _ := h.run(t, "health"); code != 3 || !strings.Contains(out, "does not answer") {
		t.Errorf("locked ledger: got %d %q", code, out)
	}
	h.configure(t, "nonsense = 1\n")
	if code, out, _ := h.run(t, "health"); code != 3 || !strings.Contains(out, "--socket") || strings.Count(out, "\n") != 1 {
		t.Errorf("bad configuration: got %d %q", code, out)
	}
}

func TestStatus(t *testing.T) {
	s := status.Status{Node: "fra1", Version: "0.1.0", Now: noon, Started: noon.Add(-time.Hour), Jobs: []status.Job{{ID: "db", Driver: "btrfs"}}}
	h := newHost(t)
	h.daemon(t, func(srv *control.Server) { answers(t, srv, control.Status, control.Nothing{}, s, nil) })
	if code, out, _ := h.run(t, "status"); code != exitOK || !strings.Contains(out, "JOB db  btrfs") || strings.Contains(out, "\x1b") {
		t.Errorf("got %d %q, want the job without colour", code, out)
	}
	_, raw, _ := h.run(t, "status", "--json")
	var got status.Status
	if err := json.Unmarshal([]byte(raw), &got); err != nil || got.Jobs[0].ID != "db" || !got.Now.Equal(noon) {
		t.Errorf("got %s, %v; want the status as JSON", raw, err)
	}
}

func TestStatusWithoutADaemonShowsWhatIsKnownAndFails(t *testing.T) {
	h := newHost(t)
	h.remember(t, ledger.Batch{
		Facts: []ledger.Fact{fact(ledger.Source, "/d", 2*time.Hour), fact(ledger.Target, "/e", time.Minute)},
		Runs:  []ledger.Run{{Job: "db", Started: noon.Add(-3 * time.Hour)}, {Job: "db", Started: noon.Add(-2 * time.Hour)}},
	}).Close()
	code, out, errOut := h.run(t, "status")
	if code != exitFail || !strings.Contains(errOut, "no daemon answers") {
		t.Errorf("got %d %q, want 1 and that no daemon answers", code, errOut)
	}
	golden(t, "status-of-the-ledger", "No daemon runs: the status is drawn from what the ledger remembers.", out)
}

func TestWatchEndsWithItsContext(t *testing.T) {
	h := newHost(t)
	ctx, cancel := context.WithCancel(t.Context())
	h.daemon(t, func(s *control.Server) {
		control.Handle(s, control.Status, func(context.Context, control.Nothing) (status.Status, error) {
			cancel()
			return status.Status{Node: "fra1", Now: noon}, nil
		})
	})
	var out bytes.Buffer
	if code := Run(ctx, []string{"status", "--watch", "--socket", h.socket}, nil, &out, &out); code != exitOK {
		t.Errorf("got %d %q, want 0", code, out.String())
	}
}

func TestAFrameOverwritesTheOneBefore(t *testing.T) {
	if got, want := frame("a\nb\n", true), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := frame("a\n", false); got != "a\n\n" {
		t.Errorf("a pipe gets %q", got)
	}
}

func TestCheck(t *testing.T) {
	good := control.Finding{Severity: control.Good, Object: "peer sin1", What: "answers in 180ms, protocol 1, clock 12ms ahead"}
	bad := control.Finding{Severity: control.Fatal, Object: "job db", What: "/data/x is not a subvolume", Cure: "make it one with `btrfs subvolume create`"}
	cases := []struct {
		name, about, config string
		found               []control.Finding // nil: no daemon
		code                int
	}{
		{"check-good", "The file is valid, and the daemon has found nothing wrong.", "", []control.Finding{good}, 0},
		{"check-fatal", "The daemon has found a dataset that is none; the worst comes first.", "", []control.Finding{good, bad}, 1},
		{"check-no-daemon", "The file is valid, and no daemon runs to look at the rest.", "", nil, 0},
		{"check-bad-file", "The file has an unknown key; the daemon cannot be found through it.", "[[job]]\nid = \"db\"\ncolour = \"red\"\n", nil, 1},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			h.configure(t, c.config)
			if c.found != nil {
				h.daemon(t, func(s *control.Server) {
					answers(t, s, control.Check, control.Nothing{}, control.CheckResponse{Findings: c.found}, nil)
				})
			}
			code, out, errOut := h.run(t, "check")
			if code != c.code || errOut != "" {
				t.Errorf("got %d %q, want %d", code, errOut, c.code)
			}
			golden(t, c.name, c.about, out)
		})
	}
}

func TestCheckTellsADamagedKey(t *testing.T) {
	h := newHost(t)
	if err := os.WriteFile(filepath.Join(h.dir, peer.IdentityFile), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	if code, out, _ := h.run(t, "check"); code != exitFail || !strings.Contains(out, "fatal    key of this node\n") {
		t.Errorf("got %d %q, want a fatal finding", code, out)
	}
}

func snap(name string, id dataset.ID) dataset.Snapshot {
	return dataset.Snapshot{Name: name, ID: id, Created: noon, Retain: noon}
}

// nightBefore is a preview of two jobs in which everything happens once.
func nightBefore() preview {
	step := func(path dataset.Path, from, to dataset.Snapshot, why string) plan.Step {
		return plan.Step{Step: dataset.Step{Job: "db", Dataset: dataset.Dataset{Path: path}, From: from, To: to}, Why: why}
	}
	a, b, c := snap("antipode_db_20260503T000000Z", "a"), snap("antipode_db_20260504T110000Z", "b"), snap("antipode_db_20260504T120000Z", "c")
	dropped := plan.Dropped{Checkpoint: dataset.Checkpoint{Kind: "btrfs-segments", Done: 5 << 30}, Why: "its snapshot was removed"}
	return preview{Now: noon, Jobs: []jobPreview{
		{
			Job: "db", Next: noon.Add(50 * time.Minute),
			Snapshots: []control.SnapshotPreview{{Dataset: "/data/db", Name: c.Name, Why: "every 1h"}, {Dataset: "/data/www/shop", Name: c.Name, Why: "every 1h"}},
			Sends: []sendPreview{
				{
					Dataset: "/data/db", Peer: "sin1", Far: []string{"sin1 prunes by its own policy"},
					Plan: &plan.Plan{Why: "2 newer than the base", Steps: []plan.Step{
						step("/data/db", a, b, "on top of the newest common base"), step("/data/db", b, c, "not made yet"),
					}, Resume: dataset.Checkpoint{Kind: "btrfs-segments", Done: 3 << 20}},
					Estimates: []control.Estimate{{Bytes: 1288 << 20, Kind: control.Exact}, {Kind: control.Unknown}},
				},
				{
					Dataset: "/data/www/shop", Peer: "sin1",
					Plan: &plan.Plan{
						Why: "first copy", Dropped: &dropped,
						Steps: []plan.Step{step("/data/www/shop", dataset.Snapshot{}, c, "the target holds nothing")},
					},
					Estimates: []control.Estimate{{Bytes: 40 << 30, Kind: control.UpperBound}},
				},
				{
					Dataset: "/data/mail", Peer: "sin1",
					Conflict: &control.Error{Kind: control.KindConflict, Text: "the target diverged", Next: "look at both lists"},
				},
			},
			Prunes: []prunePreview{{Dataset: "/data/db", Verdicts: []prune.Verdict{
				{Snapshot: a, Destroy: true, Reasons: []prune.Reason{{Kind: prune.Expired, Text: "nothing keeps it"}}},
				{Snapshot: b, Reasons: []prune.Reason{{Kind: prune.Base, Text: "base with sin1"}, {Kind: prune.Hourly, Text: "hourly 1 of 48"}}},
				{Snapshot: c, Reasons: []prune.Reason{{Kind: prune.Newest, Text: "the newest point"}}},
			}}},
		},
		{Job: "idle", Paused: true, Problems: []control.Error{{Object: "sin2", Text: "cannot be reached", Next: "see `antipode check`"}}},
	}}
}

func TestPlan(t *testing.T) {
	cases := []struct {
		name, about string
		args        []string
		request     string
	}{
		{"plan", "A job that catches up, resumes, starts anew and is in conflict; and one that is paused.", []string{"plan"}, ""},
		{"plan-all", "The same, with every snapshot that stays.", []string{"plan", "db", "--all"}, "db"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t)
			h.daemon(t, func(s *control.Server) {
				answers(t, s, control.Plan, control.PlanRequest{Job: c.request}, nightBefore(), nil)
			})
			code, out, errOut := h.run(t, c.args...)
			if code != exitOK || errOut != "" {
				t.Errorf("got %d %q, want 0", code, errOut)
			}
			golden(t, c.name, c.about, out)
		})
	}
}

// What a dry run prints as JSON is what a run could execute.
func TestAPlanPassesThroughJSONUnchanged(t *testing.T) {
	h := newHost(t)
	h.daemon(t, func(s *control.Server) { answers(t, s, control.Plan, control.PlanRequest{}, nightBefore(), nil) })
	_, out, _ := h.run(t, "plan", "--json")
	var got preview
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatal(err)
	}
	want, step := nightBefore().Jobs[0].Sends[0].Plan.Steps[0], got.Jobs[0].Sends[0].Plan.Steps[0]
	if step.ID() != want.ID() || step.Why != want.Why {
		t.Errorf("got step %s %+v, want %s %+v", step.ID(), step, want.ID(), want)
	}
}

// standby answers promote: first the preview, then the deed.
func standby(t *testing.T, reachable bool, promoted *control.PromoteRequest) func(*control.Server) {
	return func(s *control.Server) {
		control.Handle(s, control.Promote, func(_ context.Context, r control.PromoteRequest) (control.PromoteResponse, error) {
			out := control.PromoteResponse{
				Dataset: r.Dataset, From: "fra1", Role: "standby", Generation: 1, Point: "antipode_db_20260504T114800Z",
				PointTime: noon.Add(-12 * time.Minute), Age: 12 * time.Minute, PrimaryReachable: reachable, Receiving: true, Newer: []string{"x", "y"},
			}
			if !r.Preview {
				*promoted = r
				out.Generation, out.Live, out.SetAside, out.Took = 2, "/backup/live/data/db", "/backup/aside", 412*time.Millisecond
			}
			return out, nil
		})
	}
}

func TestPromote(t *testing.T) {
	cases := []struct {
		name      string
		args      []string
		reachable bool
		code      int
		done      bool
		err       string
	}{
		{"lost primary", []string{"--yes", "--from", "fra1", "--reason", "fire"}, false, 0, true, "fra1 does not answer"},
		{"the old primary answers", []string{"--yes"}, true, 1, false, "next: stop the writers there"},
		{"the old primary answers, forced", []string{"--yes", "--force"}, true, 0, true, "fra1 answers"},
		{"nobody to confirm", nil, false, 2, false, "add --yes"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var promoted control.PromoteRequest
			h := newHost(t)
			h.in = "/data/db\n"
			h.daemon(t, standby(t, c.reachable, &promoted))
			code, out, errOut := h.run(t, append([]string{"promote", "/data/db"}, c.args...)...)
			if code != c.code || !strings.Contains(errOut, c.err) || (promoted.Dataset == "/data/db") != c.done {
				t.Errorf("got %d, promoted %+v, %q; want %d, %v with %q", code, promoted, errOut, c.code, c.done, c.err)
			}
			if c.name == "lost primary" {
				golden(t, "promote", "The primary is lost: what is known before, and after.", errOut+"--- done\n"+out)
				if promoted.From != "fra1" || promoted.Reason != "fire" || promoted.Force {
					t.Errorf("asked for %+v", promoted)
				}
			}
		})
	}
}

func TestTheDatasetHasToBeTyped(t *testing.T) {
	for in, want := range map[string]error{"/data/db\n": nil, "y\n": errDeclined, "": errDeclined, "/data/db": errDeclined, "/data\n": errDeclined} {
		if err := typed(t.Context(), strings.NewReader(in), "/data/db"); !errors.Is(err, want) {
			t.Errorf("%q: got %v, want %v", in, err, want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	blocked, _, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer blocked.Close()
	if err := typed(ctx, blocked, "x"); !errors.Is(err, errDeclined) {
		t.Errorf("interrupted: got %v, want %v", err, errDeclined)
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
