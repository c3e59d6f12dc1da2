//go:build linux

package server

import (
	"syscall"

	"golang.org/x/sys/unix"
)

const userTimeoutMilliseconds = 15_000

// control sets what accepted connections inherit: keep-alive does not end one
// that has unacknowledged data, such as heartbeats, but the user timeout does.
func control(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, userTimeoutMilliseconds)
	})
}
