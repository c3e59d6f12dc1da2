package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Message is a value that can be told from garbage before it is used.
type Message interface{ Validate() error }

// Decode parses one message of at most limit bytes. Unknown fields are skipped,
// so that a newer peer may say more, except those whose name begins with "!":
// they are mandatory and refused. Errors wrap ErrMalformed or ErrTooLarge.
func Decode[M Message](r io.Reader, limit int) (M, error) {
	var m M
	b, err := io.ReadAll(io.LimitReader(r, int64(limit)+1))
	if err != nil {
		return m, fmt.Errorf("read message: %w", err)
	}
	if len(b) > limit {
		return m, fmt.Errorf("%w: message of more than %d bytes", ErrTooLarge, limit)
	}
	return Parse[M](b)
}

// Parse is Decode for bytes at hand.
func Parse[M Message](b []byte) (M, error) {
	var m M
	if !utf8.Valid(b) {
		return m, fmt.Errorf("%w: message is not UTF-8", ErrMalformed)
	}
	if err := checkShape(b); err != nil {
		return m, err
	}
	if err := json.Unmarshal(b, &m); err != nil {
		return m, bad(err)
	}
	if err := refuseMandatory(b); err != nil {
		return m, err
	}
	return m, m.Validate()
}

// checkShape counts before anything is allocated for it: a list of {} takes three
// bytes an element on the wire, and a hundred times that in memory.
func checkShape(b []byte) error {
	var open [MaxDepth]byte // the brackets that are open
	depth, listed := 0, 0
	inText, escaped := false, false
	for _, c := range b {
		switch {
		case escaped:
			escaped = false
		case inText:
			escaped, inText = c == '\\', c != '"'
		case c == '"':
			inText = true
		case c == '{' || c == '[':
			if depth == MaxDepth {
				return fmt.Errorf("%w: values lie more than %d deep", ErrMalformed, MaxDepth)
			}
			open[depth] = c
			depth++
		case c == '}' || c == ']':
			depth = max(0, depth-1) // too many are for the parser to refuse
		case c == ',' && depth > 0 && open[depth-1] == '[':
			listed++
		}
	}
	if listed > MaxListed {
		return fmt.Errorf("%w: %d values in lists, more than %d", ErrTooLarge, listed, MaxListed)
	}
	return nil
}

// refuseMandatory looks for names that begin with "!": this release knows none.
func refuseMandatory(b []byte) error {
	if !bytes.Contains(b, []byte(`"!`)) {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	return walk(d)
}

// walk visits one value; in an object every second string is a name.
func walk(d *json.Decoder) error {
	t, err := d.Token()
	if err != nil {
		return bad(err)
	}
	open, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	for d.More() {
		if open == '{' {
			name, err := d.Token()
			if err != nil {
				return bad(err)
			}
			if s, ok := name.(string); ok && strings.HasPrefix(s, "!") {
				return fmt.Errorf("%w: field %q is mandatory and not known here; upgrade this side", ErrMalformed, printable(s, MaxNameBytes))
			}
		}
		if err := walk(d); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return bad(err)
}
