package transporttest

import (
	"net"
	"sync"
)

// Listener is a net.Listener on a Net.
type Listener struct {
	net  *Net
	addr Addr

	// Guarded by net.mu.
	arrived *sync.Cond
	queue   []*Conn
	closed  bool
}

// Accept waits for a connection; net.ErrClosed after Close.
func (l *Listener) Accept() (net.Conn, error) {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	for !l.closed && len(l.queue) == 0 {
		l.arrived.Wait()
	}
	if l.closed {
		return nil, opError("accept", l.addr, net.ErrClosed)
	}
	c := l.queue[0]
	l.queue = l.queue[1:]
	return c, nil
}

// push queues a connection for Accept; false if the listener has closed.
func (l *Listener) push(c *Conn) bool {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	if l.closed {
		return false
	}
	l.queue = append(l.queue, c)
	l.arrived.Signal()
	return true
}

// Close gives the address back and resets what nobody has accepted.
// Connections that were accepted go on.
func (l *Listener) Close() error {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	if l.closed {
		return opError("close", l.addr, net.ErrClosed)
	}
	l.closed = true
	delete(l.net.listeners, string(l.addr))
	for _, c := range l.queue {
		c.link.cut()
	}
	l.queue = nil
	l.arrived.Broadcast()
	return nil
}

// Addr is what was given to Listen.
func (l *Listener) Addr() net.Addr { return l.addr }
