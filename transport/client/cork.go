package client

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http/httptrace"
	"sync"
)

// cork is a connection that gathers what TLS writes record by record (16 KiB
// each) while a lane is in the middle of a slice: one call of the kernel and one
// wake-up of the target instead of ten. Outside of a slice it is transparent.
type cork struct {
	net.Conn

	mu      sync.Mutex // guards below, and the order of writes
	in      bool
	pending []byte
}

// errStuck is what TLS gets that wants to say goodbye on a connection that takes
// nothing: it must not wait to end it.
var errStuck = errors.New("connection is in the middle of a write")

// Write gathers p, or passes it on. While what was gathered is on its way nobody
// writes but TLS that closes.
func (c *cork) Write(p []byte) (int, error) {
	if !c.mu.TryLock() {
		return 0, errStuck
	}
	defer c.mu.Unlock()
	if !c.in {
		return c.Conn.Write(p)
	}
	c.pending = append(c.pending, p...)
	if len(c.pending) < slice {
		return len(p), nil
	}
	return len(p), c.flush()
}

// put begins to gather.
func (c *cork) put() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.in = true
}

// pull passes on what was gathered.
func (c *cork) pull() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.in = false
	return c.flush()
}

func (c *cork) flush() error {
	p := c.pending
	c.pending = c.pending[:0]
	if len(p) == 0 {
		return nil
	}
	_, err := c.Conn.Write(p)
	return err
}

// dialCorked is dial for lanes.
func (c *Client) dialCorked(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := c.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	keepShort(conn, int(c.open.Load())+1)
	return &cork{Conn: conn}, nil
}

// tracing tells which cork a request's connection has; found is called before
// the body is written.
func tracing(ctx context.Context, found func(*cork)) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if t, ok := i.Conn.(*tls.Conn); ok {
			if c, ok := t.NetConn().(*cork); ok {
				found(c)
			}
		}
	}})
}
