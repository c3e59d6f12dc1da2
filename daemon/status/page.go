package status

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// colour is an SGR parameter (ECMA-48); "" is the terminal's own.
type colour string

const (
	bold   colour = "1"
	dim    colour = "2"
	red    colour = "31"
	green  colour = "32"
	yellow colour = "33"
	cyan   colour = "36"
)

var codeColour = [...]colour{HealthOK: green, HealthWarning: yellow, HealthCritical: red, HealthUnknown: yellow}

// page is a screen being written.
type page struct {
	style Style
	out   bytes.Buffer
}

func (p *page) paint(c colour, s string) string {
	if !p.style.Rich || c == "" || s == "" {
		return s
	}
	return "\x1b[" + string(c) + "m" + s + "\x1b[0m"
}

func (p *page) bold(s string) string { return p.paint(bold, s) }

// mark is a sign in front of what it colours; a pipe gets none, the words do.
func (p *page) mark(code int) string {
	if !p.style.Rich {
		return ""
	}
	return [...]string{HealthOK: "● ", HealthWarning: "▲ ", HealthCritical: "✖ ", HealthUnknown: "? "}[code]
}

// line writes s, broken between words at the page's width.
func (p *page) line(indent int, s string) {
	pad := strings.Repeat(" ", indent)
	for i, part := range wrap(s, p.style.Width-indent, p.style.Width-indent-2) {
		if i == 1 {
			pad += "  "
		}
		part = strings.ReplaceAll(strings.TrimRight(part, " "), unbroken, " ")
		p.out.WriteString(pad + part + "\n")
	}
}

// ends writes one text at each end of a line, or the second below the first.
func (p *page) ends(left, right string) {
	gap := p.style.Width - visible(left) - visible(right)
	if gap < 2 {
		p.line(0, left)
		left, gap = "", 0
	}
	p.line(0, left+strings.Repeat(" ", gap)+p.paint(dim, right))
}

func (p *page) title(name string, facts ...string) {
	p.out.WriteByte('\n')
	p.line(0, strings.TrimRight(p.bold(name)+"  "+strings.Join(facts, "  "), " "))
}

func (p *page) problem(indent int, now time.Time, x *Problem) {
	for _, s := range p.problemLines(now, x) {
		p.line(indent, s)
	}
}

func (p *page) problemLines(now time.Time, x *Problem) []string {
	if x == nil {
		return nil
	}
	what := p.paint(red, "! ") + oneLine(x.Text)
	if !x.At.IsZero() {
		what += p.paint(dim, " ("+ago(now, x.At)+")")
	}
	if x.Next == "" {
		return []string{what}
	}
	return []string{what, p.paint(dim, "  next: ") + oneLine(x.Next)}
}

func (p *page) failure(t *table, now time.Time, x *Problem) { t.note(p.problemLines(now, x)...) }

func (p *page) moving(t *table, m *Moving, verb string) {
	if m == nil {
		return
	}
	if m.Reread != nil {
		t.note(strings.ReplaceAll(p.rereading(m), " ", unbroken))
		return
	}
	var parts []string
	switch m.Waiting {
	case WaitingLink:
		parts = append(parts, p.paint(yellow, "waits for the link"))
	case WaitingSpace:
		parts = append(parts, p.paint(yellow, "waits for space on the target"))
	default:
		parts = append(parts, p.paint(cyan, verb))
	}
	done := Bytes(m.Bytes)
	if share, ok := percent(m.Bytes, m.Estimate); ok {
		done = fmt.Sprintf("%s %d %%  %s of %s", p.bar(share), share, Bytes(m.Bytes), Bytes(m.Estimate))
	}
	parts = append(parts, Printable(m.Kind), done)
	if m.Waiting == "" {
		parts = append(parts, Rate(m.Rate))
	}
	if m.ETA > 0 && m.Waiting == "" {
		parts = append(parts, "ETA "+Duration(m.ETA))
	}
	if m.Wire > 0 {
		parts = append(parts, Bytes(m.Wire)+" on the wire")
	}
	if m.Packing != "" && m.Packing != "off" {
		parts = append(parts, "packed "+Printable(m.Packing))
	}
	if m.Lanes > 0 {
		parts = append(parts, Count(m.Lanes, "lane"))
	}
	for i := range parts {
		parts[i] = strings.ReplaceAll(parts[i], " ", unbroken)
	}
	notes := []string{strings.Join(parts, "  ")}
	if m.Notice != "" {
		notes = append(notes, oneLine(m.Notice))
	}
	t.note(notes...)
}

// rereading says how far a step is with reading again what the target has.
func (p *page) rereading(m *Moving) string {
	text := p.paint(cyan, fmt.Sprintf("re-reading %s", ofBytes(m.Reread.Done, m.Reread.Of))) + "  " + Rate(m.Reread.Rate)
	if m.Reread.ETA > 0 {
		text += "  ETA " + Duration(m.Reread.ETA)
	}
	return text
}

// unbroken is a blank that line does not break at. None comes from outside:
// Printable makes a plain one of every space.
const unbroken = "\u00a0"

// bar draws a share of 0..100.
func (p *page) bar(percent int) string {
	const cells = 12
	full := percent * cells / 100
	if p.style.Rich {
		return p.paint(cyan, strings.Repeat("━", full)) + p.paint(dim, strings.Repeat("─", cells-full))
	}
	return "[" + strings.Repeat("#", full) + strings.Repeat(".", cells-full) + "]"
}

// stateColours shows how bad a state is.
var stateColours = map[State]colour{
	StateOK: green, StateSeeding: cyan, StateFenced: yellow,
	StateMissed: red, StateStuck: red, StateConflict: red, StateSplitBrain: red,
}

func (p *page) state(s State) cell { return cell{dash(string(s)), stateColours[s]} }

func lagCell(newest Point, lag, rpo time.Duration) cell {
	switch {
	case newest.IsZero():
		return text("none yet")
	case rpo > 0 && lag > rpo:
		return cell{Duration(lag), red}
	case rpo > 0 && lag > rpo/100*warnLag:
		return cell{Duration(lag), yellow}
	}
	return text(Duration(lag))
}

func rpoCell(rpo time.Duration) cell {
	if rpo == 0 {
		return text("-")
	}
	return text(Duration(rpo))
}

func pointCell(x Point) cell {
	if x.IsZero() {
		return text("-")
	}
	if x.Confirmed.After(x.Time) {
		return text("unchanged since " + stamp(x.Time))
	}
	return text(stamp(x.Time))
}

// orElse lets a first copy's progress stand where its point will be.
func orElse(c cell, s string) cell {
	if s == "" {
		return c
	}
	return cell{s, cyan}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

func ago(now, t time.Time) string { return Duration(max(0, now.Sub(t))) + " ago" }

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// visible counts the columns of s without its colours. Wide runes count as one:
// a table with them is a little crooked, and nothing worse.
func visible(s string) int {
	n := 0
	for s != "" {
		if strings.HasPrefix(s, "\x1b[") {
			_, s, _ = strings.Cut(s, "m")
			continue
		}
		_, size := utf8.DecodeRuneInString(s)
		s = s[size:]
		n++
	}
	return n
}

// wrap breaks s at spaces into a line of at most width columns and others of at
// most rest; a longer word stays whole, so that it can be copied.
func wrap(s string, width, rest int) []string {
	if visible(s) <= width {
		return []string{s}
	}
	lead := s[:len(s)-len(strings.TrimLeft(s, " "))]
	var lines []string
	line, empty := lead, true
	for word := range strings.SplitSeq(s[len(lead):], " ") {
		switch {
		case empty && word == "": // a gap at the break
		case empty:
			line, empty = line+word, false
		case visible(line)+1+visible(word) > width:
			lines, line, empty, width = append(lines, line), word, word == "", rest
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}
