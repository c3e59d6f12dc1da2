package client

import (
	"context"
	"net"
	"sync"
	"time"

	"antipode/transport/stripe"
)

// hand is one lane of a transfer, over as many connections as it takes. Its
// states:
//
//	away -> connected   begin
//	connected -> away   unset: its connection ended
//	any -> retired      retire; it finishes what it has
type hand struct {
	t      *transfer
	n      int
	cancel context.CancelFunc // of all that it does

	mu      sync.Mutex // guards what follows
	retired bool
	lane    *stripe.Lane            // nil while away
	end     context.CancelCauseFunc // of the connection
	conn    net.Conn                // below TLS; nil until it is known
	path    Path                    // when it was last looked at
	known   bool                    // path is
}

// begin notes a connection that is being made; false if there should be none.
func (h *hand) begin(l *stripe.Lane, end context.CancelCauseFunc) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.retired {
		return false
	}
	h.lane, h.end = l, end
	return true
}

// onto notes what the lane's connection is.
func (h *hand) onto(c net.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.conn = c
}

func (h *hand) unset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lane, h.end, h.conn, h.path, h.known = nil, nil, nil, Path{}, false
}

// retire lets a connected lane finish what it has, and ends one that is away.
func (h *hand) retire() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.retired = true
	if h.lane == nil {
		h.cancel()
		return
	}
	h.lane.Retire()
}

func (h *hand) isRetired() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.retired
}

// look asks about the connection, and takes what arrived on the other side as a
// sign of life. lost is how many packets were sent again since the last look.
func (h *hand) look() (p Path, lost uint64, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conn == nil {
		return Path{}, 0, false
	}
	p, ok = h.t.c.opts.Look(h.conn)
	if !ok {
		return p, 0, false
	}
	if h.known && p.Acked != h.path.Acked {
		h.lane.Touch()
	}
	lost = p.Lost - min(p.Lost, h.path.Lost)
	h.path, h.known = p, true
	return p, lost, true
}

// glance is look without consequences.
func (h *hand) glance() (Path, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conn == nil {
		return Path{}, false
	}
	return h.t.c.opts.Look(h.conn)
}

// endStalled ends a connection on which nothing moves.
func (h *hand) endStalled(now, heard time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lane == nil {
		return
	}
	// What the target has said since is proof that the link is there: then the
	// connection alone is stuck. Without the kernel's word a slow one looks alike.
	if h.known && h.lane.IsStalled(heard, stuckAfter(h.path.RTT)) || h.lane.IsStalled(now, silence) {
		h.end(errStalled)
	}
}

// stuckAfter is when a connection is stuck while the link is there.
func stuckAfter(rtt time.Duration) time.Duration {
	return min(max(stuckRTTs*rtt, stuckLeast), silence)
}
