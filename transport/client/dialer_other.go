//go:build !linux

package client

import (
	"errors"
	"net"
	"syscall"
)

func control(_, _ string, _ syscall.RawConn) error { return nil }

// CongestionControl tells which algorithm the kernel runs on the connection.
func CongestionControl(net.Conn) (string, error) { return "", errors.ErrUnsupported }
