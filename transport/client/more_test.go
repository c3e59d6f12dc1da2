package client_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"antipode/transport/client"
	"antipode/transport/peer"
	"antipode/transport/server"
	"antipode/transport/transporttest"
	"antipode/transport/wire"
)

// A small step whose publishing takes long is followed, not asked for again
// and again.
func TestWholeStepThatPublishesSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPair(t, nil)
		p.target.publish = func(ctx context.Context) error {
			select {
			case <-time.After(20 * time.Minute):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		open, want := opening("db"), content(1000)
		if _, err := p.client(nil).Send(t.Context(), open, plainReader(want), nil); err != nil {
			t.Fatalf("Send: %v", err)
		}
		p.mustHave(open, want)
		if p.target.receives != 1 {
			t.Errorf("%d receives, want 1", p.target.receives)
		}
	})
}

// A whole step is sent through a link that is down when it begins.
func TestWholeStepWaitsForTheLink(t *testing.T) {
	for _, after := range []time.Duration{10 * time.Minute, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t, nil)
			p.net.Down(transporttest.Outage{Refuse: true})
			during(t, after, p.net.Up)
			c := p.client(func(o *client.Options) { o.WaitForLink = 30 * time.Minute })
			_, err := c.Send(t.Context(), opening("db"), plainReader(content(1000)), nil)
			if back := after < 30*time.Minute; back != (err == nil) || !back && !errors.Is(err, wire.ErrLinkWait) {
				t.Errorf("link back after %s: %v", after, err)
			}
		})
	}
}

// The other side speaks another version, or is no Antipode at all.
func TestOtherVersionIsFinal(t *testing.T) {
	for _, tc := range []struct{ header, want string }{
		{"2", "upgrade Antipode on this side"},
		{"", "is it Antipode"},
	} {
		synctest.Test(t, func(t *testing.T) {
			p := newPair(t, nil)
			p.stop()
			ln, err := p.net.Listen(address)
			if err != nil {
				t.Fatal(err)
			}
			asked := 0
			h := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				asked++
				if tc.header != "" {
					w.Header().Set(wire.VersionHeader, tc.header)
				}
				w.WriteHeader(http.StatusTeapot)
			})}
			known := func(peer.Fingerprint) (string, bool) { return "fra1", true }
			h.TLSConfig = peer.ServerConfig(p.opts.Identity, known, nil)
			go h.ServeTLS(ln, "", "")
			defer h.Close()
			_, err = p.client(nil).Send(t.Context(), opening("db"), plainReader(content(mib)), nil)
			if !errors.Is(err, wire.ErrVersion) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Send: %v, want %q", err, tc.want)
			}
			if asked > 2 { // the opening, and the courtesy of an abort
				t.Errorf("asked %d times", asked)
			}
		})
	}
}

// The socket options must not be in the way of a real connection.
func TestRealSockets(t *testing.T) {
	caller, own, b := identity(t), identity(t), newTarget()
	s := server.New(server.Options{
		Identity: own, Backend: b, Log: zerolog.Nop(),
		Peers: func(f peer.Fingerprint) (string, bool) { return "fra1", f == caller.Fingerprint() },
	})
	ln, err := server.ListenConfig().Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, ln) }()
	defer func() {
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}()
	c := client.New(client.Options{Identity: caller, Key: own.Fingerprint(), Address: ln.Addr().String(), Log: zerolog.Nop()})
	defer c.Close()
	open, want := opening("db"), content(9*mib)
	if _, err := c.Send(t.Context(), open, plainReader(want), nil); err != nil {
		t.Fatalf("Send: %v", err)
	}
	if got := b.has("fra1", open); string(got) != string(want) {
		t.Errorf("target has %d bytes, want %d equal ones", len(got), len(want))
	}
	if runtime.GOOS == "linux" && c.Congestion() == "" {
		t.Error("congestion control is not known")
	}
	if p, ok := client.Look(&net.UDPConn{}); ok {
		t.Errorf("a connection without a socket looks like %+v", p)
	}
}
