// Package client is the calling side of the transport: questions to a peer,
// and streams sent to it over several connections. It knows neither drivers nor
// policy. transport/PROTOCOL.md is its table.
package client

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"time"

	"github.com/rs/zerolog"

	"antipode/transport/peer"
	"antipode/transport/peer/pairing"
	"antipode/transport/wire"
)

// Budget limits the rate: Wait returns when n more bytes may be given to TLS.
type Budget interface {
	Wait(ctx context.Context, n int) error
}

// Options is what a Client is made of. Identity, Key and Address must be given.
type Options struct {
	Identity peer.Identity
	Key      peer.Fingerprint // the peer's pinned key
	Address  string           // host:port
	// Dial makes the connection below TLS; nil is Dialer().DialContext.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	Now  func() time.Time
	Log  zerolog.Logger
	// Budget of what Send gives to TLS, repetitions included; nil is no limit.
	Budget Budget
	Lanes  int // connections of one transfer; 4 if 0
	Window int // bytes of one transfer held at most; 32 MiB if 0
	// WaitForLink is how long Send waits for a lost link; 24 h if 0.
	WaitForLink time.Duration
}

// Progress is how far a Send is.
type Progress struct {
	Acked int64 // bytes of the stream that the target has
	Wire  int64 // bytes given to TLS, repetitions and headers included
	Lanes int   // connected now
	// WaitingSince is when the link was lost; zero while it is up.
	WaitingSince time.Time
	// Notice is why the target takes nothing at the moment; nil if it does.
	Notice error
}

// Client talks to one peer. Its methods are safe for concurrent use.
//
// Errors that the peer answered with are a *wire.Error and unwrap to the
// sentinels of dataset and wire. A *peer.MismatchError or *peer.RefusedError is
// final and is not tried again.
type Client struct {
	opts Options
	tls  *tls.Config
}

// New makes a client; it connects when it is asked something.
func New(o Options) *Client {
	return &Client{opts: o, tls: peer.ClientConfig(o.Identity, o.Key)}
}

// Hello asks who the peer is. Errors: wire.ErrVersion.
func (c *Client) Hello(ctx context.Context) (wire.Hello, error) { return wire.Hello{}, nil }

// Inventory asks what the peer holds.
func (c *Client) Inventory(ctx context.Context, q wire.InventoryRequest) (wire.Inventory, error) {
	return wire.Inventory{}, nil
}

// Commit asks whether a step is published on the peer's disk.
func (c *Client) Commit(ctx context.Context, q wire.CommitQuery) (wire.Committed, error) {
	return wire.Committed{}, nil
}

// Abort ends the peer's receive of an incarnation; one that is not there is
// success.
func (c *Client) Abort(ctx context.Context, incarnation string) error { return nil }

// Pair proves the token to the node that issued it. Once it returns without an
// error, either side may pin the other: the token's issuer under Response.Node.
// Options.Key and Address are those of the token.
func (c *Client) Pair(ctx context.Context, t pairing.Token, node, address string) (pairing.Response, error) {
	return pairing.Response{}, nil
}

// Send sends src as the incarnation and returns what the target published.
// It waits for a lost link for WaitForLink, and sends again only what was in
// flight; src is read once. progress may be nil; it is called about once a
// second and must not block. On any other end than success the target is told
// to abort, so that it does not wait.
func (c *Client) Send(ctx context.Context, open wire.Open, src io.Reader, progress func(Progress)) (wire.Committed, error) {
	return wire.Committed{}, nil
}

// Close drops idle connections.
func (c *Client) Close() {}
