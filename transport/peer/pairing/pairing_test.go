package pairing_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"antipode/transport/peer"
	"antipode/transport/peer/pairing"
	"antipode/transport/transporttest"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func key(name string) peer.Fingerprint {
	return peer.FingerprintOfDigest(sha256.Sum256([]byte(name)))
}

func newOffer(t *testing.T) *pairing.Offer {
	t.Helper()
	o, err := pairing.NewOffer(now, key("fra1"), "fra1", "fra1.example.net:8771")
	must(t, err)
	return o
}

func exporter(name string) []byte {
	b := sha256.Sum256([]byte(name))
	return b[:]
}

func request(t *testing.T, o *pairing.Offer, conn string) pairing.Request {
	t.Helper()
	q, err := pairing.NewRequest(o.Token(), exporter(conn), key("sin1"), "sin1", "sin1.example.net:8771")
	must(t, err)
	return q
}

func TestTwoNodesPairOnce(t *testing.T) {
	o := newOffer(t)
	q := request(t, o, "conn")
	r, err := o.Accept(now.Add(time.Minute), exporter("conn"), key("sin1"), q)
	if err != nil {
		t.Fatal(err)
	}
	if err := pairing.VerifyResponse(o.Token(), exporter("conn"), key("sin1"), q, r); err != nil || r.Node != "fra1" {
		t.Errorf("answer: got node %q, %v, want fra1", r.Node, err)
	}
	if o.Outstanding(now.Add(time.Minute)) {
		t.Error("Outstanding after use: got true, want false")
	}
	if _, err := o.Accept(now.Add(time.Minute), exporter("conn"), key("sin1"), q); !errors.Is(err, pairing.ErrUsed) {
		t.Errorf("second use: got %v, want ErrUsed", err)
	}
	if _, err := o.Accept(now.Add(time.Hour), exporter("conn"), key("sin1"), q); !errors.Is(err, pairing.ErrUsed) {
		t.Errorf("second use, late: got %v, want ErrUsed", err)
	}
}

// A token that was changed to name another listener is worth nothing.
func TestProofCoversTheIssuer(t *testing.T) {
	o := newOffer(t)
	tok := o.Token()
	tok.Issuer = key("mallory")
	q, err := pairing.NewRequest(tok, exporter("conn"), key("sin1"), "sin1", "")
	must(t, err)
	if _, err := o.Accept(now, exporter("conn"), key("sin1"), q); !errors.Is(err, pairing.ErrProof) {
		t.Errorf("got %v, want ErrProof", err)
	}
}

// What the proof covers: each change alone makes it worthless.
func TestProofCoversEverything(t *testing.T) {
	tests := []struct {
		name   string
		conn   string
		caller peer.Fingerprint
		change func(*pairing.Request)
		want   error
	}{
		{"another connection, as somebody in between has", "other", key("sin1"), nil, pairing.ErrProof},
		{"another key", "conn", key("mallory"), nil, pairing.ErrProof},
		{"the issuer's key", "conn", key("fra1"), nil, pairing.ErrProof},
		{"no key", "conn", "", nil, pairing.ErrProof},
		{"another name", "conn", key("sin1"), func(q *pairing.Request) { q.Node = "sin2" }, pairing.ErrProof},
		{"another address", "conn", key("sin1"), func(q *pairing.Request) { q.Address = "evil.example.net:1" }, pairing.ErrProof},
		{"no address", "conn", key("sin1"), func(q *pairing.Request) { q.Address = "" }, pairing.ErrProof},
		{"a bit of the proof", "conn", key("sin1"), func(q *pairing.Request) { q.Proof[0] ^= 1 }, pairing.ErrProof},
		{"the proof cut short", "conn", key("sin1"), func(q *pairing.Request) { q.Proof = q.Proof[:16] }, pairing.ErrProof},
		{"no proof", "conn", key("sin1"), func(q *pairing.Request) { q.Proof = nil }, pairing.ErrProof},
		{"a name that is a path", "conn", key("sin1"), func(q *pairing.Request) { q.Node = "../antipode" }, pairing.ErrMessage},
		{"the issuer's name", "conn", key("sin1"), func(q *pairing.Request) { q.Node = "fra1" }, pairing.ErrMessage},
		{"another version", "conn", key("sin1"), func(q *pairing.Request) { q.Version = 2 }, pairing.ErrMessage},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newOffer(t)
			q := request(t, o, "conn")
			if tt.change != nil {
				tt.change(&q)
			}
			r, err := o.Accept(now, exporter(tt.conn), tt.caller, q)
			if !errors.Is(err, tt.want) || r.Proof != nil {
				t.Errorf("got %+v, %v, want %v and no counter-proof", r, err, tt.want)
			}
			if _, err := o.Accept(now, exporter("conn"), key("sin1"), request(t, o, "conn")); err != nil {
				t.Errorf("the right one afterwards: got %v, want nil", err)
			}
		})
	}
}

func TestAnswerIsHeldToItsProof(t *testing.T) {
	tests := []struct {
		name   string
		change func(q *pairing.Request, r *pairing.Response)
		conn   string
		own    peer.Fingerprint
		want   error
	}{
		{"another name", func(_ *pairing.Request, r *pairing.Response) { r.Node = "fra2" }, "conn", key("sin1"), pairing.ErrProof},
		{"our own proof sent back", func(q *pairing.Request, r *pairing.Response) { r.Proof = q.Proof }, "conn", key("sin1"), pairing.ErrProof},
		{"no proof", func(_ *pairing.Request, r *pairing.Response) { r.Proof = nil }, "conn", key("sin1"), pairing.ErrProof},
		{"another connection", nil, "other", key("sin1"), pairing.ErrProof},
		{"meant for another key", nil, "conn", key("tok1"), pairing.ErrProof},
		{"a name that is a path", func(_ *pairing.Request, r *pairing.Response) { r.Node = "a/b" }, "conn", key("sin1"), pairing.ErrMessage},
		{"another version", func(_ *pairing.Request, r *pairing.Response) { r.Version = 0 }, "conn", key("sin1"), pairing.ErrMessage},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newOffer(t)
			q := request(t, o, "conn")
			r, err := o.Accept(now, exporter("conn"), key("sin1"), q)
			must(t, err)
			if tt.change != nil {
				tt.change(&q, &r)
			}
			if err := pairing.VerifyResponse(o.Token(), exporter(tt.conn), tt.own, q, r); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
		})
	}
}

func TestOfferEnds(t *testing.T) {
	good := func(t *testing.T, o *pairing.Offer, at time.Duration) error {
		_, err := o.Accept(now.Add(at), exporter("conn"), key("sin1"), request(t, o, "conn"))
		return err
	}
	guess := func(t *testing.T, o *pairing.Offer) {
		if _, err := o.Accept(now, exporter("conn"), key("sin1"), pairing.Request{Version: 1, Node: "x", Proof: exporter("guess")}); err == nil {
			t.Error("a guess was accepted")
		}
	}
	tests := []struct {
		name string
		do   func(t *testing.T, o *pairing.Offer) error
		want error
	}{
		{"just in time", func(t *testing.T, o *pairing.Offer) error { return good(t, o, 10*time.Minute-1) }, nil},
		{"too late", func(t *testing.T, o *pairing.Offer) error { return good(t, o, 10*time.Minute) }, pairing.ErrExpired},
		{"too late, then the clock is set back", func(t *testing.T, o *pairing.Offer) error {
			if o.Outstanding(now.Add(time.Hour)) {
				t.Error("Outstanding after an hour: got true, want false")
			}
			return good(t, o, 0)
		}, pairing.ErrExpired},
		{"four guesses before", func(t *testing.T, o *pairing.Offer) error {
			for range 4 {
				guess(t, o)
			}
			return good(t, o, 0)
		}, nil},
		{"five guesses before", func(t *testing.T, o *pairing.Offer) error {
			for range 5 {
				guess(t, o)
			}
			if o.Outstanding(now) {
				t.Error("Outstanding after five guesses: got true, want false")
			}
			return good(t, o, 0)
		}, pairing.ErrTooManyAttempts},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newOffer(t)
			if !o.Outstanding(now) {
				t.Error("Outstanding of a new offer: got false, want true")
			}
			err := tt.do(t, o)
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if err != nil && !strings.Contains(err.Error(), "antipode pair") {
				t.Errorf("%q does not say what next", err)
			}
		})
	}
}

func TestOneOfManyAtOnceIsServed(t *testing.T) {
	o := newOffer(t)
	q := request(t, o, "conn")
	var served, refused atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			_, err := o.Accept(now, exporter("conn"), key("sin1"), q)
			switch {
			case err == nil:
				served.Add(1)
			case errors.Is(err, pairing.ErrUsed):
				refused.Add(1)
			}
		})
	}
	wg.Wait()
	if served.Load() != 1 || refused.Load() != 15 {
		t.Errorf("got %d served and %d refused as used, want 1 and 15", served.Load(), refused.Load())
	}
}

func TestNamesAndAddresses(t *testing.T) {
	tests := []struct {
		name, node, address string
		ok                  bool
	}{
		{"plain", "sin1", "sin1:8771", true},
		{"all that is allowed", "Sin-1.a_b", "a-b.Example.net:1", true},
		{"IPv4", "a", "192.0.2.1:65535", true},
		{"IPv6", "a", "[2001:db8::1]:8771", true},
		{"IPv6 with zone", "a", "[fe80::1%eth0]:8771", true},
		{"no name", "", "a:1", false},
		{"hidden file", ".sin1", "a:1", false},
		{"path", "a/b", "a:1", false},
		{"space", "a b", "a:1", false},
		{"colon", "a:b", "a:1", false},
		{"line break", "a\nb", "a:1", false},
		{"option", "-a", "a:1", false},
		{"umlaut", "fürth", "a:1", false},
		{"too long a name", strings.Repeat("a", 65), "a:1", false},
		{"no port", "a", "sin1", false},
		{"port 0", "a", "sin1:0", false},
		{"port too high", "a", "sin1:65536", false},
		{"service name", "a", "sin1:https", false},
		{"no host", "a", ":8771", false},
		{"host with a quote", "a", "a\"b:1", false},
		{"host with a control character", "a", "a\x1bb:1", false},
		{"too long an address", "a", strings.Repeat("a", 260) + ":1", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, offerErr := pairing.NewOffer(now, key("fra1"), tt.node, tt.address)
			_, requestErr := pairing.NewRequest(newOffer(t).Token(), exporter("c"), key("sin1"), tt.node, tt.address)
			if (offerErr == nil) != tt.ok || (requestErr == nil) != tt.ok {
				t.Errorf("got offer: %v, request: %v, want accepted: %v", offerErr, requestErr, tt.ok)
			}
		})
	}
}

func TestMisuseIsRefused(t *testing.T) {
	if _, err := pairing.NewOffer(now, "ap1:nonsense", "fra1", "fra1:1"); !errors.Is(err, peer.ErrFingerprint) {
		t.Errorf("offer of a bad key: got %v, want ErrFingerprint", err)
	}
	tok := newOffer(t).Token()
	if _, err := pairing.NewRequest(tok, exporter("c"), key("fra1"), "fra1", ""); err == nil || !strings.Contains(err.Error(), "other one") {
		t.Errorf("token used at home: got %v, want a refusal that says where to use it", err)
	}
	if _, err := pairing.NewRequest(tok, nil, key("sin1"), "sin1", ""); err == nil {
		t.Error("no exporter: got nil, want an error: the proof would be good on any connection")
	}
}

func TestTokenText(t *testing.T) {
	o := newOffer(t)
	text, err := o.Token().Text()
	must(t, err)
	got, err := pairing.ParseToken(" " + strings.ToUpper(text) + "\n")
	must(t, err)
	if got.Address != "fra1.example.net:8771" || got.Issuer != key("fra1") || !got.Expires.Equal(now.Add(10*time.Minute)) {
		t.Errorf("got %v, expires %v", got, got.Expires)
	}
	q, err := pairing.NewRequest(got, exporter("c"), key("sin1"), "sin1", "")
	must(t, err)
	if _, err := o.Accept(now, exporter("c"), key("sin1"), q); err != nil {
		t.Errorf("request made from the text: got %v, want nil", err)
	}
	if other, _ := newOffer(t).Token().Text(); other == text {
		t.Error("two offers have the same token")
	}
	if strings.ContainsAny(text, " -/+=\n") {
		t.Errorf("%q is not one word to a terminal", text)
	}
}

func TestTokenKeepsItsSecret(t *testing.T) {
	tok := newOffer(t).Token()
	text, err := tok.Text()
	must(t, err)
	asJSON, err := json.Marshal(tok)
	must(t, err)
	zero := pairing.Token{Address: tok.Address, Issuer: tok.Issuer, Expires: tok.Expires}
	asJSONZero, err := json.Marshal(zero)
	must(t, err)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if fmt.Sprintf(verb, tok) != fmt.Sprintf(verb, zero) || strings.Contains(fmt.Sprintf(verb, tok), text) {
			t.Errorf("%s shows the secret: %s", verb, fmt.Sprintf(verb, tok))
		}
	}
	if !bytes.Equal(asJSON, asJSONZero) {
		t.Errorf("JSON shows the secret: %s", asJSON)
	}
	if tok.IsZero() || !(pairing.Token{}).IsZero() {
		t.Error("IsZero: got it wrong for a token or for none")
	}
}

func TestParseTokenRefuses(t *testing.T) {
	text, err := newOffer(t).Token().Text()
	must(t, err)
	tests := []struct{ name, text, want string }{
		{"nothing", "", "does not begin"},
		{"a key", key("fra1").String(), "this is a node's key"},
		{"cut by a word of bytes", text[:len(text)-8], "cut"},
		{"cut very short", text[:len("apair1:")+8], "part is missing"},
		{"a character changed", text[:40] + swap(text[40:41]) + text[41:], "checksum"},
		{"a line break inside", text[:40] + "\n" + text[40:], "character that does not belong"},
		{"two words", text + " " + text, ""},
		{"far too long", "apair1:" + strings.Repeat("a", 10_000), "too long"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := pairing.ParseToken(tt.text)
			if !errors.Is(err, pairing.ErrToken) || !strings.Contains(err.Error(), tt.want) || !got.IsZero() {
				t.Errorf("got %v, %v, want ErrToken with %q", got, err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), text[len(text)-20:]) {
				t.Errorf("the error repeats the secret: %v", err)
			}
		})
	}
}

func swap(c string) string {
	if c == "a" {
		return "b"
	}
	return "a"
}

func TestMessagesAsJSON(t *testing.T) {
	q := request(t, newOffer(t), "conn")
	data, err := json.Marshal(q)
	must(t, err)
	if len(data) > pairing.MaxMessageBytes {
		t.Errorf("a request has %d bytes, more than its own limit %d", len(data), pairing.MaxMessageBytes)
	}
	got, err := pairing.ParseRequest(bytes.Replace(data, []byte("{"), []byte(`{"later":[1],`), 1))
	if err != nil || got.Node != q.Node || got.Address != q.Address || !bytes.Equal(got.Proof, q.Proof) {
		t.Errorf("got %+v, %v, want %+v with the unknown field skipped", got, err, q)
	}
	bad := []struct{ name, text string }{
		{"not JSON", "hello"},
		{"empty", ""},
		{"no version", `{"node":"a"}`},
		{"later version", `{"version":2,"node":"a"}`},
		{"bad name", `{"version":1,"node":"a/b"}`},
		{"bad base64", `{"version":1,"node":"a","proof":"%"}`},
		{"too long", `{"version":1,"node":"a","x":"` + strings.Repeat("x", pairing.MaxMessageBytes) + `"}`},
	}
	for _, tt := range bad {
		if _, err := pairing.ParseRequest([]byte(tt.text)); !errors.Is(err, pairing.ErrMessage) {
			t.Errorf("request, %s: got %v, want ErrMessage", tt.name, err)
		}
		if _, err := pairing.ParseResponse([]byte(tt.text)); !errors.Is(err, pairing.ErrMessage) {
			t.Errorf("answer, %s: got %v, want ErrMessage", tt.name, err)
		}
	}
	if _, err := pairing.ParseRequest([]byte(`{"version":1,"node":"a","address":"nowhere"}`)); !errors.Is(err, pairing.ErrMessage) {
		t.Errorf("request, bad address: got %v, want ErrMessage", err)
	}
}

// Both ends of a real TLS connection agree on the exporter; somebody who
// relays between two connections has two different ones.
func TestExporterBelongsToOneConnection(t *testing.T) {
	a1, b1 := connect(t)
	a2, _ := connect(t)
	if !bytes.Equal(a1, b1) || len(a1) != 32 {
		t.Errorf("one connection: got %x and %x, want the same 32 bytes", a1, b1)
	}
	if bytes.Equal(a1, a2) {
		t.Error("two connections: got the same exporter")
	}
	if _, err := pairing.Exporter(tls.ConnectionState{}); err == nil {
		t.Error("no connection: got nil, want an error")
	}
}

func connect(t *testing.T) (caller, listener []byte) {
	t.Helper()
	fra1, err := peer.NewIdentity()
	must(t, err)
	n := transporttest.New()
	l, err := n.Listen("fra1:1")
	must(t, err)
	raw, err := n.Dial(t.Context(), "fra1:1")
	must(t, err)
	accepted, err := l.Accept()
	must(t, err)
	here := tls.Client(raw, peer.ClientConfig(fra1, fra1.Fingerprint()))
	there := tls.Server(accepted, peer.ServerConfig(fra1, func(peer.Fingerprint) (string, bool) { return "", true }, nil))
	done := make(chan error, 1)
	go func() { done <- there.HandshakeContext(t.Context()) }()
	must(t, here.HandshakeContext(t.Context()))
	must(t, <-done)
	caller, err = exportOf(here)
	must(t, err)
	listener, err = exportOf(there)
	must(t, err)
	return caller, listener
}

func exportOf(c *tls.Conn) ([]byte, error) { return pairing.Exporter(c.ConnectionState()) }

func FuzzParseToken(f *testing.F) {
	o, err := pairing.NewOffer(now, key("fra1"), "fra1", "fra1:8771")
	if err != nil {
		f.Fatal(err)
	}
	text, err := o.Token().Text()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add(strings.ToUpper(text) + "\n")
	f.Add("apair1:")
	f.Add(key("fra1").String())
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := pairing.ParseToken(s)
		if err != nil {
			return
		}
		back, err := tok.Text()
		if err != nil || !strings.EqualFold(strings.TrimSpace(s), back) {
			t.Errorf("%q was accepted and spelt %q, %v: one token has two spellings", s, back, err)
		}
	})
}

func FuzzParseMessages(f *testing.F) {
	f.Add([]byte(`{"version":1,"node":"a","address":"a:1","proof":"AAAA"}`))
	f.Add([]byte(`{"version":1,"node":"../a"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if q, err := pairing.ParseRequest(data); err == nil && pairing.CheckNode(q.Node) != nil {
			t.Errorf("request accepted with node %q", q.Node)
		}
		if r, err := pairing.ParseResponse(data); err == nil && strings.ContainsAny(r.Node, "/\x00\n ") {
			t.Errorf("answer accepted with node %q", r.Node)
		}
	})
}
