package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// proxy stands between the daemons and counts what passes, TLS and all.
type proxy struct {
	listener    net.Listener
	target      string       // host:port
	there, back atomic.Int64 // bytes from and to who calls
	running     sync.WaitGroup

	mu     sync.Mutex // guards below
	closed bool
	conns  map[net.Conn]struct{}
}

// openProxy takes connections at address on behalf of target.
func openProxy(address, target string) (*proxy, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("open the proxy: %w", err)
	}
	l := &proxy{listener: listener, target: target, conns: map[net.Conn]struct{}{}}
	l.running.Go(l.serve)
	return l, nil
}

func (l *proxy) address() string { return l.listener.Addr().String() }

// close ends all connections and waits for its goroutines.
func (l *proxy) close() error {
	err := l.listener.Close()
	l.mu.Lock()
	l.closed = true
	for c := range l.conns {
		c.Close()
	}
	l.mu.Unlock()
	l.running.Wait()
	return err
}

func (l *proxy) serve() {
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

// carry joins a caller with the target until either ends.
func (l *proxy) carry(near net.Conn) {
	defer l.leave(near)
	if !l.enter(near) {
		return
	}
	far, err := net.Dial("tcp", l.target)
	if err != nil {
		return // the caller sees a connection that ends
	}
	defer l.leave(far)
	if !l.enter(far) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { carry(far, near, &l.there) })
	both.Go(func() { carry(near, far, &l.back) })
	both.Wait()
}

// enter makes a connection known to close.
func (l *proxy) enter(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[conn] = struct{}{}
	return !l.closed
}

func (l *proxy) leave(conn net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, conn)
	conn.Close()
}

// carry copies one direction, counts, and hands its end on.
func carry(to, from net.Conn, count *atomic.Int64) {
	_, err := io.Copy(to, counted{from, count})
	if half, ok := to.(interface{ CloseWrite() error }); ok && err == nil {
		err = half.CloseWrite()
	}
	if err != nil {
		to.Close()
		from.Close()
	}
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
