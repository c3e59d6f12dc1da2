package server_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"antipode/fsdrivers/dataset"
	"antipode/transport/peer"
	"antipode/transport/peer/pairing"
	"antipode/transport/server"
	"antipode/transport/transporttest"
	"antipode/transport/wire"
)

const address = "sin1:8771"

// target remembers what came; a receive is one string of bytes.
type target struct {
	mu   sync.Mutex
	got  [][]byte
	errs []error
}

func (*target) Hello(_ context.Context, peer string) (wire.Hello, error) {
	return wire.Hello{Version: wire.Version, Node: "sin1-for-" + peer}, nil
}

func (*target) Tips(context.Context, string, wire.TipsRequest) (wire.Tips, error) {
	return wire.Tips{}, fmt.Errorf("list: %w", dataset.ErrStuck)
}

func (*target) Inventory(context.Context, string, wire.InventoryRequest) (wire.Inventory, error) {
	return wire.Inventory{}, fmt.Errorf("list: %w", dataset.ErrStuck)
}

func (b *target) Receive(_ context.Context, _ string, open wire.Open, r io.Reader) (wire.Committed, error) {
	data, err := io.ReadAll(r)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got, b.errs = append(b.got, data), append(b.errs, err)
	return wire.Committed{Published: err == nil, Snapshot: open.Step.To}, err
}

func (*target) Committed(context.Context, string, wire.CommitQuery) (wire.Committed, error) {
	return wire.Committed{}, nil
}

// outstanding is a pairing whose token is there or not.
type outstanding struct{ offer *pairing.Offer }

func (o outstanding) Outstanding() bool { return o.offer != nil && o.offer.Outstanding(time.Now()) }

func (o outstanding) Accept(exporter []byte, caller peer.Fingerprint, q pairing.Request) (pairing.Response, error) {
	return o.offer.Accept(time.Now(), exporter, caller, q)
}

type fixture struct {
	t                   *testing.T
	net                 *transporttest.Net
	target              *target
	server              *server.Server
	own, fra, ams, none peer.Identity
}

func identity(t *testing.T) peer.Identity {
	t.Helper()
	id, err := peer.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func newFixture(t *testing.T, change func(*fixture, *server.Options)) *fixture {
	t.Helper()
	f := &fixture{
		t: t, net: transporttest.New(), target: &target{},
		own: identity(t), fra: identity(t), ams: identity(t), none: identity(t),
	}
	o := server.Options{
		Identity: f.own, Backend: f.target, Log: zerolog.Nop(), Window: 4 * wire.MinChunk,
		Peers: func(k peer.Fingerprint) (string, bool) {
			name, ok := map[peer.Fingerprint]string{f.fra.Fingerprint(): "fra1", f.ams.Fingerprint(): "ams1"}[k]
			return name, ok
		},
	}
	if change != nil {
		change(f, &o)
	}
	f.server = server.New(o)
	ln, err := f.net.Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- f.server.Serve(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return f
}

// do makes one request on a connection of its own.
func (f *fixture) do(who peer.Identity, method, path string, body io.Reader, header ...string) (int, string, error) {
	f.t.Helper()
	tr := &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: peer.ClientConfig(who, f.own.Fingerprint()),
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return f.net.DialContext(ctx, network, address)
		},
	}
	req, err := http.NewRequestWithContext(f.t.Context(), method, "https://"+address+path, body)
	if err != nil {
		f.t.Fatal(err)
	}
	req.Header.Set(wire.VersionHeader, strconv.Itoa(wire.Version))
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// must is do for an answer that has to come.
func (f *fixture) must(who peer.Identity, method, path string, body io.Reader, status int, holds string, header ...string) {
	f.t.Helper()
	got, text, err := f.do(who, method, path, body, header...)
	if err != nil || got != status || !strings.Contains(text, holds) {
		f.t.Errorf("%s %s: %d %s %v; want %d and %q", method, path, got, text, err, status, holds)
	}
}

func opening(incarnation byte) wire.Open {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return wire.Open{
		Step: dataset.Step{
			Job: "db", Dataset: dataset.Dataset{Path: "/data/db", ID: "d1"},
			To: dataset.Snapshot{Name: "s1", ID: "51", Created: at, Retain: at},
		},
		Driver: "btrfs", Incarnation: strings.Repeat(string(incarnation), 32), ChunkBytes: wire.MinChunk,
	}
}

func body(v any) io.Reader {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return bytes.NewReader(b)
}

func transferPath(o wire.Open, rest string) string {
	return wire.PathTransfers + "/" + o.Incarnation + rest
}

// payload is a full chunk of one byte.
func payload(fill byte) []byte { return bytes.Repeat([]byte{fill}, wire.MinChunk) }

func frame(h wire.Header, p []byte) []byte { return append(h.Append(nil), p...) }

func chunk(n uint64, p []byte) []byte { return frame(wire.ChunkHeader(n, p), p) }

func TestWhoReachesWhat(t *testing.T) {
	open := opening('a')
	endpoints := []struct{ method, path string }{
		{"GET", wire.PathHello},
		{"POST", wire.PathInventory},
		{"POST", wire.PathTips},
		{"POST", wire.PathCommit},
		{"POST", wire.PathSteps},
		{"POST", wire.PathTransfers},
		{"DELETE", transferPath(open, "")},
		{"PUT", transferPath(open, "/lanes/0")},
		{"GET", transferPath(open, "/progress")},
		{"GET", "/"},
		{"GET", "/v1/hello/"},
		{"GET", "//v1/hello"},
		{"GET", "/v1/../v1/hello"},
		{"POST", wire.PathPair},
	}
	for _, token := range []bool{false, true} {
		t.Run(fmt.Sprintf("token outstanding: %v", token), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, func(f *fixture, o *server.Options) {
					var p outstanding
					if token {
						offer, err := pairing.NewOffer(time.Now(), f.own.Fingerprint(), "sin1", address)
						if err != nil {
							t.Fatal(err)
						}
						p.offer = offer
					}
					o.Pairing = p
				})
				for _, e := range endpoints {
					status, text, err := f.do(f.none, e.method, e.path, body("x"))
					switch {
					case !token && err == nil:
						t.Errorf("%s %s: an unknown key got %d %s", e.method, e.path, status, text)
					case token && e.path == wire.PathPair && status != http.StatusForbidden:
						t.Errorf("pair: %d %s %v, want a refusal of the message", status, text, err)
					case token && e.path != wire.PathPair && status != http.StatusNotFound:
						t.Errorf("%s %s: an unknown key got %d %s %v, want 404", e.method, e.path, status, text, err)
					}
				}
				// Another peer's transfer is like one that is not there.
				f.must(f.fra, "POST", wire.PathTransfers, body(open), http.StatusAccepted, `"credit":4`)
				_, none, _ := f.do(f.ams, "DELETE", transferPath(opening('b'), ""), nil)
				for _, e := range endpoints[6:9] {
					status, text, err := f.do(f.ams, e.method, e.path, nil)
					if err != nil || status != http.StatusNotFound || text != none {
						t.Errorf("%s %s by another peer: %d %s %v, want what is not there: %s", e.method, e.path, status, text, err, none)
					}
				}
				f.must(f.ams, "POST", wire.PathTransfers, body(open), http.StatusNotFound, none)
				f.must(f.fra, "DELETE", transferPath(open, ""), nil, http.StatusAccepted, "")
			})
		})
	}
}

func TestRequestsAreChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		f.must(f.fra, "GET", wire.PathHello, nil, 200, "sin1-for-fra1")
		f.must(f.fra, "GET", wire.PathHello, nil, http.StatusUpgradeRequired, `"kind":"version"`, wire.VersionHeader, "2")
		f.must(f.fra, "GET", wire.PathHello, nil, http.StatusUpgradeRequired, `upgrade`, wire.VersionHeader, "")
		f.must(f.fra, "POST", wire.PathCommit, strings.NewReader("{"), 400, "malformed")
		f.must(f.fra, "POST", wire.PathCommit, body(wire.CommitQuery{}), 400, "malformed", "Content-Encoding", "gzip")
		f.must(f.fra, "POST", wire.PathTransfers, bytes.NewReader(make([]byte, wire.MaxOpenBytes+2)), 413, "too-large")
		f.must(f.fra, "POST", wire.PathTransfers, body(wire.Open{}), 400, "malformed")
		f.must(f.fra, "POST", wire.PathPair, body("x"), 404, "no such endpoint")
		f.must(f.fra, "GET", wire.PathTransfers, nil, 404, "no such endpoint")
		q := wire.InventoryRequest{Job: "db", Driver: "btrfs", Datasets: []wire.InventoryAsk{{Dataset: dataset.Dataset{Path: "/a", ID: "1"}}}}
		f.must(f.fra, "POST", wire.PathInventory, body(q), 409, `"kind":"stuck"`)
		status, _, _ := f.do(f.fra, "GET", wire.PathHello, nil, "X-Large", strings.Repeat("x", 64<<10))
		if status != http.StatusRequestHeaderFieldsTooLarge {
			t.Errorf("64 KiB of headers: %d, want 431", status)
		}
	})
}

// What is wrong on a lane ends that lane, and the transfer goes on by another.
func TestLaneFaultsDoNotHarmTheTransfer(t *testing.T) {
	good := payload(1)
	wrong := wire.ChunkHeader(0, good)
	wrong.Digest++
	for _, tc := range []struct {
		name   string
		lane   []byte
		status int
		kind   string
	}{
		{"wrong digest", frame(wrong, good), 422, "digest"},
		{"beyond the credit", chunk(4, good), 416, "beyond-credit"},
		{"far beyond the credit", chunk(1<<40, good), 416, "beyond-credit"},
		{"larger than announced", chunk(0, append(payload(1), 1)), 413, "too-large"},
		{"larger than any", frame(wire.Header{Type: wire.FrameChunk, Length: 1 << 31, Raw: 1 << 31}, nil), 413, "too-large"},
		{"garbage", bytes.Repeat([]byte("GET / HTTP/1.1\r\n"), 4), 426, "version"},
		{"cut in the header", wire.ChunkHeader(0, good).Append(nil)[:9], 409, "cut"},
		{"cut in the payload", chunk(0, good)[:1000], 409, "cut"},
		{"short chunk that is not the last", append(chunk(1, good), chunk(0, []byte("x"))...), 400, "malformed"},
		{"nothing", nil, 202, "credit"},
		{"out of order, twice", append(append(chunk(2, good), chunk(1, good)...), chunk(1, good)...), 202, `"have":[[1,3]]`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, nil)
				open := opening('a')
				f.must(f.fra, "POST", wire.PathTransfers, body(open), 202, "credit")
				f.must(f.fra, "PUT", transferPath(open, "/lanes/0"), bytes.NewReader(tc.lane), tc.status, tc.kind)
				var rest []byte
				for n := range uint64(3) {
					rest = append(rest, chunk(n, good)...)
				}
				rest = append(rest, wire.EndHeader(3, uint64(3*len(good))).Append(nil)...)
				// 202, or 410 when it is over before the lane's end is seen.
				if status, text, err := f.do(f.fra, "PUT", transferPath(open, "/lanes/1"), bytes.NewReader(rest)); err != nil || status != 202 && status != 200 && status != 410 {
					t.Errorf("the next lane: %d %s %v", status, text, err)
				}
				f.must(f.fra, "GET", transferPath(open, "/progress"), nil, 200, `"committed":{"published":true`)
				if len(f.target.got) != 1 || !bytes.Equal(f.target.got[0], bytes.Repeat([]byte{1}, 3*len(good))) {
					t.Errorf("%d receives; content differs", len(f.target.got))
				}
			})
		})
	}
}

func TestMismatchEndsTheTransfer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		open := opening('a')
		f.must(f.fra, "POST", wire.PathTransfers, body(open), 202, "credit")
		f.must(f.fra, "PUT", transferPath(open, "/lanes/0"), bytes.NewReader(append(chunk(1, payload(1)), chunk(1, payload(2))...)), 409, "mismatch")
		f.must(f.fra, "GET", transferPath(open, "/progress"), nil, 200, `"kind":"mismatch"`)
		if !errors.Is(f.target.errs[0], wire.ErrMismatch) {
			t.Errorf("receive ended with %v", f.target.errs[0])
		}
	})
}

func TestOlderIncarnationIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		first, second := opening('a'), opening('b')
		f.must(f.fra, "POST", wire.PathTransfers, body(first), 202, "credit")
		f.must(f.fra, "POST", wire.PathTransfers, body(first), 202, "credit") // a repetition is no new one
		f.must(f.fra, "POST", wire.PathTransfers, body(second), 202, "credit")
		f.must(f.fra, "PUT", transferPath(first, "/lanes/0"), bytes.NewReader(chunk(0, payload(1))), 410, "superseded")
		f.must(f.fra, "GET", transferPath(first, "/progress"), nil, 200, `"kind":"superseded"`)
		f.must(f.fra, "POST", wire.PathTransfers, body(first), 200, `"kind":"superseded"`) // and does not come back
		if s := f.server.Transfers(); len(s) != 1 || s[0].Open.Incarnation != second.Incarnation {
			t.Errorf("Transfers = %+v, want the second", s)
		}
		other := second
		other.Step.Job = "other"
		f.must(f.fra, "POST", wire.PathTransfers, body(other), 400, "another step")
	})
}

func step(open wire.Open, frames ...[]byte) []byte {
	b, err := json.Marshal(open)
	if err != nil {
		panic(err)
	}
	return append(append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...), bytes.Join(frames, nil)...)
}

func TestStepInOneRequest(t *testing.T) {
	small := []byte("a small stream")
	end := wire.EndHeader(1, uint64(len(small))).Append(nil)
	open := opening('a')
	for _, tc := range []struct {
		name   string
		body   []byte
		status int
		holds  string
	}{
		{"whole", step(open, chunk(0, small), end), 200, `"published":true`},
		{"of nothing", step(open, wire.EndHeader(0, 0).Append(nil)), 200, `"published":true`},
		{"without its end", step(open, chunk(0, small)), 400, "no end frame"},
		{"longer than it said", step(open, chunk(0, small), end, []byte("x")), 413, "behind the end"},
		{"cut", step(open, chunk(0, small)[:40]), 409, "cut"},
		{"end that says less", step(open, chunk(0, small), wire.EndHeader(1, 3).Append(nil)), 400, "malformed"},
		{"announcement longer than allowed", binary.BigEndian.AppendUint32(nil, wire.MaxOpenBytes+1), 413, "too-large"},
		{"announcement cut", step(open)[:20], 400, "malformed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, nil)
				f.must(f.fra, "POST", wire.PathSteps, bytes.NewReader(tc.body), tc.status, tc.holds)
				if tc.status == 200 { // again: the answer was lost
					f.must(f.fra, "POST", wire.PathSteps, bytes.NewReader(tc.body), tc.status, tc.holds)
					if len(f.target.got) != 1 {
						t.Errorf("%d receives, want 1", len(f.target.got))
					}
				}
			})
		})
	}
}

func TestTooManyTransfers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, func(_ *fixture, o *server.Options) { o.MaxTransfers = 1 })
		other := opening('b')
		other.Step.Dataset.Path = "/data/other"
		f.must(f.fra, "POST", wire.PathTransfers, body(opening('a')), 202, "credit")
		f.must(f.fra, "POST", wire.PathTransfers, body(other), 429, "too-many")
		f.must(f.fra, "DELETE", transferPath(opening('a'), ""), nil, 202, "")
		synctest.Wait()
		f.must(f.fra, "POST", wire.PathTransfers, body(other), 202, "credit")
	})
}

// A caller that dribbles its headers or a body is not waited for.
func TestSlowCallersAreLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, nil)
		open := opening('a')
		f.must(f.fra, "POST", wire.PathTransfers, body(open), 202, "credit")
		r, w := io.Pipe()
		defer w.Close()
		began := time.Now()
		status, _, err := f.do(f.fra, "POST", wire.PathCommit, r)
		if err == nil && status < 400 || time.Since(began) > time.Minute {
			t.Errorf("a body that does not come: %d %v after %s", status, err, time.Since(began))
		}
		began = time.Now()
		r, w = io.Pipe()
		defer w.Close()
		status, _, err = f.do(f.fra, "PUT", transferPath(open, "/lanes/0"), r)
		if err == nil && status < 400 || time.Since(began) > time.Minute {
			t.Errorf("a lane that is silent: %d %v after %s", status, err, time.Since(began))
		}
		if s := f.server.Transfers(); len(s) != 1 || s[0].Lanes != 0 || s[0].WaitingSince.IsZero() {
			t.Errorf("Transfers = %+v, want one that waits", s)
		}
	})
}
