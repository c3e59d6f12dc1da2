package server

import (
	"net"
	"time"
)

// ListenConfig makes listeners whose connections end in about 15 s when the
// caller is gone without a word.
func ListenConfig() *net.ListenConfig {
	return &net.ListenConfig{
		Control:         control,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 5 * time.Second, Count: 3},
	}
}
