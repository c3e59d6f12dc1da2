package transporttest

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
	"time"
)

// DefaultBuffer is what each direction of a connection holds, in bytes, that
// is written and not yet read; what is under way counts.
const DefaultBuffer = 256 << 10

// backlog is how many connections a listener holds that nobody has accepted.
const backlog = 128

// Outage says how a link that is down behaves. The zero value is a pulled
// cable: dials hang and connections stall in silence.
type Outage struct {
	Refuse bool // dials fail at once instead of hanging until Up
	Reset  bool // connections are reset instead of stalling until Up
}

// Net is a network with one link that all its connections share. It is safe
// for concurrent use.
type Net struct {
	mu        sync.Mutex // guards all of the net: its links, flows and listeners too
	changed   *sync.Cond // Up, Down, and dials that give up
	listeners map[string]*Listener
	links     []*Link // open ones, oldest first
	onConnect func(*Link)
	latency   time.Duration
	buffer    int
	down      bool
	outage    Outage
	dials     int // so far; numbers the links
	carried   [2]int64
}

// New returns a network that is up, without latency.
func New() *Net {
	n := &Net{listeners: map[string]*Listener{}, buffer: DefaultBuffer}
	n.changed = sync.NewCond(&n.mu)
	return n
}

// Addr is the address of a listener, or of the calling end of a connection.
type Addr string

// Network is "memory".
func (Addr) Network() string { return "memory" }

// String is what was given to Listen.
func (a Addr) String() string { return string(a) }

// Listen takes the address until the listener is closed. Any text is an
// address. It fails with EADDRINUSE if somebody listens there.
func (n *Net) Listen(addr string) (*Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners[addr] != nil {
		return nil, opError("listen", Addr(addr), syscall.EADDRINUSE)
	}
	l := &Listener{net: n, addr: Addr(addr), arrived: sync.NewCond(&n.mu)}
	n.listeners[addr] = l
	return l, nil
}

// Dial connects to a listener. That costs one round trip. While the link is
// down it waits for Up or ctx, or fails at once, as the Outage says; without a
// listener it fails with ECONNREFUSED.
func (n *Net) Dial(ctx context.Context, addr string) (net.Conn, error) {
	c, err := n.dial(ctx, addr)
	if err != nil {
		return nil, opError("dial", Addr(addr), err)
	}
	return c, nil
}

// DialContext is Dial for http.Transport and the like; the network's name does
// not matter.
func (n *Net) DialContext(ctx context.Context, _, addr string) (net.Conn, error) {
	return n.Dial(ctx, addr)
}

func (n *Net) dial(ctx context.Context, addr string) (*Conn, error) {
	if err := n.handshake(ctx); err != nil {
		return nil, err
	}
	n.mu.Lock()
	if err := n.untilUp(ctx); err != nil {
		n.mu.Unlock()
		return nil, err
	}
	l := n.listeners[addr]
	if l == nil || len(l.queue) >= backlog {
		n.mu.Unlock()
		return nil, syscall.ECONNREFUSED
	}
	link := n.connect(Addr(addr))
	hook := n.onConnect
	n.mu.Unlock()
	// The hook sets faults through the link's own methods, before any byte.
	if hook != nil {
		hook(link)
	}
	if !l.push(link.ends[listening]) {
		link.Cut()
		return nil, syscall.ECONNREFUSED
	}
	return link.ends[calling], nil
}

// handshake waits for a round trip on a link that is up.
func (n *Net) handshake(ctx context.Context) error {
	n.mu.Lock()
	err := n.untilUp(ctx)
	wait := 2 * n.latency
	n.mu.Unlock()
	if err != nil || wait == 0 {
		return err
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// untilUp waits while the link is down; the caller holds mu.
func (n *Net) untilUp(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.changed.Broadcast()
	})
	defer stop()
	for {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case !n.down:
			return nil
		case n.outage.Refuse:
			return syscall.ENETUNREACH
		}
		n.changed.Wait()
	}
}

// connect makes the link; the caller holds mu.
func (n *Net) connect(addr Addr) *Link {
	n.dials++
	l := &Link{net: n, number: n.dials}
	for d := range l.flows {
		l.flows[d] = newFlow(l, Direction(d))
	}
	local := Addr(fmt.Sprintf("caller:%d", n.dials))
	l.ends[calling] = &Conn{link: l, local: local, remote: addr, in: l.flows[ToCaller], out: l.flows[ToListener]}
	l.ends[listening] = &Conn{link: l, local: addr, remote: local, in: l.flows[ToListener], out: l.flows[ToCaller]}
	n.links = append(n.links, l)
	return l
}

// OnConnect has every later connection shown to f before its first byte, for
// f to set faults on it. f is called in the goroutine that dials.
func (n *Net) OnConnect(f func(*Link)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.onConnect = f
}

// SetLatency sets the time that bytes take from one end to the other. It
// counts for what is written from now on; order is kept.
func (n *Net) SetLatency(oneWay time.Duration) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.latency = oneWay
}

// SetBuffer sets what each direction of later connections holds, in bytes, at
// least 1. With latency it bounds the rate, as a TCP window does.
func (n *Net) SetBuffer(bytes int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.buffer = max(1, bytes)
}

// Down takes the link away, until Up.
func (n *Net) Down(o Outage) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down, n.outage = true, o
	if o.Reset {
		n.cutAll()
	}
	n.wakeAll()
}

// Up brings the link back. What stalled goes on: nothing was lost.
func (n *Net) Up() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = false
	n.wakeAll()
}

// wakeAll lets everybody look again; the caller holds mu.
func (n *Net) wakeAll() {
	n.changed.Broadcast()
	for _, l := range n.links {
		l.wake()
	}
}

// CutAll resets every connection, also those not yet accepted.
func (n *Net) CutAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cutAll()
}

func (n *Net) cutAll() {
	links := n.links
	n.links = nil
	for _, l := range links {
		l.cut()
	}
}

// Links returns the open connections, oldest first.
func (n *Net) Links() []*Link {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]*Link(nil), n.links...)
}

// Dials returns how many connections have been made so far.
func (n *Net) Dials() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials
}

// Carried returns the bytes that all connections so far, closed ones too, have
// taken from their writers in a direction.
func (n *Net) Carried(d Direction) int64 {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.carried[d]
}

func opError(op string, addr net.Addr, err error) error {
	return &net.OpError{Op: op, Net: Addr("").Network(), Addr: addr, Err: err}
}
