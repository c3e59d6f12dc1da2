package zfs

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"antipode/fsdrivers/dataset"
)

const (
	markForm = "1" // version
	// maxProp is what a property holds: 8192 bytes with its NUL.
	maxProp     = 8000
	maxMarkJSON = 64 << 10
)

// encodeMark writes a mark as the value of a property:
//
//	1.<first 8 bytes of the SHA-256 of what follows, hex>.<base64 of the deflated JSON>
//
// 65 activations of JSON are longer than a property may be. Errors: it is too
// long even so, which takes dozens of long node names that have nothing in common.
func encodeMark(m dataset.Mark) (string, error) {
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
	return strings.Join([]string{markForm, digest(text), text}, "."), nil
}

func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// decodeMark reads what encodeMark wrote. A damaged one is never taken for none.
func decodeMark(s string) (m dataset.Mark, err error) {
	if s == "" {
		return m, nil
	}
	parts := strings.Split(s, ".")
	if len(parts) != 3 || parts[0] != markForm || digest(parts[2]) != parts[1] {
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

// mark reads the mark among the facts of a dataset.
func (f facts) mark(name string) (dataset.Mark, error) {
	m, err := decodeMark(f[name][propMark])
	if err != nil {
		return dataset.Mark{}, fmt.Errorf("%s of %s: %w", propMark, name, err)
	}
	return m, nil
}

// swapMark writes next on name if the mark that is there is still old, and reads
// it back. The caller keeps others away.
func (t *tool) swapMark(ctx context.Context, name string, old, next dataset.Mark) error {
	if err := next.Validate(); err != nil {
		return fmt.Errorf("mark of %s: %w", name, err)
	}
	f, err := t.get(ctx, propMark, []string{name})
	if err != nil {
		return err
	}
	have, err := f.mark(name)
	if err != nil {
		return err
	}
	if !sameMark(have, old) {
		return fmt.Errorf("mark of %s is of generation %d (%s), not %d (%s): %w", name, have.Generation, have.ID, old.Generation, old.ID, dataset.ErrChanged)
	}
	return t.writeMark(ctx, name, next)
}

// sameMark compares all of two marks: a rival of the same generation is another mark.
func sameMark(a, b dataset.Mark) bool {
	return a.Activation == b.Activation && slices.Equal(a.History, b.History)
}

func (t *tool) writeMark(ctx context.Context, name string, next dataset.Mark) error {
	text, err := encodeMark(next)
	if err != nil {
		return fmt.Errorf("mark of %s: %w", name, err)
	}
	if err := t.set(ctx, name, propMark, text); err != nil {
		return err
	}
	f, err := t.get(ctx, propMark, []string{name})
	if err != nil {
		return err
	}
	got, err := f.mark(name)
	if err != nil || !sameMark(got, next) {
		return errors.Join(err, fmt.Errorf("mark of %s: read back another than was written", name))
	}
	return nil
}
