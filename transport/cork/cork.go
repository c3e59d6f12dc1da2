// Package cork gathers what TLS writes to a connection. It lies below TLS on
// whichever side may come to send streams, and knows neither TLS nor messages.
package cork

import (
	"errors"
	"net"
	"sync"
)

// Slice is how much is gathered at most.
const Slice = 128 << 10

// Conn is a connection that gathers what TLS writes record by record (16 KiB
// each) while a lane is in the middle of a slice: one call of the kernel and one
// wake-up of the target instead of ten. Outside of a slice it is transparent.
type Conn struct {
	net.Conn

	mu      sync.Mutex // guards below, and the order of writes
	in      bool
	pending []byte
}

// NetConn is the connection below.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// errStuck is what TLS gets that wants to say goodbye on a connection that takes
// nothing: it must not wait to end it.
var errStuck = errors.New("connection is in the middle of a write")

// Write gathers p, or passes it on. While what was gathered is on its way nobody
// writes but TLS that closes.
func (c *Conn) Write(p []byte) (int, error) {
	if !c.mu.TryLock() {
		return 0, errStuck
	}
	defer c.mu.Unlock()
	if !c.in {
		return c.Conn.Write(p)
	}
	c.pending = append(c.pending, p...)
	if len(c.pending) < Slice {
		return len(p), nil
	}
	return len(p), c.flush()
}

// Put begins to gather.
func (c *Conn) Put() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.in = true
}

// Pull passes on what was gathered.
func (c *Conn) Pull() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.in = false
	return c.flush()
}

func (c *Conn) flush() error {
	p := c.pending
	c.pending = c.pending[:0]
	if len(p) == 0 {
		return nil
	}
	_, err := c.Conn.Write(p)
	return err
}
