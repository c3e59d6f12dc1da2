package pairing

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"antipode/transport/peer"
)

const (
	tokenPrefix  = "apair1:"
	tokenVersion = 1
	secretBytes  = 16
	checkBytes   = 4
	fixedBytes   = 1 + 8 + sha256.Size + secretBytes + checkBytes

	// MaxAddressBytes is a DNS name, brackets, a colon and a port.
	MaxAddressBytes = 260
	maxTokenBytes   = fixedBytes + MaxAddressBytes
)

// ErrToken means that a text is no pairing token, or a damaged one.
var ErrToken = errors.New("not a pairing token")

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// Token is what the issuer prints and the acceptor is given. It is a secret
// until it is used or has expired: never log it.
type Token struct {
	Address string           // where the issuer listens, "host:port"
	Issuer  peer.Fingerprint // the key to hold the listener to
	Expires time.Time        // by the issuer's clock; to show, not to enforce
	secret  [secretBytes]byte
}

// IsZero tells whether there is no token.
func (t Token) IsZero() bool { return t.Issuer.IsZero() }

// String names the token without its secret, so that logging one is harmless.
// Text is what the acceptor needs.
func (t Token) String() string {
	return fmt.Sprintf("pairing token of %s at %s", t.Issuer, t.Address)
}

// GoString keeps the secret out of %#v.
func (t Token) GoString() string { return t.String() }

// Text is the token as ParseToken reads it: one word, to print once.
func (t Token) Text() (string, error) {
	digest, err := t.Issuer.Digest()
	if err != nil {
		return "", fmt.Errorf("spell pairing token: %w", err)
	}
	b := append(make([]byte, 0, maxTokenBytes), tokenVersion)
	b = binary.BigEndian.AppendUint64(b, uint64(t.Expires.Unix()))
	b = append(b, digest[:]...)
	b = append(b, t.secret[:]...)
	b = append(b, t.Address...)
	sum := sha256.Sum256(b)
	return tokenPrefix + base32Lower.EncodeToString(append(b, sum[:checkBytes]...)), nil
}

// ParseToken reads what the issuer printed. Case and surrounding space do not
// matter. ErrToken says what is wrong with it; the secret is not repeated.
func ParseToken(text string) (Token, error) {
	b, err := tokenBytes(strings.ToLower(strings.TrimSpace(text)))
	if err != nil {
		return Token{}, err
	}
	t := Token{
		Expires: time.Unix(int64(binary.BigEndian.Uint64(b[1:9])), 0),
		Issuer:  peer.FingerprintOfDigest([sha256.Size]byte(b[9:41])),
		secret:  [secretBytes]byte(b[41:57]),
		Address: string(b[57:]),
	}
	if err := CheckAddress(t.Address); err != nil {
		return Token{}, fmt.Errorf("%w: %w", ErrToken, err)
	}
	return t, nil
}

// tokenBytes returns the layout without its checksum, which has been tested.
func tokenBytes(s string) ([]byte, error) {
	body, ok := strings.CutPrefix(s, tokenPrefix)
	switch {
	case strings.HasPrefix(s, "ap1:"):
		return nil, fmt.Errorf("%w: this is a node's key; the token is what `antipode pair` prints on the other node", ErrToken)
	case !ok:
		return nil, fmt.Errorf("%w: it does not begin with %q: copy the whole word that `antipode pair` printed", ErrToken, tokenPrefix)
	case len(body) > base32Lower.EncodedLen(maxTokenBytes):
		return nil, fmt.Errorf("%w: it is too long: copy one word only", ErrToken)
	}
	raw, err := base32Lower.DecodeString(body)
	// The decoder skips line breaks and loose bits; one token has one spelling.
	if err != nil || base32Lower.EncodeToString(raw) != body {
		return nil, fmt.Errorf("%w: it is cut or holds a character that does not belong there: copy the whole word that `antipode pair` printed", ErrToken)
	}
	if len(raw) <= fixedBytes {
		return nil, fmt.Errorf("%w: a part is missing: copy the whole word that `antipode pair` printed", ErrToken)
	}
	b, check := raw[:len(raw)-checkBytes], raw[len(raw)-checkBytes:]
	if sum := sha256.Sum256(b); !bytes.Equal(sum[:checkBytes], check) {
		return nil, fmt.Errorf("%w: its checksum does not fit, so it is mistyped or cut: copy the whole word that `antipode pair` printed", ErrToken)
	}
	if b[0] != tokenVersion {
		return nil, fmt.Errorf("%w: it has version %d and this release reads version %d: upgrade the older of the two nodes",
			ErrToken, b[0], tokenVersion)
	}
	return b, nil
}

// CheckAddress tells what is wrong with a "host:port" that another node is to
// dial and to write into its configuration.
func CheckAddress(address string) error {
	if len(address) > MaxAddressBytes {
		return fmt.Errorf("address has %d bytes, more than %d", len(address), MaxAddressBytes)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("address %q is not host:port: %w", address, err)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("address %q has no port from 1 to 65535", address)
	}
	if host == "" || strings.ContainsFunc(host, notInHost) {
		return fmt.Errorf("address %q has no host that another node could dial", address)
	}
	return nil
}

// notInHost is true for what neither a DNS name nor an IP address (with its
// zone) may hold; the address goes into a file and onto a terminal.
func notInHost(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return false
	}
	return !strings.ContainsRune(".-_:%", r)
}
