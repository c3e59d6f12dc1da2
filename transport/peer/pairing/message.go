package pairing

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"antipode/transport/peer"
)

const (
	// Version of the two messages.
	Version = 1
	// MaxMessageBytes bounds a Request or a Response as JSON.
	MaxMessageBytes = 2048
	// MaxNodeBytes bounds a node's name.
	MaxNodeBytes = 64
)

const (
	label         = "antipode pairing 1"
	roleAcceptor  = "acceptor"
	roleIssuer    = "issuer"
	exporterLabel = "EXPORTER-antipode-pairing-1"
	exporterBytes = 32
)

// ErrMessage means that a request or an answer cannot be read.
var ErrMessage = errors.New("malformed pairing message")

// Request is what the acceptor says of itself, with the proof that it knows
// the token's secret.
type Request struct {
	Version int    `json:"version"`
	Node    string `json:"node"`              // to be the issuer's name for the acceptor
	Address string `json:"address,omitempty"` // where the acceptor listens, "host:port"; empty if it does not
	Proof   []byte `json:"proof"`
}

// Response is the issuer's answer, with its counter-proof.
type Response struct {
	Version int    `json:"version"`
	Node    string `json:"node"` // to be the acceptor's name for the issuer
	Proof   []byte `json:"proof"`
}

// Exporter binds proofs to one TLS connection: both ends of it, and nobody
// else, compute the same 32 bytes (RFC 5705, RFC 8446 7.5).
func Exporter(s tls.ConnectionState) ([]byte, error) {
	if !s.HandshakeComplete {
		return nil, errors.New("bind pairing to the connection: the handshake is not complete")
	}
	b, err := s.ExportKeyingMaterial(exporterLabel, nil, exporterBytes)
	if err != nil {
		return nil, fmt.Errorf("bind pairing to the connection: %w", err)
	}
	return b, nil
}

// NewRequest makes the acceptor's message for the connection that exporter
// comes from. node and address are the acceptor's own; address may be empty.
func NewRequest(t Token, exporter []byte, own peer.Fingerprint, node, address string) (Request, error) {
	if own == t.Issuer {
		return Request{}, errors.New("this token was made by this very node: use it on the other one")
	}
	q := Request{Version: Version, Node: node, Address: address}
	if err := q.check(); err != nil {
		return Request{}, err
	}
	p, err := t.requestProof(exporter, own, q)
	if err != nil {
		return Request{}, err
	}
	q.Proof = p
	return q, nil
}

// VerifyResponse tells whether the answer to q comes from the one who made the
// token. ErrProof if not: then nothing of it may be believed or written.
func VerifyResponse(t Token, exporter []byte, own peer.Fingerprint, q Request, r Response) error {
	if err := r.check(); err != nil {
		return err
	}
	want, err := t.responseProof(exporter, own, q, r.Node)
	if err != nil {
		return err
	}
	if !hmac.Equal(want, r.Proof) {
		return fmt.Errorf("answer of the issuer: %w", ErrProof)
	}
	return nil
}

// ParseRequest reads a request of at most MaxMessageBytes. Unknown fields are
// skipped. ErrMessage says what is wrong.
func ParseRequest(data []byte) (Request, error) {
	var q Request
	if err := parse(data, &q); err != nil {
		return Request{}, err
	}
	return q, q.check()
}

// ParseResponse reads an answer of at most MaxMessageBytes. Unknown fields are
// skipped. ErrMessage says what is wrong.
func ParseResponse(data []byte) (Response, error) {
	var r Response
	if err := parse(data, &r); err != nil {
		return Response{}, err
	}
	return r, r.check()
}

func parse(data []byte, into any) error {
	if len(data) > MaxMessageBytes {
		return fmt.Errorf("%w: %d bytes, more than %d", ErrMessage, len(data), MaxMessageBytes)
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%w: %w", ErrMessage, err)
	}
	return nil
}

func (q Request) check() error {
	if err := checkHead(q.Version, q.Node); err != nil {
		return err
	}
	if q.Address == "" {
		return nil
	}
	if err := CheckAddress(q.Address); err != nil {
		return fmt.Errorf("%w: %w", ErrMessage, err)
	}
	return nil
}

func (r Response) check() error { return checkHead(r.Version, r.Node) }

func checkHead(version int, node string) error {
	if version != Version {
		return fmt.Errorf("%w: version %d, and this release speaks version %d: upgrade the older of the two nodes", ErrMessage, version, Version)
	}
	if err := CheckNode(node); err != nil {
		return fmt.Errorf("%w: %w", ErrMessage, err)
	}
	return nil
}

// CheckNode tells what is wrong with a node's name that becomes a file name
// (peers.d/NAME.toml) on the other side: 1 to 64 letters, digits, ".", "_" and
// "-", beginning with a letter or a digit.
func CheckNode(node string) error {
	if node == "" || len(node) > MaxNodeBytes {
		return fmt.Errorf("node name %.80q has %d bytes, not 1 to %d", node, len(node), MaxNodeBytes)
	}
	if strings.ContainsFunc(node, notInNode) || strings.ContainsRune("._-", rune(node[0])) {
		return fmt.Errorf(`node name %q is not made of letters, digits, ".", "_" and "-", with a letter or digit first`, node)
	}
	return nil
}

func notInNode(r rune) bool { return r == ':' || r == '%' || notInHost(r) }

func (t Token) requestProof(exporter []byte, acceptor peer.Fingerprint, q Request) ([]byte, error) {
	return t.proof(roleAcceptor, exporter, acceptor, q.Node, q.Address)
}

func (t Token) responseProof(exporter []byte, acceptor peer.Fingerprint, q Request, issuerNode string) ([]byte, error) {
	return t.proof(roleIssuer, exporter, acceptor, q.Node, q.Address, issuerNode)
}

func (t Token) proof(role string, exporter []byte, acceptor peer.Fingerprint, names ...string) ([]byte, error) {
	if len(exporter) != exporterBytes {
		return nil, fmt.Errorf("pairing proof: the connection gives %d bytes to bind to, not %d", len(exporter), exporterBytes)
	}
	mac := hmac.New(sha256.New, t.secret[:])
	fields := append([]string{label, role, string(exporter), t.Issuer.String(), acceptor.String()}, names...)
	for _, f := range fields {
		// Lengths keep one field's end from passing as the next one's beginning.
		mac.Write(binary.BigEndian.AppendUint32(nil, uint32(len(f))))
		mac.Write([]byte(f))
	}
	return mac.Sum(nil), nil
}
