package client_test

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/rs/zerolog"

	"antipode/transport/client"
	"antipode/transport/peer"
	"antipode/transport/server"
	"antipode/transport/wire"
)

// discard is a target that reads and forgets.
type discard struct{ *target }

func (discard) Receive(_ context.Context, _ string, open wire.Open, r io.Reader) (wire.Committed, error) {
	if _, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, r, make([]byte, 256*kib)); err != nil {
		return wire.Committed{}, err
	}
	return wire.Committed{Published: true, Snapshot: open.Step.To}, nil
}

// BenchmarkLoopback sends 1 GiB over real TCP and TLS; both sides share the
// machine.
func BenchmarkLoopback(b *testing.B) {
	caller, own := benchIdentity(b), benchIdentity(b)
	s := server.New(server.Options{
		Identity: own, Backend: discard{newTarget()}, Log: zerolog.Nop(),
		Peers: func(f peer.Fingerprint) (string, bool) { return "fra1", f == caller.Fingerprint() },
	})
	ln, err := server.ListenConfig().Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, ln) }()
	defer func() { cancel(); <-served }()
	c := client.New(client.Options{Identity: caller, Key: own.Fingerprint(), Address: ln.Addr().String(), Log: zerolog.Nop()})
	defer c.Close()
	block := content(4 * mib)
	const size = 1 << 30
	b.SetBytes(size)
	for b.Loop() {
		open := opening("db")
		open.ChunkBytes = wire.MaxChunk
		if _, err := c.Send(b.Context(), open, &repeat{block: block, left: size}, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.Logf("congestion control: %s", c.Congestion())
}

// repeat reads the block again and again.
type repeat struct {
	block []byte
	r     bytes.Reader
	left  int
}

func (r *repeat) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	if r.r.Len() == 0 {
		r.r.Reset(r.block)
	}
	n, err := r.r.Read(p[:min(len(p), r.left)])
	r.left -= n
	return n, err
}

func benchIdentity(b *testing.B) peer.Identity {
	b.Helper()
	id, err := peer.NewIdentity()
	if err != nil {
		b.Fatal(err)
	}
	return id
}
