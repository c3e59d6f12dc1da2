package reverse

import (
	"net"
	"sync"
)

// Inlet is the net.Listener of a server on connections that were taken. Lenders of
// all peers put them in.
type Inlet struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// NewInlet makes an empty one.
func NewInlet() *Inlet { return &Inlet{conns: make(chan net.Conn), closed: make(chan struct{})} }

// Accept waits for the next connection; net.ErrClosed after Close.
func (i *Inlet) Accept() (net.Conn, error) {
	select {
	case c := <-i.conns:
		return c, nil
	case <-i.closed:
		return nil, net.ErrClosed
	}
}

// put hands a connection to who accepts, or closes it.
func (i *Inlet) put(c *Conn) {
	select {
	case i.conns <- c:
	case <-i.closed:
		_ = c.Close()
	}
}

// Close ends Accept.
func (i *Inlet) Close() error {
	i.once.Do(func() { close(i.closed) })
	return nil
}

// Addr names what it is not.
func (i *Inlet) Addr() net.Addr { return inletAddr{} }

type inletAddr struct{}

func (inletAddr) Network() string { return "reverse" }
func (inletAddr) String() string  { return "connections of our own" }
