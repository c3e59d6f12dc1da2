package control

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"antipode/fsdrivers/dataset"
)

// serve runs a server with the given handlers and returns its socket; the
// server has ended when the test ends.
func serve(t *testing.T, register func(*Server)) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "run", "control.sock")
	l, err := Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(zerolog.Nop())
	register(s)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the socket is still there after the end: %v", err)
		}
	})
	return socket
}

func fails(err error) func(*Server) {
	return func(s *Server) {
		Handle(s, Abort, func(context.Context, AbortRequest) (AbortResponse, error) { return AbortResponse{}, err })
	}
}

func TestAnAnswerPassesThroughUnchanged(t *testing.T) {
	type plan struct{ Steps []string }
	want := Preview[plan, string]{Jobs: []JobPreview[plan, string]{{
		Job:    "db",
		Sends:  []SendPreview[plan]{{Dataset: "/data/db", Plan: &plan{Steps: []string{"a", "b"}}}},
		Prunes: []PrunePreview[string]{{Verdicts: []string{"keep"}}},
	}}}
	socket := serve(t, func(s *Server) {
		Handle(s, Plan, func(_ context.Context, r PlanRequest) (Preview[plan, string], error) {
			if r.Job != "db" {
				t.Errorf("asked for job %q, want db", r.Job)
			}
			return want, nil
		})
	})
	got, err := Call[PlanRequest, Preview[plan, string]](t.Context(), socket, Plan, PlanRequest{Job: "db"})
	if err != nil || fmt.Sprintf("%+v", *got.Jobs[0].Sends[0].Plan) != "{Steps:[a b]}" || got.Jobs[0].Prunes[0].Verdicts[0] != "keep" {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
}

type conflict struct{}

func (conflict) Error() string { return "it diverged; next: look" }
func (conflict) Next() string  { return "look" }

func TestAnErrorKeepsItsKindAndNextStep(t *testing.T) {
	cases := map[string]struct {
		err  error
		want Error
	}{
		"one of ours, wrapped":  {fmt.Errorf("abort: %w", &Error{Kind: KindBusy, Object: "db", Text: "runs", Next: "wait"}), Error{KindBusy, "db", "runs", "wait"}},
		"a driver's sentinel":   {fmt.Errorf("list /x: %w", dataset.ErrNotFound), Error{Kind: KindNotFound, Text: "list /x: not found"}},
		"with a next step":      {fmt.Errorf("plan: %w", conflict{}), Error{Kind: KindConflict, Text: "plan: it diverged", Next: "look"}},
		"too slow":              {context.DeadlineExceeded, Error{Kind: KindTimeout, Text: "context deadline exceeded"}},
		"anything else":         {errors.New("boom"), Error{Kind: KindInternal, Text: "boom"}},
		"refused by the policy": {dataset.ErrRefused, Error{Kind: KindRefused, Text: "refused"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := Call[AbortRequest, AbortResponse](t.Context(), serve(t, fails(c.err)), Abort, AbortRequest{})
			got, ok := errors.AsType[*Error](err)
			if !ok || *got != c.want {
				t.Errorf("got %+v, want %+v", err, c.want)
			}
		})
	}
}

func TestBadRequestsAreRefused(t *testing.T) {
	socket := serve(t, fails(nil))
	cases := map[string]struct {
		method, path, body string
		code               int
		text               string
	}{
		"no JSON":          {"POST", "/v1/abort", "hello", 400, "read request"},
		"empty":            {"POST", "/v1/abort", "", 400, "read request"},
		"unknown field":    {"POST", "/v1/abort", `{"job":"db","harder":true}`, 400, "harder"},
		"two values":       {"POST", "/v1/abort", `{} {}`, 400, "more than one"},
		"too long":         {"POST", "/v1/abort", `{"job":"` + strings.Repeat("x", MaxRequestBytes) + `"}`, 400, "too large"},
		"unknown verb":     {"POST", "/v1/explode", `{}`, 400, "does not know POST /v1/explode"},
		"another method":   {"GET", "/v1/abort", ``, 400, "does not know GET"},
		"another version":  {"POST", "/v2/abort", `{}`, 400, "does not know"},
		"the right answer": {"POST", "/v1/abort", `{}`, 200, `{"aborted":null}`},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dial(ctx, socket)
			}}
			r, _ := http.NewRequestWithContext(t.Context(), c.method, "http://x"+c.path, strings.NewReader(c.body))
			answer, err := tr.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			defer answer.Body.Close()
			raw, _ := io.ReadAll(answer.Body)
			if answer.StatusCode != c.code || !strings.Contains(string(raw), c.text) {
				t.Errorf("got %d %s, want %d with %q", answer.StatusCode, raw, c.code, c.text)
			}
		})
	}
}

func TestACallerThatGoesAwayCancelsTheRequest(t *testing.T) {
	entered, left := make(chan struct{}), make(chan error, 1)
	socket := serve(t, func(s *Server) {
		Handle(s, Promote, func(ctx context.Context, _ PromoteRequest) (PromoteResponse, error) {
			close(entered)
			<-ctx.Done()
			left <- ctx.Err()
			return PromoteResponse{}, ctx.Err()
		})
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	_, err := Call[PromoteRequest, PromoteResponse](ctx, socket, Promote, PromoteRequest{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Call: got %v, want context.Canceled", err)
	}
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("handler: got %v, want context.Canceled", err)
	}
}

func TestOnlyLongVerbsHaveNoDeadline(t *testing.T) {
	for verb, want := range map[Verb]bool{Status: false, Pause: false, Abort: false, Trigger: true, Check: true, Plan: true, Promote: true} {
		socket := serve(t, func(s *Server) {
			Handle(s, verb, func(ctx context.Context, _ Nothing) (bool, error) {
				_, bounded := ctx.Deadline()
				return !bounded, nil
			})
		})
		if got, err := Call[Nothing, bool](t.Context(), socket, verb, Nothing{}); got != want || err != nil {
			t.Errorf("%s: long is %v, %v; want %v", verb, got, err, want)
		}
	}
}

func TestAStaleSocketIsReplacedAndALivingOneIsNot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	old, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old.SetUnlinkOnClose(false)
	if _, err := Listen(path); !errors.Is(err, ErrInUse) {
		t.Errorf("somebody answers: got %v, want ErrInUse", err)
	}
	old.Close() // as a daemon that was killed leaves it
	l, err := Listen(path)
	if err != nil {
		t.Fatalf("nobody answers: %v", err)
	}
	defer l.Close()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket has mode %v, %v; want 0600", info.Mode(), err)
	}
}

func TestListenLeavesOtherFilesAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "precious")
	if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("got %v, want a refusal", err)
	}
	if raw, _ := os.ReadFile(path); string(raw) != "data" {
		t.Errorf("the file now holds %q", raw)
	}
	if _, err := Listen("/" + strings.Repeat("x", MaxSocketPath)); err == nil || !strings.Contains(err.Error(), "107") {
		t.Errorf("too long a path: got %v", err)
	}
}

func TestWhoMayCommand(t *testing.T) {
	cases := []struct {
		name        string
		caller, own uint32
		want        bool
	}{{"root", 0, 1000, true}, {"the daemon's user", 1000, 1000, true}, {"another user", 1001, 1000, false}, {"another user, daemon of root", 1000, 0, false}}
	for _, c := range cases {
		if got := mayCommand(c.caller, c.own); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestTheKernelTellsWhoCalls(t *testing.T) {
	l, err := Listen(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := dial(t.Context(), l.Addr().String()); err == nil {
			defer c.Close()
			io.Copy(io.Discard, c)
		}
	}()
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if uid, err := peerUID(c.(*net.UnixConn)); err != nil || int(uid) != os.Getuid() {
		t.Errorf("got uid %d, %v; want %d", uid, err, os.Getuid())
	}
}

func TestNoDaemonIsSaidWithTheNextStep(t *testing.T) {
	_, err := Call[Nothing, HealthResponse](t.Context(), filepath.Join(t.TempDir(), "none"), Health, Nothing{})
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Kind != KindDown || e.Next == "" {
		t.Errorf("got %v, want kind down with a next step", err)
	}
}

func TestAPanicIsNotTheEndOfTheServer(t *testing.T) {
	socket := serve(t, func(s *Server) {
		Handle(s, Health, func(context.Context, Nothing) (HealthResponse, error) { panic("bug") })
		Handle(s, Version, func(context.Context, Nothing) (VersionResponse, error) { return VersionResponse{Protocol: 1}, nil })
	})
	_, err := Call[Nothing, HealthResponse](t.Context(), socket, Health, Nothing{})
	if e, ok := errors.AsType[*Error](err); !ok || e.Kind != KindDown {
		t.Errorf("got %v, want that the daemon hung up", err)
	}
	if v, err := Call[Nothing, VersionResponse](t.Context(), socket, Version, Nothing{}); err != nil || v.Protocol != 1 {
		t.Errorf("the next call: %+v, %v", v, err)
	}
}

func TestStoppingCancelsWhatRuns(t *testing.T) {
	l, err := Listen(filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	s := NewServer(zerolog.Nop())
	ctx, cancel := context.WithCancel(t.Context())
	Handle(s, Trigger, func(ctx context.Context, _ TriggerRequest) (TriggerResponse, error) {
		cancel()
		<-ctx.Done()
		return TriggerResponse{}, &Error{Kind: KindBusy, Text: "the daemon stops"}
	})
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	start := time.Now()
	_, err = Call[TriggerRequest, TriggerResponse](context.Background(), l.Addr().String(), Trigger, TriggerRequest{Wait: true})
	if e, ok := errors.AsType[*Error](err); !ok || e.Kind != KindBusy {
		t.Errorf("got %v, want the handler's answer", err)
	}
	if err := <-served; err != nil || time.Since(start) > 10*stopWait {
		t.Errorf("Serve ended with %v after %v", err, time.Since(start))
	}
}

func FuzzFailure(f *testing.F) {
	f.Add([]byte(`{"kind":"busy","text":"later"}`))
	f.Add([]byte(`[`))
	f.Add([]byte(``))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if e, ok := errors.AsType[*Error](failure(Status, 500, raw)); !ok || e.Text == "" {
			t.Errorf("no reason for %q", raw)
		}
	})
}
