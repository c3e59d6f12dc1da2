// Package client is the calling side of the transport: questions to a peer,
// and streams sent to it over several connections. It knows neither drivers nor
// policy. transport/PROTOCOL.md is its table.
package client

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-retryablehttp"
	"github.com/rs/zerolog"

	"antipode/transport/peer"
	"antipode/transport/shape"
	"antipode/transport/squeeze"
	"antipode/transport/stripe"
	"antipode/transport/wire"
)

// Options is what a Client is made of. Identity, Key and Address must be given.
type Options struct {
	Identity peer.Identity
	Key      peer.Fingerprint // the peer's pinned key
	Address  string           // host:port
	// Dial makes the connection below TLS; nil is Dialer().
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// Take, if not nil, is asked in place of Dial for a peer that cannot be dialed:
	// it hands out a connection that the peer has made, with TLS on it and the
	// peer's key proven to be Key. Address then only names the peer.
	Take func(ctx context.Context) (net.Conn, error)
	Now  func() time.Time
	Log  zerolog.Logger
	// Budget of what Send gives to TLS, repetitions included; nil is no limit.
	// The transfers that run share it evenly.
	Budget *shape.Budget
	Lanes  int // connections of all transfers together at most; wire.MaxLanes if 0
	Window int // bytes of one transfer held at most; 64 MiB if 0
	// Congestion is the congestion control to ask for by name; Auto if "".
	Congestion string
	// Look tells what is known of a connection; nil is Look.
	Look func(net.Conn) (Path, bool)
	// Connected is told of each connection that was made; nil is nobody.
	Connected func(Path)
	// Coder packs chunks where the peer takes them packed and it is worth it, as
	// long as Compress says so (nil: always); nil packs none.
	Coder    *squeeze.Coder
	Compress func() bool
	// Idle tells how many processors had nothing to do since it was asked last; nil
	// asks the kernel.
	Idle func() float64
	// Memory bounds what the transfers of all clients that it is given to hold
	// together; nil is no bound.
	Memory *stripe.Share
	// WaitForLink is how long Send waits for a lost link; 24 h if 0.
	WaitForLink time.Duration
}

const (
	defaultWindow      = 64 << 20
	defaultWaitForLink = 24 * time.Hour

	dialTimeout   = 15 * time.Second
	answerTimeout = time.Minute // to the first byte of an answer to a call
	callRetries   = 3

	maxHeaderBytes = 64 << 10 // of an answer
)

// Client talks to one peer. Its methods are safe for concurrent use.
//
// Errors that the peer answered with are a *wire.Error and unwrap to the
// sentinels of dataset and wire. A *peer.MismatchError, a *peer.RefusedError and
// a wire.ErrVersion are final and not tried again.
type Client struct {
	opts Options
	base string
	pool *stripe.Pool
	// Calls and lanes do not share connections: retryablehttp closes the idle
	// ones when it gives up.
	calls *retryablehttp.Client // questions: a few attempts
	steps *retryablehttp.Client // what must arrive: until the context ends
	lanes *http.Client
	path  atomic.Pointer[Path]
	// packing is what is known of making chunks smaller on this path.
	packing packing
	// transfers that have lanes now; they share Options.Lanes.
	transfers atomic.Int64
	open      atomic.Int64 // lanes connected now
	chunks    gate         // first chunks in memory that are not small
	bulk      gate         // transfers over lanes
}

// New makes a client; it connects when it is asked something.
func New(o Options) *Client {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Lanes <= 0 {
		o.Lanes = wire.MaxLanes
	}
	if o.Window <= 0 {
		o.Window = defaultWindow
	}
	if o.Look == nil {
		o.Look = Look
	}
	if o.Connected == nil {
		o.Connected = func(Path) {}
	}
	if o.WaitForLink <= 0 {
		o.WaitForLink = defaultWaitForLink
	}
	if o.Dial == nil {
		d := Dialer()
		o.Dial = func(ctx context.Context, address string) (net.Conn, error) { return d.DialContext(ctx, "tcp", address) }
	}
	if o.Compress == nil {
		o.Compress = func() bool { return true }
	}
	if o.Idle == nil {
		o.Idle = idleProcessors()
	}
	c := &Client{
		opts: o, base: "https://" + o.Address, pool: stripe.NewPool(o.Window),
		chunks: make(gate, maxChunks), bulk: make(gate, maxBulk),
	}
	c.packing.coder, c.packing.wanted = o.Coder, o.Compress
	c.packing.gauge.Now, c.packing.gauge.Idle = o.Now, o.Idle
	shared := c.transport()
	shared.ResponseHeaderTimeout = answerTimeout
	// Small steps find a connection that is warm: another one costs two round
	// trips before the first byte.
	shared.MaxIdleConnsPerHost = maxIdle
	shared.IdleConnTimeout = time.Minute
	c.calls = c.retrying(shared, callRetries)
	c.steps = c.retrying(shared, 1<<30)
	own := c.transport()
	own.DisableKeepAlives, own.DialContext = true, c.dialCorked
	if o.Take != nil {
		shared.DialTLSContext, own.DialTLSContext = c.take, c.takeShort
	}
	c.lanes = &http.Client{Transport: own, CheckRedirect: noRedirect}
	return c
}

// transport makes HTTP/1.1 connections to the pinned key.
func (c *Client) transport() *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Transport{
		Protocols:           &protocols,
		DialContext:         c.dial,
		TLSClientConfig:     peer.ClientConfig(c.opts.Identity, c.opts.Key),
		TLSHandshakeTimeout: dialTimeout,
		DisableCompression:  true,
		// net/http would take in 10 MiB of them.
		MaxResponseHeaderBytes: maxHeaderBytes,
	}
}

func (c *Client) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, fmt.Errorf("no connection within %s", dialTimeout))
	defer cancel()
	conn, err := c.opts.Dial(ctx, c.opts.Address)
	if err != nil {
		return nil, err
	}
	c.made(conn)
	return conn, nil
}

// made has a new connection send as well as it can, and notes what it is like.
func (c *Client) made(conn net.Conn) {
	tune(conn, c.opts.Congestion)
	if p, ok := c.opts.Look(conn); ok {
		c.path.Store(&p)
		c.opts.Connected(p)
	}
}

// take is dial and handshake for a peer that cannot be dialed.
func (c *Client) take(ctx context.Context, _, _ string) (net.Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, fmt.Errorf("no connection within %s", dialTimeout))
	defer cancel()
	conn, err := c.opts.Take(ctx)
	if err != nil {
		return nil, err
	}
	c.made(conn)
	return conn, nil
}

// takeShort is take for lanes; there is a cork in the connection already.
func (c *Client) takeShort(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := c.take(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c.oneOfLanes(conn)
	return conn, nil
}

// newest is what was known of the newest connection when it was made.
func (c *Client) newest() Path {
	if p := c.path.Load(); p != nil {
		return *p
	}
	return Path{}
}

// join counts a transfer among those that share the lanes until it leaves.
func (c *Client) join() (leave func()) {
	c.transfers.Add(1)
	return func() { c.transfers.Add(-1) }
}

// laneShare is how many lanes each transfer may have now.
func (c *Client) laneShare() int { return c.opts.Lanes / max(1, int(c.transfers.Load())) }

// Congestion is the algorithm that the kernel runs on the newest connection,
// for status; "" if it is not known.
func (c *Client) Congestion() string { return c.newest().Congestion }

// Close drops idle connections.
func (c *Client) Close() {
	c.calls.HTTPClient.CloseIdleConnections()
	c.lanes.CloseIdleConnections()
}
