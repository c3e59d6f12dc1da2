package client

import (
	"net"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	userTimeoutMilliseconds = 15_000
	// sendBytes lets a single connection fill a long path: the kernel's own bound,
	// often 4 MiB, is 20 MB/s at 200 ms. What really lies in it is bounded by the
	// transfer's window.
	sendBytes = 16 << 20
	// BBR counts bytes as few when it has nothing to send for a moment, and then
	// never leaves its fast start: it needs some in hand.
	mostUnsent, leastUnsent = 512 << 10, 32 << 10
	allUnsent               = 1 << 20
)

// wanted are the algorithms to try for a setting, the best first. With none of
// them the system's own stays.
func wanted(congestion string) []string {
	if congestion == Auto || congestion == "" {
		return []string{"bbr"}
	}
	return []string{congestion}
}

// tune sets what a socket can do better. Nothing of it is necessary, so nothing
// of it may fail the connection: a kernel without BBR or a user who may not
// choose it (tcp_allowed_congestion_control) is common. On the loopback there is
// nothing to be gained, and BBR, which may be the system's choice, costs a timer
// for each burst.
func tune(c net.Conn, congestion string) {
	local := isLocal(c)
	control(c, func(fd int) {
		if local {
			_ = unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, "reno")
			return
		}
		for _, name := range wanted(congestion) {
			_ = unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, name)
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, userTimeoutMilliseconds)
		// Only by force, which needs CAP_NET_ADMIN: what is set without it is bounded
		// far lower than what the kernel would do by itself.
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sendBytes)
	})
}

// keepShort bounds what lies in the kernel unsent, of so many lanes together:
// bytes given to the kernel are lost with the connection, and a chunk that waits
// in one lane cannot go by another.
func keepShort(c net.Conn, lanes int) {
	if isLocal(c) {
		return
	}
	n := min(max(allUnsent/max(lanes, 1), leastUnsent), mostUnsent)
	control(c, func(fd int) { _ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, n) })
}

// Look asks the kernel about a connection; false if it is not one of the
// kernel's.
func Look(c net.Conn) (p Path, ok bool) {
	control(c, func(fd int) {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return
		}
		name, _ := unix.GetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION)
		p, ok = pathOf(info, strings.TrimRight(name, "\x00")), true
	})
	return p, ok
}

// infinite is TCP_INFINITE_SSTHRESH of linux/tcp.h: slow start has no end yet.
const infinite = 0x7fffffff

func pathOf(info *unix.TCPInfo, congestion string) Path {
	var quiet time.Duration
	if info.Unacked > 0 {
		quiet = time.Duration(info.Last_ack_recv) * time.Millisecond
	}
	return Path{
		Quiet: quiet,
		RTT:   time.Duration(info.Rtt) * time.Microsecond, MinRTT: time.Duration(info.Min_rtt) * time.Microsecond,
		Acked: info.Bytes_acked, Ramping: info.Snd_ssthresh >= infinite, Congestion: congestion,
		LossBased: congestion != "bbr", Lost: uint64(info.Total_retrans),
	}
}

func control(c net.Conn, f func(fd int)) {
	s, ok := bottom(c).(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := s.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { f(int(fd)) }) // a closed connection needs nothing
	}
}
