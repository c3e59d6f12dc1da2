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
	"io"
	"net"
	"net/http"
	"time"

	"github.com/rs/zerolog"

	"antipode/transport/peer"
	"antipode/transport/peer/pairing"
	"antipode/transport/wire"
)

// Backend does what peers ask for. The peer's name is authenticated; whether it
// may ask this is for the backend to judge. Errors travel by wire.FromError.
type Backend interface {
	Hello(ctx context.Context, peer string) (wire.Hello, error)
	Inventory(ctx context.Context, peer string, q wire.InventoryRequest) (wire.Inventory, error)
	// Receive runs once for each incarnation and blocks until the snapshot is
	// published or the step failed. r answers io.EOF only if the stream is
	// complete, and an error if it was aborted, superseded, or no link was there
	// for too long; ctx ends then too. Reading less stops the sender by credit:
	// r is also a Noticer, to tell the sender's operator why.
	Receive(ctx context.Context, peer string, open wire.Open, r io.Reader) (wire.Committed, error)
	// Committed answers from the disk.
	Committed(ctx context.Context, peer string, q wire.CommitQuery) (wire.Committed, error)
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
	Now     func() time.Time
	Log     zerolog.Logger
	// Window is how many bytes of one transfer are held at most; 32 MiB if 0.
	Window int
	// WaitForLink is how long a receive waits for its sender; nil is 24 h.
	WaitForLink func(wire.Open) time.Duration
	// MaxTransfers that run at once, over all peers; 64 if 0.
	MaxTransfers int
}

// TransferState is one running receive, for status.
type TransferState struct {
	Peer     string
	Open     wire.Open
	Received int64     // bytes taken in and handed to the driver
	Started  time.Time // of this incarnation
	Lanes    int       // connected now
	// WaitingSince is when the last connection of the sender ended; zero while
	// there is one.
	WaitingSince time.Time
	Notice       string // why nothing is taken at the moment; "" if it is
}

// Server serves any number of peers. Its methods are safe for concurrent use.
type Server struct {
	opts Options
}

// New makes a server that does nothing yet.
func New(o Options) *Server { return &Server{opts: o} }

// Handler is all endpoints; the connection must be TLS by Serve's configuration.
func (s *Server) Handler() http.Handler { return nil }

// Serve answers on ln until ctx ends, then ends all transfers, waits for their
// receives to return, and closes ln.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error { return nil }

// EndTransfers ends every receive that match names, at once, also one that
// waits for its link, and returns when Backend.Receive of each has returned or
// ctx has ended. cause is what both sides are told; nil is wire.ErrAborted.
func (s *Server) EndTransfers(ctx context.Context, cause error, match func(peer string, open wire.Open) bool) error {
	return nil
}

// Transfers lists what runs, oldest first.
func (s *Server) Transfers() []TransferState { return nil }
