// Package server is the listening side of the transport: the HTTPS endpoints
// under /v1/, who may reach which, and the transfers that run. It knows neither
// drivers nor policy: it calls a Backend. transport/PROTOCOL.md is its table.
//
// A request's principal is the peer whose pinned key TLS has proven, looked up
// again for every request, so that a reload counts at once. An unknown key
// reaches nothing but pairing, and that only while a token is outstanding.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/rs/zerolog"

	"antipode/transport/peer"
	"antipode/transport/peer/pairing"
	"antipode/transport/squeeze"
	"antipode/transport/stripe"
	"antipode/transport/wire"
)

// Backend does what peers ask for. The peer's name is authenticated; whether it
// may ask this is for the backend to judge. Errors travel by wire.FromError.
type Backend interface {
	Hello(ctx context.Context, peer string) (wire.Hello, error)
	Inventory(ctx context.Context, peer string, q wire.InventoryRequest) (wire.Inventory, error)
	// Tips answers whether a list of replicas is as expected.
	Tips(ctx context.Context, peer string, q wire.TipsRequest) (wire.Tips, error)
	// Receive runs once for each incarnation and blocks until the snapshot is
	// published or the step failed. r answers io.EOF only if the stream is
	// complete, and an error if it was aborted, superseded, or no link was there
	// for too long; ctx ends then too. Reading less stops the sender by credit:
	// r is also a Noticer, to tell the sender's operator why.
	Receive(ctx context.Context, peer string, open wire.Open, r io.Reader) (wire.Committed, error)
	// Committed answers from the disk.
	Committed(ctx context.Context, peer string, q wire.CommitQuery) (wire.Committed, error)
}

// Reversed takes what peers have dialed to be called on.
type Reversed interface {
	// Serve returns when there is no more use for conn, which is closed then.
	Serve(peer string, key peer.Fingerprint, conn *tls.Conn)
	// Close is called once the server stops. It ends what nobody uses; the server
	// waits a moment for what is in use.
	Close()
}

// Puller is a Backend that has something to send: it does what a target asks for,
// and does not wait for it. Whether the peer may ask is for the backend to judge.
type Puller interface {
	Pull(ctx context.Context, peer string, q wire.PullRequest) (wire.PullAnswer, error)
}

// Noticer is what the reader given to Backend.Receive implements too.
type Noticer interface {
	// Notice shows why nothing is taken at the moment to the sender's side;
	// nil takes it back.
	Notice(why error)
}

// Pairing accepts unknown keys while a token is outstanding.
type Pairing interface {
	// Outstanding reports whether the endpoint exists at this moment.
	Outstanding() bool
	// Accept judges a request that came over the connection of exporter from
	// the proven key caller, and pins it before it answers.
	Accept(exporter []byte, caller peer.Fingerprint, q pairing.Request) (pairing.Response, error)
}

// Options is what a Server is made of. Only Identity, Peers and Backend must be
// given.
type Options struct {
	Identity peer.Identity
	// Peers returns the name of the peer that a key is pinned for. It is
	// called for every connection and request, concurrently.
	Peers   func(peer.Fingerprint) (name string, ok bool)
	Backend Backend
	Pairing Pairing // nil: there is no pairing
	// Reversed takes connections over which peers want to be called; nil refuses them.
	Reversed Reversed
	Now      func() time.Time
	Log      zerolog.Logger
	// Window is how many bytes of one transfer are held at most; 64 MiB if 0.
	Window int
	// Memory is divided evenly among the windows of the transfers that run; 2
	// windows if 0. What one was granted while there were fewer stays granted.
	Memory int
	// WaitForLink is how long a receive waits for its sender; nil is 24 h.
	WaitForLink func(wire.Open) time.Duration
	// MaxTransfers that run at once, over all peers, small steps in one request
	// left out; 64 if 0.
	MaxTransfers int
}

const (
	defaultWindow       = 64 << 20
	defaultMemory       = 2 // windows
	defaultWaitForLink  = 24 * time.Hour
	defaultMaxTransfers = 64

	headerTimeout  = 10 * time.Second
	idleTimeout    = 2 * time.Minute
	maxHeaderBytes = 16 << 10
	// reapTimeout is how long the end of Serve waits for receives: a child that
	// hangs in the kernel must not keep the daemon from stopping.
	reapTimeout     = 30 * time.Second
	shutdownTimeout = 2 * time.Second
)

// TransferState is one running receive, for status.
type TransferState struct {
	Peer     string
	Open     wire.Open
	Received int64     // bytes of the stream taken in by this incarnation
	Wire     int64     // the same as they came: packed, with headers, repetitions included
	Started  time.Time // of this incarnation
	Lanes    int       // connected now, as far as we know
	// Spoke is when bytes last came on a lane; zero if none did. A sender without work
	// sends an idle frame every 5 s.
	Spoke time.Time
	// WaitingSince is when the last lane ended or was found dead; zero while
	// there is one.
	WaitingSince time.Time
	Notice       string // why nothing is taken at the moment; "" if it is
}

// Server serves any number of peers. Its methods are safe for concurrent use.
type Server struct {
	opts      Options
	pool      *stripe.Pool
	coder     *squeeze.Coder
	memory    *stripe.Share
	transfers *table
	large     chan struct{} // a place for each large step in one request
	handler   http.Handler
}

// New makes a server that does nothing yet.
func New(o Options) *Server {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Window <= 0 {
		o.Window = defaultWindow
	}
	if o.Memory <= 0 {
		o.Memory = defaultMemory * o.Window
	}
	if o.MaxTransfers <= 0 {
		o.MaxTransfers = defaultMaxTransfers
	}
	if o.WaitForLink == nil {
		o.WaitForLink = func(wire.Open) time.Duration { return defaultWaitForLink }
	}
	s := &Server{opts: o, pool: stripe.NewPool(o.Window), coder: squeeze.NewCoder(), memory: stripe.NewShare(o.Memory), transfers: newTable(), large: make(chan struct{}, maxLarge)}
	s.handler = s.routes()
	return s
}

// Handler is all endpoints; the connection must be TLS as Serve configures it.
func (s *Server) Handler() http.Handler { return http.HandlerFunc(s.authenticate) }

// Serve answers on ln until ctx ends, then ends all transfers, waits for their
// receives to return, and closes ln. It returns nil after ctx has ended.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	h := s.http()
	h.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){
		peer.ReverseProtocol: func(_ *http.Server, c *tls.Conn, _ http.Handler) { s.reversed(c) },
	}
	if s.opts.Reversed != nil {
		h.RegisterOnShutdown(s.opts.Reversed.Close)
	}
	return s.serve(ctx, h, tls.NewListener(eagerListener{ln}, s.tlsConfig()))
}

// ServeDialed is Serve for connections that this side has dialed for its peers to
// call on: ln gives them out with TLS on them. They are asked nothing less than
// those that Serve accepts.
func (s *Server) ServeDialed(ctx context.Context, ln net.Listener) error {
	return s.serve(ctx, s.http(), ln)
}

// reversed hands a connection on to who may call on it.
func (s *Server) reversed(c *tls.Conn) {
	key, err := peer.FingerprintOf(c.ConnectionState())
	if err != nil || s.opts.Reversed == nil {
		return
	}
	if name, known := s.opts.Peers(key); known {
		s.opts.Reversed.Serve(name, key, c)
	}
}

func (s *Server) http() *http.Server {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	return &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		Protocols:         &protocols,
		ErrorLog:          log.New(debugLog{s.opts.Log}, "", 0),
	}
}

// serve runs h on ln until ctx ends.
func (s *Server) serve(ctx context.Context, h *http.Server, ln net.Listener) error {
	served := make(chan error, 1)
	go func() { served <- h.Serve(ln) }()
	select {
	case err := <-served:
		s.stop()
		return fmt.Errorf("serve %s: %w", ln.Addr(), err)
	case <-ctx.Done():
	}
	s.stop()
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTimeout)
	defer cancel()
	if err := h.Shutdown(within); err != nil {
		_ = h.Close() // it has waited enough
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve %s: %w", ln.Addr(), err)
	}
	return nil
}

func (s *Server) tlsConfig() *tls.Config {
	outstanding := func() bool { return s.opts.Pairing != nil && s.opts.Pairing.Outstanding() }
	return peer.ServerConfig(s.opts.Identity, s.opts.Peers, outstanding)
}

// stop refuses new transfers and ends those that run.
func (s *Server) stop() {
	s.transfers.close()
	within, cancel := context.WithTimeout(context.Background(), reapTimeout)
	defer cancel()
	cause := fmt.Errorf("%w: the daemon there stops; the next run goes on", wire.ErrAborted)
	if err := s.EndTransfers(within, cause, func(string, wire.Open) bool { return true }); err != nil {
		s.opts.Log.Error().Err(err).Msg("stop without waiting for all receives")
	}
}

// EndTransfers ends every receive that match names, at once, also one that
// waits for its link, and returns when Backend.Receive of each has returned or
// ctx has ended. cause is what both sides are told; nil is wire.ErrAborted.
func (s *Server) EndTransfers(ctx context.Context, cause error, match func(peer string, open wire.Open) bool) error {
	if cause == nil {
		cause = wire.ErrAborted
	}
	var ending []*transfer
	for _, t := range s.transfers.list() {
		if match(t.peer, t.open) {
			t.end(cause)
			ending = append(ending, t)
		}
	}
	var late error
	for _, t := range ending {
		if err := t.wait(ctx); err != nil {
			late = errors.Join(late, fmt.Errorf("end receive of %s from %s: %w", t.open.Step.Dataset.Path, t.peer, err))
		}
	}
	return late
}

// Transfers lists what runs, oldest first.
func (s *Server) Transfers() []TransferState {
	running := s.transfers.list()
	states := make([]TransferState, len(running))
	for i, t := range running {
		states[i] = t.state()
	}
	return states
}

// debugLog takes what net/http has to say, mostly about callers that hang up.
type debugLog struct{ log zerolog.Logger }

func (d debugLog) Write(p []byte) (int, error) {
	d.log.Debug().Msg(string(p))
	return len(p), nil
}
