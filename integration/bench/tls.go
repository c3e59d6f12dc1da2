package main

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"time"

	"antipode/integration/stage"
)

const pipeTimeout = 5 * time.Minute // what takes longer hangs

// tlsPipe is one end of a rival: a pipe through one TLS connection and nothing else.
// `bench send ADDRESS` carries standard input, `bench receive ADDRESS` brings it to
// standard output. It returns the exit code.
func tlsPipe(end, address string) int {
	ctx, cancel := context.WithTimeout(context.Background(), pipeTimeout)
	defer cancel()
	var err error
	switch end {
	case "send":
		err = tlsSend(ctx, address)
	case "receive":
		err = tlsReceive(address)
	default:
		err = fmt.Errorf("%q is neither send nor receive", end)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "tls pipe: %v\n", err)
		return 1
	}
	return 0
}

func tlsSend(ctx context.Context, address string) error {
	var conn net.Conn
	err := stage.Until(ctx, func() (bool, error) { // the other end may come later
		c, err := net.DialTimeout("tcp", address, time.Second)
		conn = c
		return err == nil, nil
	})
	if err != nil {
		return err
	}
	// Whom we speak to does not matter here.
	c := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13}) //nolint:gosec // a rival on loopback
	if _, err := io.CopyBuffer(c, struct{ io.Reader }{os.Stdin}, make([]byte, 1<<20)); err != nil {
		return err
	}
	return c.Close()
}

func tlsReceive(address string) error {
	cert, err := throwaway()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	c := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13})
	_, err = io.CopyBuffer(struct{ io.Writer }{os.Stdout}, c, make([]byte, 1<<20))
	return err
}

// throwaway is a certificate that nobody looks at.
func throwaway() (tls.Certificate, error) {
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(nil, template, template, public, private)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, err
}
