// Package link is the long way between two nodes that really are on one
// machine: a TCP proxy that counts what passes, and that can be cut and
// restored. It must not know what passes.
package link

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// Link carries connections to one target. While it is cut, connections are reset
// and new ones refused. Its methods may be called concurrently.
type Link struct {
	listener net.Listener
	target   string       // host:port
	there    atomic.Int64 // bytes that callers sent
	back     atomic.Int64 // bytes that were answered
	running  sync.WaitGroup

	mu    sync.Mutex // guards below
	down  bool
	conns map[net.Conn]struct{}
}

// Open takes connections at address on behalf of target, both host:port. A port
// 0 in address is a free one. The link must be closed.
func Open(address, target string) (*Link, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("open link to %s: %w", target, err)
	}
	l := &Link{listener: listener, target: target, conns: map[net.Conn]struct{}{}}
	l.running.Go(l.serve)
	return l, nil
}

// Address is where callers reach the target, host:port.
func (l *Link) Address() string { return l.listener.Addr().String() }

// There is how many bytes callers have sent through the link so far.
func (l *Link) There() int64 { return l.there.Load() }

// Total is what went through in both directions, repetitions included.
func (l *Link) Total() int64 { return l.there.Load() + l.back.Load() }

// Cut resets what is connected and refuses what comes.
func (l *Link) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	for conn := range l.conns {
		reset(conn)
	}
}

// Restore lets connections pass again.
func (l *Link) Restore() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}

// Close cuts the link for good and waits for its goroutines.
func (l *Link) Close() error {
	err := l.listener.Close()
	l.Cut()
	l.running.Wait()
	return err
}

func (l *Link) serve() {
	for {
		conn, err := l.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			l.running.Go(func() { l.carry(conn) })
		}
	}
}

// carry joins a caller with the target until either ends or the link is cut.
func (l *Link) carry(near net.Conn) {
	if !l.enter(near) {
		return
	}
	defer l.leave(near)
	far, err := net.Dial("tcp", l.target)
	if err != nil || !l.enter(far) {
		return // nobody is there, which the caller sees as a connection that ends
	}
	defer l.leave(far)
	var both sync.WaitGroup
	both.Go(func() { pipe(far, near, &l.there) })
	both.Go(func() { pipe(near, far, &l.back) })
	both.Wait()
}

// enter makes a connection known to Cut; while the link is down it is reset.
func (l *Link) enter(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		reset(conn)
		return false
	}
	l.conns[conn] = struct{}{}
	return true
}

func (l *Link) leave(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, conn)
	if l.down {
		reset(conn)
	}
	conn.Close()
}

// pipe copies until the end of from, counts, and hands the end on; an error resets
// both connections, so that nobody takes a cut for an end.
func pipe(to, from net.Conn, count *atomic.Int64) {
	_, err := io.Copy(to, counted{from, count})
	if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
		err = half.CloseWrite()
	}
	if err != nil {
		reset(to)
		reset(from)
	}
}

// reset ends a connection as a broken line does, with nothing delivered after it.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // it is closed either way
	}
	conn.Close()
}

// counted counts what is read.
type counted struct {
	io.Reader
	n *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}
