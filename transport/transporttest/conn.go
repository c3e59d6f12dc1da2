package transporttest

import (
	"io"
	"net"
	"time"
)

// Conn is one end of a connection. It is a net.Conn with CloseWrite, like a
// *net.TCPConn; its errors are those of TCP, in a *net.OpError.
type Conn struct {
	link          *Link
	local, remote Addr
	in, out       *flow
	closed        bool // guarded by link.net.mu
}

// Link is the connection as the network sees it.
func (c *Conn) Link() *Link { return c.link }

// Read gets what has arrived; io.EOF when the other end has closed.
func (c *Conn) Read(p []byte) (int, error) {
	c.link.net.mu.Lock()
	defer c.link.net.mu.Unlock()
	n, err := c.in.read(p)
	return n, c.wrap("read", err)
}

// Write returns when all of p is on the way.
func (c *Conn) Write(p []byte) (int, error) {
	c.link.net.mu.Lock()
	defer c.link.net.mu.Unlock()
	n, err := c.out.write(p)
	return n, c.wrap("write", err)
}

// Close ends both directions; what was written still arrives.
func (c *Conn) Close() error {
	c.link.net.mu.Lock()
	defer c.link.net.mu.Unlock()
	if c.closed {
		return c.wrap("close", net.ErrClosed)
	}
	c.closed = true
	c.out.finish()
	c.in.hangUp()
	c.in.readBy.stop()
	c.out.writeBy.stop()
	if c.link.ends[calling].closed && c.link.ends[listening].closed {
		c.link.forget()
	}
	return nil
}

// CloseWrite ends the outgoing direction: the other end reads io.EOF.
func (c *Conn) CloseWrite() error {
	c.link.net.mu.Lock()
	defer c.link.net.mu.Unlock()
	if c.closed {
		return c.wrap("close", net.ErrClosed)
	}
	c.out.finish()
	return nil
}

// LocalAddr is this end.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr is the other end.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline sets both deadlines.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline ends reads that wait at t; the zero time is no deadline.
func (c *Conn) SetReadDeadline(t time.Time) error {
	return c.setDeadline(c.in, &c.in.readBy, t)
}

// SetWriteDeadline ends writes that wait at t; the zero time is no deadline.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	return c.setDeadline(c.out, &c.out.writeBy, t)
}

func (c *Conn) setDeadline(f *flow, d *deadline, t time.Time) error {
	c.link.net.mu.Lock()
	defer c.link.net.mu.Unlock()
	if c.closed {
		return c.wrap("set", net.ErrClosed)
	}
	d.set(t, f.wakeNow)
	f.changed.Broadcast()
	return nil
}

// wrap leaves io.EOF alone, as the net package does.
func (c *Conn) wrap(op string, err error) error {
	if err == nil || err == io.EOF { //nolint:errorlint // a bare io.EOF is the contract of io.Reader
		return err
	}
	return &net.OpError{Op: op, Net: c.local.Network(), Source: c.local, Addr: c.remote, Err: err}
}

// deadline is one of a connection's deadlines, guarded by the net's mu.
type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (d *deadline) set(t time.Time, wake func()) {
	d.stop()
	d.at = t
	if wait := time.Until(t); !t.IsZero() && wait > 0 {
		d.timer = time.AfterFunc(wait, wake)
	}
}

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
	}
}
