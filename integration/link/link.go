// Package link is the long way between two nodes that really are on one
// machine: a TCP proxy that counts what passes, that can be cut and restored, and
// that can hold what comes. It must not know what passes.
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

	mu     sync.Mutex // guards below
	down   bool
	holdAt int64      // of there; 0 for never
	opened *sync.Cond // tells held callers that down or holdAt changed
	conns  map[net.Conn]struct{}
}

// Open takes connections at address on behalf of target, both host:port. A port
// 0 in address is a free one. The link must be closed.
func Open(address, target string) (*Link, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("open link to %s: %w", target, err)
	}
	l := &Link{listener: listener, target: target, conns: map[net.Conn]struct{}{}}
	l.opened = sync.NewCond(&l.mu)
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
	l.opened.Broadcast()
	for conn := range l.conns {
		reset(conn)
	}
}

// HoldAt holds what callers send once There has reached so many bytes (what each
// connection was reading then still passes; 0 holds nothing): connections stay, and
// callers wait until the link is cut or told another number. Answers pass.
func (l *Link) HoldAt(bytes int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holdAt = bytes
	l.opened.Broadcast()
}

// await returns once callers may send; it reports whether the link is still up.
func (l *Link) await() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.down && l.holdAt > 0 && l.there.Load() >= l.holdAt {
		l.opened.Wait()
	}
	return !l.down
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
	both.Go(func() { pipe(far, near, held{counted{near, &l.there}, l}) })
	both.Go(func() { pipe(near, far, counted{far, &l.back}) })
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

// pipe copies what is read of from until its end, and hands the end on; an error resets
// both connections, so that nobody takes a cut for an end.
func pipe(to, from net.Conn, read io.Reader) {
	_, err := io.Copy(to, read)
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

// held reads when the link lets callers send.
type held struct {
	io.Reader
	link *Link
}

func (h held) Read(p []byte) (int, error) {
	if !h.link.await() {
		return 0, net.ErrClosed
	}
	return h.Reader.Read(p)
}
