package config

import (
	"fmt"
	"regexp"
	"slices"
	"time"
)

// document is one decoded file.
type document struct {
	file  string
	lines map[string]int // see positions
	found *findings
	known map[string]bool // every key that was asked for, without indices
}

// table reads the keys of one TOML table. Whatever was not asked for when done
// is called is unknown to us.
type table struct {
	doc    *document
	path   string // "job[0]"; "" is the root
	values map[string]any
	asked  []string
}

// line returns where a key stands, or the table if the key is not there.
func (t *table) line(key string) int {
	path := join(t.path, key)
	for _, p := range []string{path, element(path, 0)} { // [[key]] stands only as its elements
		if n, ok := t.doc.lines[p]; ok {
			return n
		}
	}
	return t.doc.lines[t.path]
}

// wrong notes a problem at a key; "" is the table itself.
func (t *table) wrong(key, format string, args ...any) {
	t.doc.found.problems = append(t.doc.found.problems, t.problem(key, format, args...))
}

// warn notes what is allowed and probably not meant.
func (t *table) warn(key, format string, args ...any) {
	t.doc.found.warnings = append(t.doc.found.warnings, t.problem(key, format, args...))
}

func (t *table) problem(key, format string, args ...any) Problem {
	return Problem{File: t.doc.file, Line: t.line(key), Text: fmt.Sprintf(format, args...)}
}

// has reports whether the key is there.
func (t *table) has(key string) bool {
	_, ok := t.values[key]
	return ok
}

var indices = regexp.MustCompile(`\[\d+\]`)

// get looks a key up and remembers that it is a known one.
func (t *table) get(key string) (any, bool) {
	t.asked = append(t.asked, key)
	t.doc.known[indices.ReplaceAllString(join(t.path, key), "")] = true
	v, ok := t.values[key]
	return v, ok
}

// done refuses every key that was not asked for.
func (t *table) done() {
	for key := range t.values {
		if !slices.Contains(t.asked, key) {
			t.wrong(key, "unknown key %q%s; %s", key, t.where(), didYouMean(key, t.asked))
		}
	}
}

// where names the table for a message.
func (t *table) where() string {
	if t.path == "" {
		return ""
	}
	return " in " + indices.ReplaceAllString(t.path, "")
}

// kind names a decoded value for a message.
func kind(v any) string {
	switch v.(type) {
	case string:
		return "text"
	case int64:
		return "a whole number"
	case float64:
		return "a number"
	case bool:
		return "true or false"
	case time.Time:
		return "a date"
	case map[string]any:
		return "a table"
	case []map[string]any:
		return "an array of tables"
	}
	return "an array"
}

// value reads a key of type T; false if it is not there or of another type.
func value[T any](t *table, key, want string) (T, bool) {
	v, ok := t.get(key)
	if !ok {
		var zero T
		return zero, false
	}
	got, ok := v.(T)
	if !ok {
		t.wrong(key, "%s is %s; want %s", key, kind(v), want)
	}
	return got, ok
}

// text reads a string, or returns otherwise.
func (t *table) text(key, otherwise string) string {
	if s, ok := value[string](t, key, "text in quotes"); ok {
		return s
	}
	return otherwise
}

// parsed reads a string that parse understands; zero if it is not there or
// not understood, which has been noted then. The example shows a right one.
func parsed[T any](t *table, key, example string, parse func(string) (T, error)) T {
	var zero T
	s, ok := value[string](t, key, fmt.Sprintf("text, such as %s = %q", key, example))
	if !ok {
		return zero
	}
	v, err := parse(s)
	if err != nil {
		t.wrong(key, "%s: %v", key, err)
		return zero
	}
	return v
}

// required is parsed for a key that must be there.
func required[T any](t *table, key, example string, parse func(string) (T, error)) T {
	if !t.has(key) {
		t.wrong("", "%s is missing%s; want for example %s = %q", key, t.where(), key, example)
	}
	return parsed(t, key, example, parse)
}

// oneOf reads a string that is one of the choices; the first is the default.
func (t *table) oneOf(key string, choices ...string) string {
	s := t.text(key, choices[0])
	if !slices.Contains(choices, s) {
		t.wrong(key, "%s = %q is not known; want one of %q", key, s, choices)
		return choices[0]
	}
	return s
}

// number reads an integer between low and high.
func (t *table) number(key string, low, high, otherwise int) int {
	n, ok := value[int64](t, key, "a whole number without quotes")
	if !ok {
		return otherwise
	}
	if n < int64(low) || n > int64(high) {
		t.wrong(key, "%s = %d is out of range; want %d to %d", key, n, low, high)
		return otherwise
	}
	return int(n)
}

// flag reads true or false; false if it is not there.
func (t *table) flag(key string) bool { return t.flagOr(key, false) }

func (t *table) flagOr(key string, otherwise bool) bool {
	if b, ok := value[bool](t, key, "true or false without quotes"); ok {
		return b
	}
	return otherwise
}

// texts reads an array of strings.
func (t *table) texts(key string) []string {
	items, ok := value[[]any](t, key, `an array of texts, such as ["a", "b"]`)
	if !ok {
		return nil
	}
	var all []string
	for i, item := range items {
		s, ok := item.(string)
		if !ok {
			t.wrong(element(key, i), "%s holds %s; want only texts in quotes", key, kind(item))
			continue
		}
		all = append(all, s)
	}
	return all
}

// sub reads a table; an empty one if it is not there.
func (t *table) sub(key string) *table {
	values, _ := value[map[string]any](t, key, "a table")
	return &table{doc: t.doc, path: join(t.path, key), values: values}
}

// subs reads an array of tables.
func (t *table) subs(key string) []*table {
	v, _ := t.get(key)
	var all []*table
	add := func(i int, values map[string]any) {
		all = append(all, &table{doc: t.doc, path: element(join(t.path, key), i), values: values})
	}
	switch items := v.(type) {
	case nil:
	case []map[string]any:
		for i, values := range items {
			add(i, values)
		}
	case []any:
		for i, item := range items {
			if values, ok := item.(map[string]any); ok {
				add(i, values)
				continue
			}
			t.wrong(element(key, i), "%s holds %s; want [[%s]] sections", key, kind(item), key)
		}
	default:
		t.wrong(key, "%s is %s; want [[%s]] with two brackets", key, kind(v), key)
	}
	return all
}
