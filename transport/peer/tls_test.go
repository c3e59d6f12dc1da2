package peer_test

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"antipode/transport/peer"
	"antipode/transport/transporttest"
)

func newIdentity(t *testing.T) peer.Identity {
	t.Helper()
	id, err := peer.NewIdentity()
	must(t, err)
	return id
}

func pin(names map[peer.Fingerprint]string) func(peer.Fingerprint) (string, bool) {
	return func(f peer.Fingerprint) (string, bool) {
		name, ok := names[f]
		return name, ok
	}
}

// handshake runs both configurations against each other; the client reads one
// byte, since TLS 1.3 tells it only then what the server thinks of its key.
func handshake(t *testing.T, server, client *tls.Config) (s, c tls.ConnectionState, serverErr, clientErr error) {
	t.Helper()
	n := transporttest.New()
	l, err := n.Listen("sin1:8771")
	must(t, err)
	defer l.Close()
	raw, err := n.Dial(t.Context(), "sin1:8771")
	must(t, err)
	accepted, err := l.Accept()
	must(t, err)
	done := make(chan error, 1)
	there := tls.Server(accepted, server)
	go func() {
		_, err := there.Write([]byte("k"))
		if err != nil {
			accepted.Close()
		}
		done <- err
	}()
	here := tls.Client(raw, client)
	if clientErr = here.HandshakeContext(t.Context()); clientErr == nil {
		_, clientErr = here.Read(make([]byte, 1))
	} else {
		raw.Close()
	}
	serverErr = <-done
	defer raw.Close()
	defer accepted.Close()
	return there.ConnectionState(), here.ConnectionState(), serverErr, clientErr
}

func TestBothSidesAreHeldToTheirPins(t *testing.T) {
	fra1, sin1, other := newIdentity(t), newIdentity(t), newIdentity(t)
	pins := pin(map[peer.Fingerprint]string{fra1.Fingerprint(): "fra1"})
	yes, no := func() bool { return true }, func() bool { return false }
	tests := []struct {
		name           string
		caller         peer.Identity
		want           peer.Fingerprint // what the caller expects
		unknown        func() bool
		server, client func(error) bool
	}{
		{"pinned on both sides", fra1, sin1.Fingerprint(), no, isNil, isNil},
		{"the caller is not pinned", other, sin1.Fingerprint(), no, isUnknown(other), isRefused(other)},
		{"the caller is not pinned, and nobody is let in", other, sin1.Fingerprint(), nil, isUnknown(other), isRefused(other)},
		{"the caller is not pinned while a token is out", other, sin1.Fingerprint(), yes, isNil, isNil},
		{"the listener has another key", fra1, other.Fingerprint(), no, isSomething, isMismatch(sin1, other.Fingerprint())},
		{"the caller pins nothing", fra1, "", no, isSomething, isMismatch(sin1, "")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, c, serverErr, clientErr := handshake(t,
				peer.ServerConfig(sin1, pins, tt.unknown), peer.ClientConfig(tt.caller, tt.want))
			clientErr = peer.ExplainRefusal(clientErr, tt.caller.Fingerprint())
			if !tt.server(serverErr) || !tt.client(clientErr) {
				t.Fatalf("got server: %v, client: %v", serverErr, clientErr)
			}
			if clientErr != nil {
				return
			}
			if got, err := peer.FingerprintOf(s); got != tt.caller.Fingerprint() || err != nil {
				t.Errorf("the listener sees %s, %v, want %s", got, err, tt.caller.Fingerprint())
			}
			if got, err := peer.FingerprintOf(c); got != sin1.Fingerprint() || err != nil {
				t.Errorf("the caller sees %s, %v, want %s", got, err, sin1.Fingerprint())
			}
			if c.Version != tls.VersionTLS13 || c.NegotiatedProtocol != peer.Protocol {
				t.Errorf("got version %x and protocol %q, want TLS 1.3 and %q", c.Version, c.NegotiatedProtocol, peer.Protocol)
			}
		})
	}
}

func isNil(err error) bool       { return err == nil }
func isSomething(err error) bool { return err != nil }

func isUnknown(id peer.Identity) func(error) bool {
	return func(err error) bool {
		var e *peer.UnknownError
		return errors.As(err, &e) && e.Shown == id.Fingerprint() && strings.Contains(e.Error(), e.Shown.String()) && strings.Contains(e.Error(), "[[peer]]")
	}
}

func isRefused(id peer.Identity) func(error) bool {
	return func(err error) bool {
		var e *peer.RefusedError
		return errors.As(err, &e) && e.Own == id.Fingerprint() && strings.Contains(e.Error(), e.Own.String()) && errors.Unwrap(e) != nil
	}
}

func isMismatch(shown peer.Identity, want peer.Fingerprint) func(error) bool {
	return func(err error) bool {
		var e *peer.MismatchError
		return errors.As(err, &e) && e.Shown == shown.Fingerprint() && e.Want == want &&
			strings.Contains(e.Error(), e.Shown.String()) && strings.Contains(e.Error(), e.Want.String())
	}
}

func TestOldProtocolsAndMissingKeysAreRefused(t *testing.T) {
	fra1, sin1 := newIdentity(t), newIdentity(t)
	pins := pin(map[peer.Fingerprint]string{fra1.Fingerprint(): "fra1"})
	tests := []struct {
		name   string
		change func(*tls.Config)
	}{
		{"TLS 1.2", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }},
		{"no key", func(c *tls.Config) { c.Certificates = nil }},
		{"HTTP/2 only", func(c *tls.Config) { c.NextProtos = []string{"h2"} }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			client := peer.ClientConfig(fra1, sin1.Fingerprint())
			tt.change(client)
			_, _, serverErr, clientErr := handshake(t, peer.ServerConfig(sin1, pins, nil), client)
			if serverErr == nil || clientErr == nil {
				t.Errorf("got server: %v, client: %v, want both to fail", serverErr, clientErr)
			}
		})
	}
	if _, err := peer.FingerprintOf(tls.ConnectionState{}); !errors.Is(err, peer.ErrNoKey) {
		t.Errorf("FingerprintOf before the handshake: got %v, want ErrNoKey", err)
	}
}

func TestOtherErrorsAreNotExplainedAway(t *testing.T) {
	for _, err := range []error{nil, io.EOF} {
		if got := peer.ExplainRefusal(err, "ap1:x"); got != err { //nolint:errorlint // the very same value
			t.Errorf("ExplainRefusal(%v): got %v, want it as it is", err, got)
		}
	}
}

// A pinned key is good in any year: the clock of either side may be far off.
func TestDatesDoNotMatter(t *testing.T) {
	fra1, sin1 := newIdentity(t), newIdentity(t)
	pins := pin(map[peer.Fingerprint]string{fra1.Fingerprint(): "fra1"})
	for _, year := range []int{1970, 2200} {
		client := peer.ClientConfig(fra1, sin1.Fingerprint())
		server := peer.ServerConfig(sin1, pins, nil)
		client.Time = func() time.Time { return time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC) }
		server.Time = client.Time
		if _, _, serverErr, clientErr := handshake(t, server, client); serverErr != nil || clientErr != nil {
			t.Errorf("in %d: got %v, %v, want a connection", year, serverErr, clientErr)
		}
	}
}

// The pin is looked up for every connection, and a resumed session is one: even
// if somebody turns tickets on, a key that was removed stays out.
func TestResumptionDoesNotPassThePin(t *testing.T) {
	fra1, sin1 := newIdentity(t), newIdentity(t)
	var known atomic.Bool
	known.Store(true)
	var asked atomic.Int32
	server := peer.ServerConfig(sin1, func(peer.Fingerprint) (string, bool) {
		asked.Add(1)
		return "fra1", known.Load()
	}, nil)
	client := peer.ClientConfig(fra1, sin1.Fingerprint())
	client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	client.ServerName = "sin1"

	for range 2 {
		if _, c, _, err := handshake(t, server, client); err != nil || c.DidResume {
			t.Fatalf("as we ship it: got resumed %v, %v, want a full handshake", c.DidResume, err)
		}
	}

	server.SessionTicketsDisabled, client.SessionTicketsDisabled = false, false
	handshake(t, server, client)
	_, c, _, err := handshake(t, server, client)
	if err != nil || !c.DidResume {
		t.Fatalf("with tickets: got resumed %v, %v, want a resumed session, else this test shows nothing", c.DidResume, err)
	}
	known.Store(false)
	before := asked.Load()
	_, _, serverErr, clientErr := handshake(t, server, client)
	if !isUnknown(fra1)(serverErr) || clientErr == nil || asked.Load() != before+1 {
		t.Errorf("resumed after the pin was removed: got server: %v, client: %v, want a refusal", serverErr, clientErr)
	}
	known.Store(true)
	handshake(t, server, client)
	elsewhere := client.Clone()
	elsewhere.VerifyConnection = peer.ClientConfig(fra1, fra1.Fingerprint()).VerifyConnection
	if _, _, _, err := handshake(t, server, elsewhere); !isMismatch(sin1, fra1.Fingerprint())(err) {
		t.Errorf("the client's pin changed, session kept: got %v, want MismatchError", err)
	}
}

func TestHTTPRunsOverBothConfigurations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fra1, sin1, other := newIdentity(t), newIdentity(t), newIdentity(t)
		n := transporttest.New()
		l, err := n.Listen("sin1:8771")
		must(t, err)
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			f, err := peer.FingerprintOf(*r.TLS)
			if err != nil {
				t.Errorf("FingerprintOf in a handler: %v", err)
			}
			io.WriteString(w, r.Proto+" "+f.String())
		})}
		server.ErrorLog = log.New(io.Discard, "", 0)
		go server.Serve(tls.NewListener(l, peer.ServerConfig(sin1, pin(map[peer.Fingerprint]string{fra1.Fingerprint(): "fra1"}), nil)))
		defer server.Close()

		get := func(id peer.Identity) (string, error) {
			tr := &http.Transport{DialContext: n.DialContext, TLSClientConfig: peer.ClientConfig(id, sin1.Fingerprint())}
			defer tr.CloseIdleConnections()
			resp, err := (&http.Client{Transport: tr}).Get("https://sin1:8771/")
			if err != nil {
				return "", peer.ExplainRefusal(err, id.Fingerprint())
			}
			defer resp.Body.Close()
			b, err := io.ReadAll(resp.Body)
			return string(b), err
		}
		if got, err := get(fra1); got != "HTTP/1.1 "+fra1.Fingerprint().String() || err != nil {
			t.Errorf("pinned: got %q, %v, want HTTP/1.1 and the caller's key", got, err)
		}
		if got, err := get(other); !isRefused(other)(err) {
			t.Errorf("not pinned: got %q, %v, want RefusedError", got, err)
		}
	})
}
