package daemon_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"antipode/daemon/control"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
	"antipode/transport/peer"
	"antipode/transport/wire"
)

// liar answers in sin1's place, with its key, whatever a test wants.
type liar struct {
	t       *testing.T
	version string // of the protocol that it says it speaks
	replica func(q wire.InventoryRequest) any
	tips    func(q wire.TipsRequest) any // nil: no replica is as it was expected
	// instead answers everything when it is set.
	instead http.HandlerFunc
	steps   int // that it was sent
}

// lie starts the liar and fra1, and lets fra1 try for a while.
func (p *pair) lie(l *liar) {
	p.t.Helper()
	l.t = p.t
	ln, err := p.net.Listen(p.sin1.config.Listen)
	if err != nil {
		p.t.Fatal(err)
	}
	config := peer.ServerConfig(p.identity["sin1"], func(peer.Fingerprint) (string, bool) { return "fra1", true }, nil)
	s := &http.Server{Handler: l, BaseContext: func(net.Listener) context.Context { return p.t.Context() }}
	go s.Serve(tls.NewListener(ln, config))
	p.level = zerolog.Disabled
	p.start(p.fra1)
	after(3 * time.Minute)
	p.t.Cleanup(func() { s.Close() })
}

func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set(wire.VersionHeader, l.version)
	if l.version == "" {
		w.Header().Set(wire.VersionHeader, strconv.Itoa(wire.Version))
	}
	if l.instead != nil {
		l.instead(w, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	switch r.URL.Path {
	case wire.PathTips:
		var q wire.TipsRequest
		if err := json.Unmarshal(body, &q); err != nil {
			l.t.Errorf("tips: %v", err)
		}
		if l.tips != nil {
			l.answer(w, l.tips(q))
			return
		}
		l.answer(w, wire.Tips{Now: time.Now(), Tips: make([]byte, wire.TipBytes*len(q.Datasets)), Unknown: len(q.Datasets) == 0})
	case wire.PathInventory:
		var q wire.InventoryRequest
		if err := json.Unmarshal(body, &q); err != nil {
			l.t.Errorf("inventory: %v", err)
		}
		l.answer(w, map[string]any{"now": time.Now(), "replicas": l.replica(q)})
	case wire.PathSteps:
		l.steps++
		l.answer(w, wire.Progress{Committed: &wire.Committed{Published: true, Snapshot: dataset.Snapshot{Name: "antipode_db_other", ID: "0a11"}}})
	default:
		w.WriteHeader(http.StatusNotFound)
		l.answer(w, wire.Error{Kind: wire.KindUnknown, Text: "no such endpoint"})
	}
}

func (l *liar) answer(w io.Writer, v any) {
	if err := json.NewEncoder(w).Encode(v); err != nil {
		l.t.Logf("the liar was hung up on: %v", err)
	}
}

// empty is what an honest target answers that has nothing yet.
func empty(q wire.InventoryRequest) []wire.Replica {
	var out []wire.Replica
	for _, d := range q.Datasets {
		out = append(out, wire.Replica{Path: d.Dataset.Path})
	}
	return out
}

func TestATargetThatLiesIsNotBelieved(t *testing.T) {
	mark := func(generation uint64, history ...dataset.Activation) dataset.Mark {
		return dataset.Mark{Activation: dataset.Activation{Generation: generation, ID: dataset.NewActivationID(), Node: "sin1"}, History: history}
	}
	line := func(from uint64) (h []dataset.Activation) {
		for g := from; g > 0; g-- {
			h = append(h, dataset.Activation{Generation: g, ID: dataset.NewActivationID(), Node: "sin1"})
		}
		return h
	}
	marked := func(m dataset.Mark) func(wire.InventoryRequest) any {
		return func(q wire.InventoryRequest) any { r := empty(q); r[0].Mark = m; return r }
	}
	flood := "HTTP/1.1 200 OK\r\n" + strings.Repeat("X-Full: a header that fills somebody's memory\r\n", 100_000) + "\r\n"
	for _, tc := range []struct {
		name    string
		liar    liar
		forbid  bool   // the job's targets may not promote
		says    string // in the last error
		alert   string // kind, "" for none
		arrives bool   // a step is sent before the lie is seen
	}{
		{name: "other snapshot published", liar: liar{replica: func(q wire.InventoryRequest) any { return empty(q) }}, says: "0a11", arrives: true},
		{name: "tip too few", liar: liar{tips: func(wire.TipsRequest) any { return wire.Tips{Now: time.Now()} }}, says: "0 bytes of tips for 1"},
		{name: "tips too many", liar: liar{tips: func(wire.TipsRequest) any { return wire.Tips{Now: time.Now(), Tips: make([]byte, 80)} }}, says: "80 bytes of tips for 1"},
		{name: "half a tip", liar: liar{tips: func(wire.TipsRequest) any { return wire.Tips{Now: time.Now(), Tips: make([]byte, 4)} }}, says: "malformed"},
		{name: "list never known", liar: liar{tips: func(wire.TipsRequest) any { return wire.Tips{Now: time.Now(), Unknown: true} }}, says: "0 bytes of tips for 1"},
		{name: "as expected, what it cannot have", liar: liar{tips: func(wire.TipsRequest) any { return wire.Tips{Now: time.Now(), Same: true} }}, says: "0a11", arrives: true},
		{name: "no replica", liar: liar{replica: func(wire.InventoryRequest) any { return []wire.Replica{} }}, says: "0 answers to 1"},
		{name: "too many replicas", liar: liar{replica: func(q wire.InventoryRequest) any { return append(empty(q), empty(q)...) }}, says: "2 answers to 1"},
		{name: "another replica", liar: liar{replica: func(wire.InventoryRequest) any { return []wire.Replica{{Path: "/etc"}} }}, says: "/etc"},
		{name: "mark of one that may not promote", liar: liar{replica: marked(mark(1))}, forbid: true, says: "may not promote", alert: "mark-refused"},
		{name: "mark that jumps", liar: liar{replica: marked(mark(dataset.MaxMarkRise+1, line(dataset.MaxMarkRise)...))}, says: "rises by more", alert: "mark-refused"},
		{name: "mark that does not chain", liar: liar{replica: marked(mark(3))}, says: "chain", alert: "mark-refused"},
		{name: "mark of a generation out of reach", liar: liar{replica: marked(mark(1<<64 - 1))}, says: "do not fall"},
		{name: "malformed mark", liar: liar{replica: marked(dataset.Mark{Activation: dataset.Activation{Generation: 1, ID: "x", Node: "sin1"}})}, says: "activation id"},
		{name: "mark with a rising history", liar: liar{replica: marked(mark(1, line(2)...))}, says: "do not fall"},
		{name: "mark that is no object", liar: liar{replica: func(wire.InventoryRequest) any { return json.RawMessage(`[{"path":"/data/db","mark":7}]`) }}, says: "malformed"},
		{name: "newer protocol", liar: liar{version: "2", replica: func(q wire.InventoryRequest) any { return empty(q) }}, says: "upgrade Antipode on this side"},
		{name: "no protocol", liar: liar{version: "0", replica: func(q wire.InventoryRequest) any { return empty(q) }}, says: "is it Antipode at that address"},
		{name: "huge message", liar: liar{replica: func(q wire.InventoryRequest) any {
			r := empty(q)
			r[0].Problem = &wire.Error{Kind: "x", Text: strings.Repeat("x", wire.MaxMessageBytes)}
			return r
		}}, says: "too large"},
		{name: "hundred thousand headers", liar: liar{instead: func(w http.ResponseWriter, _ *http.Request) {
			pour(w, flood)
		}}, says: "header"},
		{name: "come back in thirty years", liar: liar{instead: func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "1000000000")
			w.WriteHeader(http.StatusTooManyRequests)
			io.WriteString(w, `{"kind":"too-many","text":"later"}`)
		}}, says: "later"},
		{name: "redirect", liar: liar{instead: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere"+r.URL.Path, http.StatusTemporaryRedirect)
		}}, says: "307"},
		{name: "garbage", liar: liar{instead: func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }}, says: "malformed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			runPair(t, func(p *pair) {
				p.fra1.config.Jobs[0].MayPromote = !tc.forbid
				l := tc.liar
				p.lie(&l)
				line := p.pairLine(db)
				if line.LastError == nil || !strings.Contains(line.LastError.Text, tc.says) || line.LastError.Next == "" {
					t.Errorf("last error = %+v, want one that says %q and what next", line.LastError, tc.says)
				}
				if !line.LastPoint.IsZero() {
					t.Errorf("fra1 believes in the point %+v", line.LastPoint)
				}
				if (l.steps > 0) != tc.arrives {
					t.Errorf("%d steps were sent, want some: %t", l.steps, tc.arrives)
				}
				p.wantUnharmed(tc.alert)
			})
		})
	}
}

// pour writes an answer past net/http, until nobody listens.
func pour(w http.ResponseWriter, answer string) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, answer)
}

// wantUnharmed fails unless fra1 is as it was but for a snapshot and an alert.
func (p *pair) wantUnharmed(alert string) {
	p.t.Helper()
	if err := p.fra1.disk.Write(db, "late", []byte("x")); err != nil {
		p.t.Errorf("fra1 was fenced: %v", err)
	}
	own := p.own()
	if len(own) == 0 {
		p.t.Error("fra1 has no snapshot")
	}
	for _, s := range own {
		for _, tag := range s.Holds {
			if strings.HasPrefix(string(tag), "base.") {
				p.t.Errorf("%s is held as a base: %s", s.Name, tag)
			}
		}
	}
	kinds := ""
	for _, a := range p.fra1.daemon.Status().Alerts {
		kinds += a.Kind
	}
	if kinds != alert {
		p.t.Errorf("alerts %q, want %q", kinds, alert)
	}
}

// What a lie can do to a preview: it must neither panic nor be shown as a plan.
func TestAPlanIsNotMadeFromALie(t *testing.T) {
	for name, replica := range map[string]func(q wire.InventoryRequest) any{
		"another replica": func(wire.InventoryRequest) any { return []wire.Replica{{Path: "/etc"}} },
		"none":            func(wire.InventoryRequest) any { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			runPair(t, func(p *pair) {
				p.lie(&liar{replica: replica})
				shown, err := p.fra1.daemon.Preview(p.t.Context(), control.PlanRequest{})
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range shown.Jobs[0].Sends {
					if s.Plan != nil || s.Conflict == nil {
						t.Errorf("planned %+v from a lie", s.Plan)
					}
				}
				if len(shown.Jobs[0].Sends) == 0 && len(shown.Jobs[0].Problems) == 0 {
					t.Error("the preview says nothing of the lie")
				}
			})
		})
	}
}

// Whatever a liar did, an honest daemon in its place is served at once.
func TestAfterALieTheTruthIsTakenIn(t *testing.T) {
	runPair(t, func(p *pair) {
		ln, err := p.net.Listen(p.sin1.config.Listen)
		if err != nil {
			t.Fatal(err)
		}
		config := peer.ServerConfig(p.identity["sin1"], func(peer.Fingerprint) (string, bool) { return "fra1", true }, nil)
		s := &http.Server{Handler: &liar{t: t, instead: func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }}}
		go s.Serve(tls.NewListener(ln, config))
		p.level = zerolog.Disabled
		p.start(p.fra1)
		after(time.Minute)
		s.Close()
		synctest.Wait()
		p.start(p.sin1)
		after(6 * time.Minute)
		p.wantSame(db)
		if line := p.pairLine(db); line.State != status.StateOK || line.LastError != nil {
			t.Errorf("line %+v, want it to be well again", line)
		}
	})
}
