package benchwan

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	mrand "math/rand/v2"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"antipode/fsdrivers/dataset"
	"antipode/integration/node"
	"antipode/integration/wan"
	"antipode/transport/client"
	"antipode/transport/peer"
	"antipode/transport/server"
	"antipode/transport/wire"
)

const (
	resendBytes = 1 << 30
	outage      = 30 * time.Second
)

// sink is a target that counts. What it is not asked for it does not have.
type sink struct {
	server.Backend
	got atomic.Int64
}

func (s *sink) Hello(context.Context, string) (wire.Hello, error) {
	return wire.Hello{Version: wire.Version, Node: "far", Software: "bench", Now: time.Now()}, nil
}

func (s *sink) Receive(_ context.Context, _ string, open wire.Open, r io.Reader) (wire.Committed, error) {
	buf := make([]byte, 256<<10)
	for {
		n, err := r.Read(buf)
		s.got.Add(int64(n))
		if errors.Is(err, io.EOF) {
			return wire.Committed{Published: true, Snapshot: open.Step.To}, nil
		}
		if err != nil {
			return wire.Committed{}, err
		}
	}
}

// serve runs the target's side of the transport at the far end.
func serve(b *testing.B, l *wan.WAN, own peer.Identity, caller peer.Fingerprint, to *sink) (address string) {
	b.Helper()
	var listener net.Listener
	node.Must(b, l.B.Do(func() (err error) {
		listener, err = server.ListenConfig().Listen(b.Context(), "tcp", l.B.Address.String()+":0")
		return err
	}))
	s := server.New(server.Options{
		Identity: own, Backend: to, Log: zerolog.Nop(),
		Peers: func(f peer.Fingerprint) (string, bool) { return "near", f == caller },
	})
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, listener) }()
	b.Cleanup(func() { cancel(); node.Must(b, <-served) })
	return listener.Addr().String()
}

// BenchmarkResend cuts the link for 30 s in the middle of 1 GiB, and compares what
// was given to TLS beyond the stream with what the path holds. It runs the
// transport alone: only there is each byte counted.
func BenchmarkResend(b *testing.B) {
	shape := far200(0)
	l := link(b, shape)
	near, far := identity(b), identity(b)
	to := &sink{}
	dialer := client.Dialer()
	c := client.New(client.Options{
		Identity: near, Key: far.Fingerprint(), Address: serve(b, l, far, near.Fingerprint(), to), Log: zerolog.Nop(),
		Dial: func(ctx context.Context, address string) (conn net.Conn, err error) {
			err = l.A.Do(func() error {
				conn, err = dialer.DialContext(ctx, "tcp", address)
				return err
			})
			return conn, err
		},
	})
	defer c.Close()
	_, err := c.Hello(b.Context())
	node.Must(b, err)
	cut := make(chan struct{})
	go func() {
		defer close(cut)
		for to.got.Load() < resendBytes/2 {
			time.Sleep(10 * time.Millisecond)
		}
		l.Cut()
		time.Sleep(outage)
		l.Restore()
	}()
	var last client.Progress
	_, err = c.Send(b.Context(), opening(b), io.LimitReader(mrand.NewChaCha8([32]byte{1}), resendBytes), func(p client.Progress) { last = p })
	node.Must(b, err)
	<-cut
	if got := to.got.Load(); got != resendBytes {
		b.Fatalf("%d bytes arrived, want %d", got, resendBytes)
	}
	again := last.Wire - resendBytes
	product := float64(shape.Rate) * (2 * shape.Delay).Seconds()
	b.Logf("%d bytes were sent again, %d of them because they were overdue; bandwidth x delay is %.0f; %d lanes", again, last.Again, product, last.Lanes)
	figure("resend_link_loss", float64(again)/product, "of-bandwidth-x-delay")
}

func opening(b *testing.B) wire.Open {
	b.Helper()
	var id [16]byte
	_, err := rand.Read(id[:])
	node.Must(b, err)
	at := time.Now().UTC().Truncate(time.Second)
	return wire.Open{
		Step: dataset.Step{
			Job: "wan", Dataset: dataset.Dataset{Path: "/data", ID: "d1"},
			To: dataset.Snapshot{Name: "antipode_wan_1", ID: "5a1e", Created: at, Retain: at},
		},
		Driver: "btrfs", Incarnation: hex.EncodeToString(id[:]),
	}
}
