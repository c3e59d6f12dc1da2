package client

import (
	"net"
	"time"
)

// Dialer makes real connections: keep-alive and user timeout end a half-open
// one in about 15 s. What else a socket can do better, New sets on each.
func Dialer() *net.Dialer {
	return &net.Dialer{
		Timeout:         10 * time.Second,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 5 * time.Second, Count: 3},
	}
}

// Tune sets on a connection what New sets on those that it makes, for who is
// called on it.
func Tune(c net.Conn, congestion string) { tune(c, congestion) }

// Path is what the kernel knows of a connection; zero fields are not known.
type Path struct {
	RTT    time.Duration // smoothed
	MinRTT time.Duration
	// Acked counts the bytes that the other side's kernel has acknowledged: while
	// it rises the connection is not stuck, however slow it is.
	Acked uint64
	// Quiet is how long nothing has been acknowledged of what is on its way; 0 where
	// nothing is.
	Quiet time.Duration
	// Ramping is before the first sign of how much the path holds (slow start).
	Ramping bool
	// LossBased is: the congestion control slows down for each loss.
	LossBased  bool
	Lost       uint64 // packets sent again so far
	Congestion string // the algorithm, as "bbr"
}

// Auto is the congestion control that is the best for a long, lossy path and
// that the kernel has.
const Auto = "auto"

// isLocal holds for connections inside this machine.
func isLocal(c net.Conn) bool {
	a, ok := c.RemoteAddr().(*net.TCPAddr)
	return ok && a.IP.IsLoopback()
}
