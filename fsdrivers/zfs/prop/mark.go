package prop

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"antipode/fsdrivers/dataset"
)

const (
	markForm = "1" // version
	// maxProp is what a property holds: 8192 bytes with its NUL.
	maxProp     = 8000
	maxMarkJSON = 64 << 10
)

// EncodeMark writes a mark as the value of a property:
//
//	1.<first 8 bytes of the SHA-256 of what follows, hex>.<base64 of the deflated JSON>
//
// 65 activations of JSON are longer than a property may be. Errors: it is too
// long even so, which takes dozens of long node names that have nothing in common.
func EncodeMark(m dataset.Mark) (string, error) {
	plain, err := json.Marshal(m)
	if err != nil {
		return "", fmt.Errorf("encode mark: %w", err)
	}
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestCompression)
	if err != nil {
		return "", fmt.Errorf("encode mark: %w", err)
	}
	_, _ = w.Write(plain) // a bytes.Buffer takes everything
	_ = w.Close()
	text := base64.RawURLEncoding.EncodeToString(packed.Bytes())
	if len(text) > maxProp {
		return "", fmt.Errorf("the mark's history takes %d bytes, and a ZFS property holds %d; shorten the names of the nodes", len(text), maxProp)
	}
	return strings.Join([]string{markForm, Digest(text), text}, "."), nil
}

// Digest is short, and tells a damaged text from what was written.
func Digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// DecodeMark reads what EncodeMark wrote. A damaged one is never taken for none.
func DecodeMark(s string) (m dataset.Mark, err error) {
	if s == "" {
		return m, nil
	}
	parts := strings.Split(s, ".")
	if len(parts) != 3 || parts[0] != markForm || Digest(parts[2]) != parts[1] {
		return m, errors.New("it is damaged, or of a later version of Antipode; restore it from the other host's status, or remove it with `zfs inherit` if no other host was ever promoted")
	}
	packed, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return m, err
	}
	plain, err := io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(packed)), maxMarkJSON))
	if err != nil {
		return m, err
	}
	if err := json.Unmarshal(plain, &m); err != nil {
		return dataset.Mark{}, err
	}
	return m, m.Validate()
}
