package server

import (
	"net"

	"antipode/transport/cork"
)

const (
	// eagerBytes is how much of a busy connection is read at once: TLS asks for
	// one record of 16 KiB at a time, which is a call of the kernel for each.
	eagerBytes = 128 << 10
	// busyBytes in one read make a connection a busy one; a handshake has fewer.
	busyBytes = 16 << 10
)

// eagerListener makes its connections eager, and able to send a stream in the
// end: who has dialed may want to be called.
type eagerListener struct{ net.Listener }

// Accept waits for the next connection.
func (l eagerListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &cork.Conn{Conn: &eager{Conn: c}}, nil
}

// eager reads ahead, once the other side sends more than is asked for: who only
// asks questions, or has not proven a key, costs no buffer. One goroutine reads
// at a time, as TLS does.
type eager struct {
	net.Conn
	buf  []byte
	rest []byte // of buf, not yet given out
}

// Eager is what a connection has to be on which streams come in, below TLS.
func Eager(c net.Conn) net.Conn { return &eager{Conn: c} }

// NetConn is the connection below.
func (e *eager) NetConn() net.Conn { return e.Conn }

// Read gives out what was read ahead before it reads again.
func (e *eager) Read(p []byte) (int, error) {
	if len(e.rest) > 0 {
		n := copy(p, e.rest)
		e.rest = e.rest[n:]
		return n, nil
	}
	if e.buf == nil || len(p) >= len(e.buf) {
		n, err := e.Conn.Read(p)
		if n >= busyBytes && e.buf == nil {
			e.buf = make([]byte, eagerBytes)
		}
		return n, err
	}
	got, err := e.Conn.Read(e.buf)
	n := copy(p, e.buf[:got])
	if e.rest = e.buf[n:got]; len(e.rest) > 0 {
		err = nil // the next read of the connection meets it again
	}
	return n, err
}
