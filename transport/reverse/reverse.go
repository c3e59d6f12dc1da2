// Package reverse lets a peer be called that cannot be dialed. It dials instead:
// a Lender keeps a few connections open to the peer that wants to call, which
// gathers them in a Pool; the one that dialed serves on them, the one that listened
// asks. TLS and who is who are settled as on any connection; only the HTTP roles
// are the other way round. It knows neither messages nor policy.
//
//	dialing -> refused    the greeting says why, or the handshake failed
//	dialing -> idle       the greeting says Lent; the pool has it
//	idle -> taken         the first byte of a request is there: served until it ends
//	idle -> gone          the link, the pool or the lender has ended it
package reverse

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// greeting is the one byte that the pool's side says first.
type greeting byte

// The greetings; transport/PROTOCOL.md has them too.
const (
	lent     greeting = 1 // it is in the pool
	unwanted greeting = 2 // nobody there calls this peer so
	enough   greeting = 3 // the pool has as many as it takes
)

const (
	// greetingTimeout bounds the greeting, on both sides.
	greetingTimeout = 10 * time.Second
	handshakeWithin = 15 * time.Second
)

// ErrUnwanted means that the peer does not wish to call this node so.
var ErrUnwanted = errors.New("the peer does not call us over connections of ours: it has our address, or no job of it replicates to us")

// ErrEnough means that the peer holds as many connections as it takes.
var ErrEnough = errors.New("the peer holds all the connections of ours that it takes")

func (g greeting) err() error {
	switch g {
	case lent:
		return nil
	case unwanted:
		return ErrUnwanted
	case enough:
		return ErrEnough
	}
	return fmt.Errorf("the peer greets with %d, which means nothing here", byte(g))
}

// Conn is a connection whose roles are turned round, after the handshake.
type Conn struct {
	*tls.Conn
	ended  func() // when it is closed, once
	once   sync.Once
	mu     sync.Mutex // guards unread
	unread []byte     // was read to see that a request comes
}

// Read gives out the byte that was read first.
func (c *Conn) Read(p []byte) (int, error) {
	c.mu.Lock()
	if len(c.unread) > 0 && len(p) > 0 {
		n := copy(p, c.unread)
		c.unread = c.unread[n:]
		c.mu.Unlock()
		return n, nil
	}
	c.mu.Unlock()
	return c.Conn.Read(p)
}

// Close ends the connection; no second time.
func (c *Conn) Close() error {
	err := net.ErrClosed
	c.once.Do(func() {
		err = c.Conn.Close()
		c.ended()
	})
	return err
}
