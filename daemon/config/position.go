package config

import (
	"strconv"
	"strings"
)

// positions tells on which line each key of a TOML document stands, by a path
// such as "job[1].keep.last". The TOML library keeps no positions of what it
// has decoded, and a mistake in the meaning is found only after that.
//
// The text has been accepted by the library: this reads its structure and
// judges nothing. On anything else it ends somewhere, without panicking.
func positions(text string) map[string]int {
	s := scanner{text: text, line: 1, lines: map[string]int{}, tables: map[string]int{}}
	prefix := ""
	for s.space(); s.at < len(text); s.space() {
		if text[s.at] == '[' {
			prefix = s.header()
			continue
		}
		s.pair(prefix)
	}
	return s.lines
}

type scanner struct {
	text   string
	at     int
	line   int
	lines  map[string]int
	tables map[string]int // how many elements an array of tables has so far
}

// peek returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	if s.at < len(s.text) {
		return s.text[s.at]
	}
	return 0
}

// skip advances by n bytes and counts the lines.
func (s *scanner) skip(n int) {
	n = min(n, len(s.text)-s.at)
	s.line += strings.Count(s.text[s.at:s.at+n], "\n")
	s.at += n
}

// space skips blanks, line ends and comments.
func (s *scanner) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\t', '\r', '\n':
			s.skip(1)
		case '#':
			s.skip(s.length("\n"))
		default:
			return
		}
	}
}

// length counts the bytes up to the first of any in stop, or to the end.
func (s *scanner) length(stop string) int {
	if n := strings.IndexAny(s.text[s.at:], stop); n >= 0 {
		return n
	}
	return len(s.text) - s.at
}

// note remembers the line of a path, the first time.
func (s *scanner) note(path string) {
	if _, known := s.lines[path]; !known {
		s.lines[path] = s.line
	}
}

// header reads "[a.b]" or "[[a.b]]" and returns the path of the table.
func (s *scanner) header() string {
	isArray := strings.HasPrefix(s.text[s.at:], "[[")
	if s.skip(1); isArray {
		s.skip(1)
	}
	path := ""
	parts := s.key()
	for i, part := range parts {
		path = join(path, part)
		if i == len(parts)-1 && isArray {
			s.tables[path]++
		}
		if n := s.tables[path]; n > 0 {
			path = element(path, n-1)
		}
		s.note(path)
	}
	s.space()
	for s.peek() == ']' {
		s.skip(1)
	}
	return path
}

// pair reads "key = value" of the table prefix.
func (s *scanner) pair(prefix string) {
	start := s.at
	for _, part := range s.key() {
		prefix = join(prefix, part)
		s.note(prefix)
	}
	if s.space(); s.peek() == '=' {
		s.skip(1)
	}
	s.value(prefix)
	if s.at == start { // not TOML; do not stay here
		s.skip(1)
	}
}

// key reads a dotted key.
func (s *scanner) key() []string {
	var parts []string
	for {
		s.space()
		parts = append(parts, s.keyPart())
		if s.space(); s.peek() != '.' {
			return parts
		}
		s.skip(1)
	}
}

func (s *scanner) keyPart() string {
	start := s.at
	if q := s.peek(); q == '"' || q == '\'' {
		s.quoted()
		raw := s.text[start:s.at]
		if text, err := strconv.Unquote(raw); err == nil {
			return text
		}
		return strings.Trim(raw, `"'`)
	}
	s.skip(s.length(" \t\r\n.=]#,}[{\"'"))
	return s.text[start:s.at]
}

// value skips a value and notes what stands inside it.
func (s *scanner) value(path string) {
	s.space()
	switch s.peek() {
	case '"', '\'':
		s.quoted()
	case '[':
		s.list(']', func(i int) { s.note(element(path, i)); s.value(element(path, i)) })
	case '{':
		s.list('}', func(int) { s.pair(path) })
	default:
		s.skip(s.length(",]}\n#"))
	}
}

// list reads an array or an inline table.
func (s *scanner) list(end byte, item func(i int)) {
	s.skip(1)
	for i := 0; ; i++ {
		s.space()
		if c := s.peek(); c == end || c == 0 {
			s.skip(1)
			return
		}
		start := s.at
		item(i)
		if s.space(); s.peek() == ',' {
			s.skip(1)
		}
		if s.at == start { // not TOML; do not stay here
			s.skip(1)
		}
	}
}

// quoted skips a string of any of the four kinds.
func (s *scanner) quoted() {
	quote := s.text[s.at : s.at+1]
	end, rest := quote, s.text[s.at+1:]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(s.text[s.at:], triple) {
		end, rest = triple, s.text[s.at+3:]
	}
	body := 0
	for body < len(rest) && !strings.HasPrefix(rest[body:], end) {
		if quote == `"` && rest[body] == '\\' {
			body++
		}
		body++
	}
	// Up to two quotes may stand right before the three that end the text.
	for len(end) == 3 && strings.HasPrefix(rest[min(body+1, len(rest)):], end) {
		body++
	}
	s.skip(len(end) + body + len(end))
}

// maxPath bounds paths: a megabyte of nesting would take the square of that.
// None of our keys comes near it.
const maxPath = 256

func join(prefix, part string) string {
	switch {
	case prefix == "":
		return part[:min(len(part), maxPath)]
	case len(prefix)+len(part) > maxPath:
		return prefix
	}
	return prefix + "." + part
}

func element(path string, i int) string {
	if len(path) > maxPath {
		return path
	}
	return path + "[" + strconv.Itoa(i) + "]"
}
