package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// link is the long way between the two nodes: a TCP proxy that counts every byte
// and can be cut. While it is cut, connections are reset and new ones refused.
type link struct {
	listener net.Listener
	target   string       // host:port
	there    atomic.Int64 // bytes that the caller sent
	back     atomic.Int64 // bytes that were answered
	running  sync.WaitGroup

	mu    sync.Mutex // guards below
	down  bool
	conns map[net.Conn]struct{}
}

// openLink takes connections at address on behalf of target.
func openLink(address, target string) (*link, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("open the link: %w", err)
	}
	l := &link{listener: listener, target: target, conns: map[net.Conn]struct{}{}}
	l.running.Go(l.serve)
	return l, nil
}

func (l *link) address() string { return l.listener.Addr().String() }

// total is what went through in both directions, repetitions included.
func (l *link) total() int64 { return l.there.Load() + l.back.Load() }

// cut resets what is connected and refuses what comes.
func (l *link) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = true
	for conn := range l.conns {
		reset(conn)
	}
}

// restore lets connections pass again.
func (l *link) restore() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}

// close cuts the link for good and waits for its goroutines.
func (l *link) close() error {
	err := l.listener.Close()
	l.cut()
	l.running.Wait()
	return err
}

func (l *link) serve() {
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
func (l *link) carry(near net.Conn) {
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

// enter makes a connection known to cut; while the link is down it is reset.
func (l *link) enter(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		reset(conn)
		return false
	}
	l.conns[conn] = struct{}{}
	return true
}

func (l *link) leave(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, conn)
	conn.Close()
}

// pipe copies until the end of from, counts, and hands the end on; an error resets
// both connections.
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

type counted struct {
	io.Reader
	n *atomic.Int64
}

func (c counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}
