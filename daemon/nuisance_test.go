package daemon_test

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"antipode/daemon/config"
	"antipode/fsdrivers/dataset"
	"antipode/transport/peer"
	"antipode/transport/wire"
)

// A peer that shows wild marks for datasets that nobody holds must neither keep the
// operator's command busy nor fill the memory.
func TestMarksOfWhatIsNotHeldAlarmNobody(t *testing.T) {
	runPair(t, func(p *pair) {
		p.level = zerolog.Disabled
		p.start(p.sin1)
		synctest.Wait()
		h := newThief(p)
		for i := range 300 {
			q := wire.InventoryRequest{Job: "db", Driver: "btrfs", Datasets: []wire.InventoryAsk{{
				Dataset: dataset.Dataset{Path: dataset.Path(fmt.Sprintf("/no/such/%d", i)), ID: "d1"},
				Mark:    dataset.Mark{Activation: dataset.Activation{Generation: 1000 + uint64(i), ID: dataset.NewActivationID(), Node: "x"}},
			}}}
			if got := h.do(h.who, "POST", wire.PathInventory, fill(q, "")); got.status != http.StatusOK {
				t.Fatalf("inventory: %s", got)
			}
			tips := wire.TipsRequest{Job: "db", Driver: "btrfs", List: wire.SumList(q.Datasets), Datasets: q.Datasets, Expect: strings.Repeat("0", 32)}
			if got := h.do(h.who, "POST", wire.PathTips, fill(tips, "")); got.status != http.StatusOK {
				t.Fatalf("tips: %s", got)
			}
		}
		after(10 * time.Second)
		if notes := p.told.since(0); len(notes) != 0 {
			t.Errorf("somebody was told %d times, for example %s", len(notes), notes[0])
		}
		if alerts := p.sin1.daemon.Status().Alerts; len(alerts) != 0 {
			t.Errorf("%d alerts stand", len(alerts))
		}
	})
}

// Tokens serve once and for ten minutes; what both sides say names the way out.
func TestATokenThatIsOverIsRefusedWithTheWayOut(t *testing.T) {
	for _, tc := range []struct {
		name  string
		known bool // the two know each other already
		wait  time.Duration
	}{
		{"expired, of a peer", true, 11 * time.Minute},
		{"expired, of a stranger", false, 11 * time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			runPair(t, func(p *pair) {
				p.level = zerolog.Disabled
				p.sin1.config.Advertise = p.sin1.config.Listen
				if !tc.known {
					p.sin1.config.Peers, p.sin1.config.Accepts = nil, nil
				}
				p.startBoth()
				issued, err := p.sin1.daemon.IssueToken()
				if err != nil {
					t.Fatal(err)
				}
				after(tc.wait)
				_, err = p.fra1.daemon.RedeemToken(p.t.Context(), issued.Token, false)
				if err == nil || !strings.Contains(err.Error(), "pair") {
					t.Errorf("RedeemToken = %v, want a refusal that says to pair again", err)
				}
			})
		})
	}
}

// A node that takes the name of one that is pinned by hand is refused, and leaves
// nothing behind that would keep the daemon from its next start.
func TestPairingUnderATakenNameLeavesNoFile(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(p *pair)
	}{
		{"a machine that was made anew, with a new key", func(p *pair) { p.identity["fra1"] = p.newIdentity() }},
		{"a node that was renamed", func(p *pair) { p.fra1.config.Node = "fra2" }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			runPair(t, func(p *pair) {
				p.level = zerolog.Disabled
				p.sin1.config.Advertise = p.sin1.config.Listen
				p.start(p.sin1)
				tc.change(p)
				p.start(p.fra1)
				issued, err := p.sin1.daemon.IssueToken()
				if err != nil {
					t.Fatal(err)
				}
				_, err = p.fra1.daemon.RedeemToken(p.t.Context(), issued.Token, false)
				if err == nil || !strings.Contains(err.Error(), "pair again") {
					t.Errorf("RedeemToken = %v, want a refusal that says what to do", err)
				}
				if left := peerFiles(t, config.PeersPath(p.sin1.config.Path)); len(left) != 0 {
					t.Errorf("%v is left on sin1, and contradicts its configuration", left)
				}
			})
		})
	}
}

// A caller that says nothing, in TLS or after it, is hung up on soon.
func TestSilentCallersAreHungUpOn(t *testing.T) {
	for name, say := range map[string]func(t *testing.T, p *pair) io.Reader{
		"before TLS": func(t *testing.T, p *pair) io.Reader {
			conn, err := p.net.Dial(p.t.Context(), p.sin1.config.Listen)
			if err != nil {
				t.Fatal(err)
			}
			return conn
		},
		"in the headers": func(t *testing.T, p *pair) io.Reader {
			conn := p.handshake(t, p.identity["fra1"])
			fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: sin1\r\nX-Slow: ", wire.PathHello)
			return conn
		},
	} {
		t.Run(name, func(t *testing.T) {
			runPair(t, func(p *pair) {
				p.start(p.sin1)
				synctest.Wait()
				began := time.Now()
				conn := say(t, p)
				for {
					if _, err := conn.Read(make([]byte, 1<<10)); err != nil {
						break
					}
				}
				if took := time.Since(began); took > 15*time.Second {
					t.Errorf("hung up on after %s, want at most 15 s", took)
				}
			})
		})
	}
}

// A hundred thousand headers are refused, and the next request is served.
func TestAFloodOfHeadersIsRefused(t *testing.T) {
	runPair(t, func(p *pair) {
		p.start(p.sin1)
		synctest.Wait()
		caller := p.client(p.identity["fra1"])
		req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, "https://sin1"+wire.PathHello, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100_000 {
			req.Header[fmt.Sprint("X-", i)] = []string{"x"}
		}
		if resp, err := caller.Do(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
				t.Errorf("answer %s, want 431", resp.Status)
			}
		}
		w := &world{pair: p}
		if got := w.do(&principal{http: caller}, "GET", wire.PathHello, nil); got.status != http.StatusOK {
			t.Errorf("the next request: %s, want it to be served", got)
		}
	})
}

// handshake connects to sin1 with a key.
func (p *pair) handshake(t *testing.T, id peer.Identity) *tls.Conn {
	t.Helper()
	conn, err := p.net.Dial(p.t.Context(), p.sin1.config.Listen)
	if err != nil {
		t.Fatal(err)
	}
	secure := tls.Client(conn, peer.ClientConfig(id, p.identity["sin1"].Fingerprint()))
	if err := secure.HandshakeContext(p.t.Context()); err != nil {
		t.Fatal(err)
	}
	return secure
}

// peerFiles lists what pairing wrote.
func peerFiles(t *testing.T, dir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
