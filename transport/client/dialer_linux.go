//go:build linux

package client

import (
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	userTimeoutMilliseconds = 15_000
	// notSentBytes bounds what lies in the kernel unsent, so that bytes counted
	// as written are bytes on their way.
	notSentBytes = 256 << 10
)

// control sets what a socket can do better before it connects. Nothing of it is
// necessary, so nothing of it may fail the connection: a kernel without BBR or
// a user who may not choose it (tcp_allowed_congestion_control) is common. On
// the loopback there is nothing to be gained, and BBR, which may be the system's
// choice, costs a timer for each burst.
func control(_, address string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		if a, err := netip.ParseAddrPort(address); err == nil && a.Addr().Unmap().IsLoopback() {
			_ = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, "reno")
			return
		}
		_ = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, "bbr")
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, userTimeoutMilliseconds)
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSentBytes)
	})
}

// CongestionControl tells which algorithm the kernel runs on the connection,
// for status.
func CongestionControl(c net.Conn) (string, error) {
	s, ok := c.(syscall.Conn)
	if !ok {
		return "", fmt.Errorf("congestion control of %T: not a socket", c)
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return "", fmt.Errorf("congestion control: %w", err)
	}
	var name string
	var got error
	if err := raw.Control(func(fd uintptr) {
		name, got = unix.GetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION)
	}); err != nil {
		return "", fmt.Errorf("congestion control: %w", err)
	}
	if got != nil {
		return "", fmt.Errorf("congestion control: %w", got)
	}
	return name, nil
}
