package transporttest

import "slices"

// Direction is one of the two ways of a connection.
type Direction int

// The directions, by who reads.
const (
	ToListener Direction = iota // written by the one who dialled
	ToCaller                    // written by the one who accepted
)

// String names the direction.
func (d Direction) String() string { return [...]string{"to listener", "to caller"}[d] }

func (d Direction) opposite() Direction { return 1 - d }

// The two ends of a link.
const (
	calling = iota
	listening
)

// Link is one connection seen from the network, for a test to damage it.
// Positions in a direction count the bytes written there from 0, TLS and HTTP
// included. It is safe for concurrent use.
type Link struct {
	net    *Net
	number int

	// Guarded by net.mu.
	flows [2]*flow
	ends  [2]*Conn
	dead  bool // cut by Cut: both ends are reset at once
}

// Number of the connection on its Net, from 1.
func (l *Link) Number() int { return l.number }

// Cut resets the connection at once, for both ends. What is under way is lost.
func (l *Link) Cut() {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	l.cut()
}

// cut is Cut for who holds the net's mu.
func (l *Link) cut() {
	l.dead = true
	l.forget()
	l.wake()
}

// CutAfter resets the connection once n bytes have been written in direction
// d. The reader gets exactly n bytes and then ECONNRESET; the writer, and
// everybody on the way back, ECONNRESET at once. If more is written already,
// it is a Cut now.
func (l *Link) CutAfter(d Direction, n int64) {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	f := l.flows[d]
	if f.written > n {
		l.cut()
		return
	}
	f.cutAt = n
	if f.written == n {
		f.cutHere()
	}
}

// StallAfter lets n bytes of direction d arrive and then nothing more, not even
// the end, until Resume. Writers fill the buffer and then block. If more has
// arrived already, it stalls now.
func (l *Link) StallAfter(d Direction, n int64) {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	l.flows[d].stallAt = n
}

// Stall stops both directions now, until Resume.
func (l *Link) Stall() {
	l.StallAfter(ToListener, 0)
	l.StallAfter(ToCaller, 0)
}

// Resume ends what Stall and StallAfter began. Nothing was lost.
func (l *Link) Resume() {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	for _, f := range l.flows {
		f.stallAt = never
	}
	l.wake()
}

// CorruptAt flips the lowest bit of byte n of direction d, if that byte is not
// written yet.
func (l *Link) CorruptAt(d Direction, n int64) {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	l.flows[d].corruptAt = n
}

// Carried returns the bytes that the connection has taken from the writer of
// direction d.
func (l *Link) Carried(d Direction) int64 {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	return l.flows[d].written
}

// Delivered returns the bytes of direction d that have arrived.
func (l *Link) Delivered(d Direction) int64 {
	l.net.mu.Lock()
	defer l.net.mu.Unlock()
	return l.flows[d].delivered
}

// wake lets both ends look again; the caller holds mu.
func (l *Link) wake() {
	for _, f := range l.flows {
		f.changed.Broadcast()
	}
}

// forget takes the link from the list of open ones; the caller holds mu.
func (l *Link) forget() {
	if i := slices.Index(l.net.links, l); i >= 0 {
		l.net.links = slices.Delete(l.net.links, i, i+1)
	}
}
