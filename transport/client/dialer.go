package client

import (
	"net"
	"time"
)

// Dialer makes real connections: keep-alive and user timeout end a half-open
// one in about 15 s, and each asks for BBR where the kernel has it. See
// CongestionControl for what a connection got.
func Dialer() *net.Dialer {
	return &net.Dialer{
		Timeout:         10 * time.Second,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 5 * time.Second, Count: 3},
		Control:         control,
	}
}
