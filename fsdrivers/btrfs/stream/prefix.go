package stream

import (
	"crypto/sha256"
	"encoding"
	"encoding/hex"
	"fmt"
	"hash"
)

// DigestBytes is the length of a Digest.
const DigestBytes = 16

// Digest proves a prefix of a stream: SHA-256, cut, over the ten-byte headers of
// the commands after the first one. Each header holds a checksum of its command,
// so that the digest covers the bodies. It guards against honest change, such as
// FIELD-NOTES B.1 lists, and not against attack. The first command is left out: it
// is compared field by field, and the name in it may change.
type Digest [DigestBytes]byte

// String is hexadecimal.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText implements encoding.TextMarshaler.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Digest) UnmarshalText(text []byte) error {
	if hex.DecodedLen(len(text)) != DigestBytes {
		return fmt.Errorf("digest of %d digits, want %d", len(text), 2*DigestBytes)
	}
	_, err := hex.Decode(d[:], text)
	return err
}

// prefix is the running digest.
type prefix struct{ hash hash.Hash }

func newPrefix() prefix { return prefix{sha256.New()} }

func (p prefix) add(c Command) { p.hash.Write(c.Raw[:commandBytes]) } // never fails (hash.Hash)

func (p prefix) digest() (d Digest) {
	copy(d[:], p.hash.Sum(nil))
	return d
}

// state is what restore takes.
func (p prefix) state() []byte {
	m, ok := p.hash.(encoding.BinaryMarshaler)
	if !ok {
		panic("crypto/sha256 has no state to marshal") // its documentation promises it
	}
	state, err := m.MarshalBinary()
	if err != nil {
		panic(err) // likewise
	}
	return state
}

func restorePrefix(state []byte) (prefix, error) {
	p := newPrefix()
	u, ok := p.hash.(encoding.BinaryUnmarshaler)
	if !ok {
		panic("crypto/sha256 has no state to restore")
	}
	if err := u.UnmarshalBinary(state); err != nil {
		return p, fmt.Errorf("state of the digest: %w", err)
	}
	return p, nil
}
