package reverse

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"antipode/transport/peer"
)

// maxIdle is how many connections of one peer lie in a pool that nobody uses.
const maxIdle = 64

// NoneError means that a peer has no connection open for us.
type NoneError struct {
	Peer string
	Err  error // why it was not waited for any longer
}

func (e *NoneError) Error() string {
	return fmt.Sprintf("%s has no address here and keeps no connection open to us: %v; set reverse = true in its [[peer]] for this node, or give it an address here", e.Peer, e.Err)
}

// Unwrap returns why it was not waited for any longer.
func (e *NoneError) Unwrap() error { return e.Err }

// Pool holds the connections that peers have dialed to be called on. Its methods
// are safe for concurrent use.
type Pool struct {
	wants func(name string, key peer.Fingerprint) bool

	mu      sync.Mutex // guards below
	closed  bool
	shelves map[string]*shelf
}

// shelf is what there is of one peer.
type shelf struct {
	greeted int        // those for which a place is kept, while they are greeted
	idle    []*resting // the newest last
	waiting []chan struct{}
}

// resting is a connection that nobody uses; look ends when somebody does, or
// when it is dead.
type resting struct {
	conn *Conn
	key  peer.Fingerprint
	dead chan bool // looked at until then: whether it is of no use
}

// NewPool makes a pool that takes connections of those peers alone that wants
// names. It is asked for every connection, and again when one is taken.
func NewPool(wants func(name string, key peer.Fingerprint) bool) *Pool {
	return &Pool{wants: wants, shelves: map[string]*shelf{}}
}

// Serve keeps a connection of a peer whose key TLS has proven, and returns when it
// has ended, by whoever has taken it too.
func (p *Pool) Serve(name string, key peer.Fingerprint, c *tls.Conn) {
	ended := make(chan struct{})
	r := &resting{conn: &Conn{Conn: c, ended: func() { close(ended) }}, key: key, dead: make(chan bool, 1)}
	defer r.conn.Close() //nolint:errcheck // its end is all that is wanted
	if !p.admit(name, r) {
		return
	}
	dead := r.look()
	r.dead <- dead
	if dead {
		p.drop(name, r)
		return
	}
	<-ended
}

// admit greets a connection, and puts it on the shelf if it has a place there.
func (p *Pool) admit(name string, r *resting) bool {
	g := p.reserve(name, r.key)
	err := greet(r.conn.Conn, g)
	if g != lent {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.shelf(name)
	s.greeted--
	if err != nil || p.closed {
		return false
	}
	s.idle = append(s.idle, r)
	s.wake()
	return true
}

// reserve keeps a place for a connection, or says why it has none.
func (p *Pool) reserve(name string, key peer.Fingerprint) greeting {
	if !p.wants(name, key) {
		return unwanted
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.shelf(name)
	switch {
	case p.closed:
		return unwanted
	case len(s.idle)+s.greeted >= maxIdle:
		return enough
	}
	s.greeted++
	return lent
}

func greet(c *tls.Conn, g greeting) error {
	if err := c.SetWriteDeadline(time.Now().Add(greetingTimeout)); err != nil {
		return err
	}
	if _, err := c.Write([]byte{byte(g)}); err != nil {
		return err
	}
	return c.SetWriteDeadline(time.Time{})
}

// look waits until the connection is claimed, or shows that it is of no use: it
// ended, or the lender spoke before it was asked.
func (r *resting) look() (dead bool) {
	var b [1]byte
	_, err := r.conn.Conn.Read(b[:])
	timeout, ok := err.(net.Error) //nolint:errorlint // a deadline comes as it is
	return !ok || !timeout.Timeout()
}

// claim ends look; false if the connection is of no use.
func (r *resting) claim() bool {
	if r.conn.SetReadDeadline(time.Unix(1, 0)) != nil || <-r.dead {
		return false
	}
	return r.conn.SetReadDeadline(time.Time{}) == nil
}

// Take hands out a connection of a peer that has proven the key, and waits for one
// until ctx ends (*NoneError). Whoever has it closes it.
func (p *Pool) Take(ctx context.Context, name string, key peer.Fingerprint) (net.Conn, error) {
	for {
		r, err := p.next(ctx, name)
		if err != nil {
			return nil, err
		}
		if r.claim() && r.key == key && p.wants(name, r.key) {
			return r.conn, nil
		}
		_ = r.conn.Close()
	}
}

// next takes the newest connection off the shelf, or waits for one.
func (p *Pool) next(ctx context.Context, name string) (*resting, error) {
	for {
		r, news := p.pop(name)
		if r != nil {
			return r, nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			p.forget(name, news)
			return nil, &NoneError{Peer: name, Err: context.Cause(ctx)}
		}
	}
}

// pop takes one, or tells when to look again.
func (p *Pool) pop(name string) (*resting, chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.shelf(name)
	if n := len(s.idle); n > 0 {
		r := s.idle[n-1]
		s.idle = s.idle[:n-1]
		return r, nil
	}
	news := make(chan struct{})
	s.waiting = append(s.waiting, news)
	return nil, news
}

// forget takes back a wait that is over. If it was woken meanwhile, another has
// the connection.
func (p *Pool) forget(name string, news chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.shelf(name)
	if i := slices.Index(s.waiting, news); i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
		return
	}
	s.wake()
}

// wake lets one that waits look again.
func (s *shelf) wake() {
	if len(s.waiting) > 0 {
		close(s.waiting[0])
		s.waiting = s.waiting[1:]
	}
}

func (p *Pool) drop(name string, r *resting) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.shelf(name)
	if i := slices.Index(s.idle, r); i >= 0 {
		s.idle = slices.Delete(s.idle, i, i+1)
	}
}

// shelf is a peer's; mu is held.
func (p *Pool) shelf(name string) *shelf {
	s := p.shelves[name]
	if s == nil {
		s = &shelf{}
		p.shelves[name] = s
	}
	return s
}

// Idle is how many connections of a peer there are that nobody uses.
func (p *Pool) Idle(name string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.shelf(name).idle)
}

// Close ends what lies idle, and takes nothing in any more.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.Review()
}

// Review ends what lies idle and is not wanted any more, after a reload.
func (p *Pool) Review() {
	p.mu.Lock()
	var gone []*resting
	for name, s := range p.shelves {
		s.idle = slices.DeleteFunc(s.idle, func(r *resting) bool {
			if !p.closed && p.wants(name, r.key) {
				return false
			}
			gone = append(gone, r)
			return true
		})
	}
	p.mu.Unlock()
	for _, r := range gone {
		_ = r.conn.Close()
	}
}
