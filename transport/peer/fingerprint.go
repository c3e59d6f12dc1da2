package peer

import (
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"strings"
)

// Fingerprint names a node's public key: "ap1:" and 56 letters and digits,
// which are the SHA-256 of the key's SubjectPublicKeyInfo and three bytes of
// checksum in base32. It is public. Only ParseFingerprint makes one from text;
// two are the same key exactly when the strings are equal.
type Fingerprint string

const (
	fingerprintPrefix = "ap1:"
	checkBytes        = 3
	// fingerprintChars has no bits left over, so that a key has one spelling only.
	fingerprintChars = (sha256.Size + checkBytes) * 8 / 5
)

// ErrFingerprint means that a text is no key fingerprint, or a mistyped one.
var ErrFingerprint = errors.New("not a key fingerprint")

var base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ParseFingerprint reads what `antipode identity` prints. Case and surrounding
// space do not matter. A mistyped one is refused with ErrFingerprint.
func ParseFingerprint(text string) (Fingerprint, error) {
	s := strings.ToLower(strings.TrimSpace(text))
	body, ok := strings.CutPrefix(s, fingerprintPrefix)
	if !ok {
		return "", fmt.Errorf("%w: %.80q does not begin with %q: copy the whole line that `antipode identity` prints on the peer",
			ErrFingerprint, text, fingerprintPrefix)
	}
	if len(body) != fingerprintChars {
		return "", fmt.Errorf("%w: %.80q has %d characters after %q, not %d: copy the whole line that `antipode identity` prints on the peer",
			ErrFingerprint, text, len(body), fingerprintPrefix, fingerprintChars)
	}
	raw, err := base32Lower.DecodeString(body)
	// The decoder skips line breaks, so the length is looked at again.
	if err != nil || len(raw) != sha256.Size+checkBytes {
		return "", fmt.Errorf("%w: %.80q holds a character that is not a letter or 2 to 7", ErrFingerprint, text)
	}
	digest := [sha256.Size]byte(raw)
	if got := FingerprintOfDigest(digest); string(got) != s {
		return "", fmt.Errorf("%w: the checksum of %.80q does not fit, so it is mistyped: copy what `antipode identity` prints on the peer",
			ErrFingerprint, text)
	}
	return Fingerprint(s), nil
}

// FingerprintOfDigest spells the SHA-256 of a SubjectPublicKeyInfo.
func FingerprintOfDigest(digest [sha256.Size]byte) Fingerprint {
	check := sha256.Sum256(append([]byte(fingerprintPrefix), digest[:]...))
	raw := append(digest[:], check[:checkBytes]...)
	return Fingerprint(fingerprintPrefix + base32Lower.EncodeToString(raw))
}

func fingerprintOfSPKI(spki []byte) Fingerprint {
	return FingerprintOfDigest(sha256.Sum256(spki))
}

// Digest returns the SHA-256 that the fingerprint spells, for binary layouts.
func (f Fingerprint) Digest() ([sha256.Size]byte, error) {
	p, err := ParseFingerprint(string(f))
	if err != nil {
		return [sha256.Size]byte{}, err
	}
	raw, err := base32Lower.DecodeString(strings.TrimPrefix(string(p), fingerprintPrefix))
	if err != nil {
		return [sha256.Size]byte{}, fmt.Errorf("%w: %q: %w", ErrFingerprint, string(f), err)
	}
	return [sha256.Size]byte(raw), nil
}

// String returns the fingerprint as ParseFingerprint reads it.
func (f Fingerprint) String() string { return string(f) }

// IsZero tells whether there is no fingerprint.
func (f Fingerprint) IsZero() bool { return f == "" }
