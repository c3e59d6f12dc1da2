package reverse

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"antipode/transport/peer"
)

const (
	// keepIdle connections wait to be taken; more, up to keepMost, as more are in
	// use, so that a transfer finds its lanes within a few round trips.
	keepIdle, keepMost = 8, 32
	// maxTaken bounds what a peer can have us serve on at once: what it has warm for
	// small steps, and the lanes of some jobs.
	maxTaken = 512

	minPause, maxPause = 200 * time.Millisecond, 30 * time.Second
	// settled is how long a connection has to last to count as one.
	settled = 10 * time.Second
)

// Lending is what a Lender is made of. Every field is needed.
type Lending struct {
	Identity peer.Identity
	Key      peer.Fingerprint // the pinned one of who wants to call
	// Dial makes a connection below TLS.
	Dial func(ctx context.Context) (net.Conn, error)
	// Inlet takes what is to be served on.
	Inlet *Inlet
	// Report is told when the number of connections that can be called on has
	// changed, or why the last one could not be made. It is called by one at a time,
	// and must not block.
	Report func(open int, problem error)
}

// Lender keeps connections open to one peer, for it to call on.
//
// It dials as many as are missing at once; after one that failed, or did not last,
// one at a time, and later each time.
type Lender struct {
	o    Lending
	news chan struct{} // the counts below have changed

	mu                   sync.Mutex // guards below
	dialing, idle, taken int
	fresh                int       // of idle, those that have not settled
	failures             int       // in a row, until one has settled or was taken
	wait                 time.Time // nothing is dialed before

	telling sync.Mutex // held from reading the counts to having reported them
}

// NewLender makes one that does nothing yet.
func NewLender(o Lending) *Lender { return &Lender{o: o, news: make(chan struct{}, 1)} }

// Serve lends until ctx ends, and waits for what it dialed; what was taken goes on.
func (l *Lender) Serve(ctx context.Context) {
	var dials sync.WaitGroup
	defer dials.Wait()
	again := time.NewTimer(0)
	defer again.Stop()
	for ctx.Err() == nil {
		for range l.missing(time.Now()) {
			dials.Go(func() { l.lend(ctx) })
		}
		again.Reset(l.pause(time.Now()))
		select {
		case <-ctx.Done():
		case <-l.news:
		case <-again.C:
		}
	}
}

// missing is how many to dial now; they count as being dialed.
func (l *Lender) missing(now time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	want := min(keepIdle+l.taken/2, keepMost, maxTaken-l.taken) - l.idle - l.dialing
	switch {
	case now.Before(l.wait):
		want = 0
	case l.failures > 0:
		want = min(want, 1-l.dialing-l.fresh)
	}
	want = max(want, 0)
	l.dialing += want
	return want
}

// pause is when to look again without news.
func (l *Lender) pause(now time.Time) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.wait.After(now) {
		return l.wait.Sub(now)
	}
	return maxPause
}

// change changes the counts and tells who has to know.
func (l *Lender) change(f func()) {
	l.mu.Lock()
	f()
	l.mu.Unlock()
	select {
	case l.news <- struct{}{}:
	default:
	}
}

// report tells the number as it is now: of two that report at once, the one that
// comes last must not tell an older one.
func (l *Lender) report(problem error) {
	l.telling.Lock()
	defer l.telling.Unlock()
	l.mu.Lock()
	open := l.idle + l.taken
	l.mu.Unlock()
	l.o.Report(open, problem)
}

// failed puts the next dial off; mu is held. Of those that were dialed together
// one counts.
func (l *Lender) failed() {
	if time.Now().Before(l.wait) {
		return
	}
	top := min(maxPause, minPause<<min(l.failures, 10))
	l.failures++
	l.wait = time.Now().Add(top/2 + rand.N(top/2))
}

// lend dials one connection, and has it served once the peer has taken it.
func (l *Lender) lend(ctx context.Context) {
	c, err := l.connect(ctx)
	if err != nil {
		l.change(func() { l.dialing--; l.failed() })
		if ctx.Err() == nil {
			l.report(err)
		}
		return
	}
	l.change(func() { l.dialing--; l.idle++; l.fresh++ })
	l.report(nil)
	settling := time.AfterFunc(settled, func() { l.change(func() { l.fresh--; l.failures = 0 }) })
	taken := c.isTaken(ctx)
	isFresh := settling.Stop()
	l.change(func() { l.left(taken, isFresh) })
	if !taken {
		_ = c.Conn.Close()
		l.report(nil)
		return
	}
	c.ended = func() { l.change(func() { l.taken-- }); l.report(nil) }
	l.o.Inlet.put(c)
}

// left counts a connection that is not idle any more; mu is held.
func (l *Lender) left(taken, isFresh bool) {
	l.idle--
	if isFresh {
		l.fresh--
	}
	switch {
	case taken:
		l.taken++
		l.failures, l.wait = 0, time.Time{}
	case isFresh:
		l.failed()
	}
}

// isTaken waits for the first byte of a request; false if none comes.
func (c *Conn) isTaken(ctx context.Context) bool {
	stop := context.AfterFunc(ctx, func() { _ = c.Conn.Close() })
	defer stop()
	b := make([]byte, 1)
	n, _ := c.Conn.Read(b)
	c.unread = b[:n]
	return n > 0 && stop()
}

// connect dials, proves both keys and hears the greeting.
func (l *Lender) connect(ctx context.Context) (*Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, handshakeWithin, fmt.Errorf("no connection within %s", handshakeWithin))
	defer cancel()
	below, err := l.o.Dial(ctx)
	if err != nil {
		return nil, err
	}
	c := tls.Client(below, peer.ReverseConfig(l.o.Identity, l.o.Key))
	if err := l.greeted(ctx, c); err != nil {
		_ = below.Close()
		return nil, peer.ExplainRefusal(err, l.o.Identity.Fingerprint())
	}
	return &Conn{Conn: c}, nil
}

func (l *Lender) greeted(ctx context.Context, c *tls.Conn) error {
	if err := c.HandshakeContext(ctx); err != nil {
		return err
	}
	if c.ConnectionState().NegotiatedProtocol != peer.ReverseProtocol {
		return errOld
	}
	if err := c.SetReadDeadline(time.Now().Add(greetingTimeout)); err != nil {
		return err
	}
	var b [1]byte
	if _, err := c.Read(b[:]); err != nil {
		return fmt.Errorf("hear the peer's greeting: %w", err)
	}
	if err := greeting(b[0]).err(); err != nil {
		return err
	}
	return c.SetReadDeadline(time.Time{})
}

var errOld = errors.New("the peer calls nobody over connections that it did not make: upgrade Antipode there")
