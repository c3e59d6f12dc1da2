package client

import (
	"context"
	"net"
	"net/http/httptrace"

	"antipode/transport/cork"
)

// dialCorked is dial for lanes.
func (c *Client) dialCorked(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := c.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	c.oneOfLanes(conn)
	return &cork.Conn{Conn: conn}, nil
}

// oneOfLanes has a connection keep no more unsent than its part of what all lanes may.
func (c *Client) oneOfLanes(conn net.Conn) {
	start, _ := lanesFor(c.newest()) // the first ones are made together
	keepShort(conn, max(start, int(c.open.Load())+1))
}

// below is a connection with another one below it, as a *tls.Conn.
type below interface{ NetConn() net.Conn }

// bottom is the socket below all that lies on it.
func bottom(c net.Conn) net.Conn {
	for {
		b, ok := c.(below)
		if !ok {
			return c
		}
		c = b.NetConn()
	}
}

// tracing tells which cork a request's connection has; found is called before
// the body is written.
func tracing(ctx context.Context, found func(*cork.Conn)) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
		if t, ok := i.Conn.(below); ok {
			if c, ok := t.NetConn().(*cork.Conn); ok {
				found(c)
			}
		}
	}})
}
