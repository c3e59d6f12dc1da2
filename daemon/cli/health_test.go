package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/ledger"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
)

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
	h.configure(t, "nonsense\n")
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
		// The last run is of a start: nothing happened in it.
		Runs: []ledger.Run{{Job: "db", Started: noon.Add(-3 * time.Hour)}},
		Starts: []ledger.Start{
			{StartKey: ledger.StartKey{Job: "db"}, At: noon.Add(-2 * time.Hour)},
			{StartKey: ledger.StartKey{Job: "db", Kind: ledger.RunReplicate}, At: noon.Add(-time.Hour)},
		},
	}).Close()
	code, out, errOut := h.run(t, "status")
	if code != exitFail || !strings.Contains(errOut, "no daemon answers") {
		t.Errorf("got %d %q, want 1 and that no daemon answers", code, errOut)
	}
	tells(t, "status-of-the-ledger", "No daemon runs: the status is drawn from what the ledger remembers.", out)
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
