package peer

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
)

// Protocol is what both sides negotiate by ALPN (RFC 7301). HTTP/2 is never
// offered: its windows hold a transfer at 10 MB/s over 100 ms.
const Protocol = "http/1.1"

// ReverseProtocol is negotiated by who dials to be called: the side that
// listened is the one that asks.
const ReverseProtocol = "antipode-reverse/1"

// alertBadCertificate is the TLS alert (RFC 8446, 6.2) that refuses a key.
const alertBadCertificate = tls.AlertError(42)

// ErrNoKey means that the other side of a connection has shown no key.
var ErrNoKey = errors.New("the other side has shown no key")

// UnknownError refuses a caller whose key nobody here has pinned.
type UnknownError struct{ Shown Fingerprint }

func (e *UnknownError) Error() string {
	return fmt.Sprintf("no peer here has the key %s: if you know the caller, pair with it or put the key into its [[peer]]", e.Shown)
}

// MismatchError refuses an answer from another key than the pinned one.
type MismatchError struct{ Shown, Want Fingerprint }

func (e *MismatchError) Error() string {
	return fmt.Sprintf("the peer shows the key %s, expected %s: the address leads to another machine, or the peer has a new key; "+
		"compare with `antipode identity` on the peer before changing anything", e.Shown, e.Want)
}

// RefusedError says that the peer does not know our key.
type RefusedError struct {
	Own Fingerprint
	Err error // what TLS said
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("the peer refuses our key %s: put it into this node's [[peer]] on the peer and reload there, or pair again", e.Own)
}

// Unwrap returns what TLS said.
func (e *RefusedError) Unwrap() error { return e.Err }

// ServerConfig is the listening side. Every connection asks pins whose key the
// caller shows, so that a reload counts at once for new connections; what is
// already connected is for the server to look up again with each request.
// While allowUnknown says so (a pairing token is outstanding) unknown keys get
// through the handshake, and the server must give them nothing but pairing.
// Both functions are called concurrently; a nil allowUnknown is never.
func ServerConfig(id Identity, pins func(Fingerprint) (name string, ok bool), allowUnknown func() bool) *tls.Config {
	c := base(id)
	c.NextProtos = append(c.NextProtos, ReverseProtocol)
	c.ClientAuth = tls.RequireAnyClientCert
	c.VerifyConnection = func(s tls.ConnectionState) error {
		shown, err := FingerprintOf(s)
		if err != nil {
			return err
		}
		if _, ok := pins(shown); ok || allowUnknown != nil && allowUnknown() {
			return nil
		}
		return &UnknownError{Shown: shown}
	}
	return c
}

// ClientConfig is the calling side: the listener must show the key want.
func ClientConfig(id Identity, want Fingerprint) *tls.Config {
	c := base(id)
	// There is no CA and no host name to verify: the pin below is stronger.
	c.InsecureSkipVerify = true
	c.VerifyConnection = func(s tls.ConnectionState) error {
		shown, err := FingerprintOf(s)
		if err != nil {
			return err
		}
		if shown != want {
			return &MismatchError{Shown: shown, Want: want}
		}
		return nil
	}
	return c
}

// ReverseConfig is ClientConfig for a connection that is dialed to be called on.
func ReverseConfig(id Identity, want Fingerprint) *tls.Config {
	c := ClientConfig(id, want)
	c.NextProtos = []string{ReverseProtocol}
	return c
}

// base is common to both sides. VerifyConnection runs for resumed sessions too
// (VerifyPeerCertificate does not); tickets are off all the same, so that each
// connection proves the key itself: TLS 1.3 saves no round trip by them.
func base(id Identity) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{id.certificate},
		NextProtos:             []string{Protocol},
		SessionTicketsDisabled: true,
	}
}

// FingerprintOf is the key that the other side of a connection has proven to
// hold. ErrNoKey before the handshake is done.
func FingerprintOf(s tls.ConnectionState) (Fingerprint, error) {
	if len(s.PeerCertificates) == 0 {
		return "", ErrNoKey
	}
	return fingerprintOfSPKI(s.PeerCertificates[0].RawSubjectPublicKeyInfo), nil
}

// ExplainRefusal turns the alert with which a listener refuses our key into a
// RefusedError. In TLS 1.3 it comes after the client's handshake, with the
// first read, so callers pass what their first request returned. Other errors
// come back as they are.
func ExplainRefusal(err error, own Fingerprint) error {
	var op *net.OpError
	// crypto/tls keeps its alert type to itself; the public one spells the same.
	if errors.As(err, &op) && op.Op == "remote error" && op.Err.Error() == alertBadCertificate.Error() {
		return &RefusedError{Own: own, Err: err}
	}
	return err
}
