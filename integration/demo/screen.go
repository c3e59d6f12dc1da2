package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// Colours are SGR parameters (ECMA-48).
const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
	cyan  = "36"
)

const (
	margin     = "   "
	plainWidth = 100 // of what is no terminal
	barWidth   = 30
)

// screen writes the story for a person. On a terminal it has colours and one
// live line that is drawn again and again; in a pipe it has neither, only what
// lasts. It belongs to one goroutine.
type screen struct {
	out      io.Writer
	terminal bool
	colours  bool
	width    int // columns
	began    time.Time
	now      func() time.Time
	gone     func(error) // told when nobody reads any more
	chapters int
	live     bool // the live line stands
}

func newScreen(out *os.File, now func() time.Time, gone func(error)) *screen {
	s := &screen{out: out, width: plainWidth, began: now(), now: now, gone: gone}
	if width, _, err := term.GetSize(int(out.Fd())); err == nil && width > 0 && os.Getenv("TERM") != "dumb" {
		s.width, s.terminal = width, true
		s.colours = os.Getenv("NO_COLOR") == "" // see no-color.org
	}
	return s
}

// assume takes a terminal of that many columns for granted; 0 does not.
func (s *screen) assume(columns int) {
	if columns > 0 {
		s.width, s.terminal, s.colours = columns, true, os.Getenv("NO_COLOR") == ""
	}
}

// elapsed is how long the story has gone on.
func (s *screen) elapsed() time.Duration { return s.now().Sub(s.began) }

func (s *screen) paint(colour, text string) string {
	if !s.colours || text == "" {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

// title says what is to come.
func (s *screen) title(text string) { s.write("%s\n", s.paint(bold, text)) }

// chapter begins a numbered part and says when.
func (s *screen) chapter(title string) {
	s.chapters++
	s.write("\n%s  %s\n", s.paint(bold, fmt.Sprintf("%d  %s", s.chapters, title)),
		s.paint(dim, fmt.Sprintf("%.0f s", s.elapsed().Seconds())))
}

// say writes a line that stays.
func (s *screen) say(format string, args ...any) {
	s.write("%s%s\n", margin, fmt.Sprintf(format, args...))
}

// good writes a line about something that was proven.
func (s *screen) good(format string, args ...any) {
	s.write("%s%s %s\n", margin, s.paint(green, "✔"), fmt.Sprintf(format, args...))
}

// bad writes a line about what went wrong.
func (s *screen) bad(format string, args ...any) {
	s.write("%s%s %s\n", margin, s.paint(red, "✘"), fmt.Sprintf(format, args...))
}

// columns writes rows whose cells stand below each other; the last may be long.
func (s *screen) columns(rows ...[]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row[:len(row)-1] {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for _, row := range rows {
		s.row(widths, row...)
	}
}

// row writes cells of given widths; a negative one is flush right.
func (s *screen) row(widths []int, cells ...string) {
	var b strings.Builder
	for i, cell := range cells {
		if i == len(cells)-1 && i >= len(widths) {
			b.WriteString(cell)
			break
		}
		fmt.Fprintf(&b, "%*s  ", -widths[i], cell)
	}
	s.say("%s", strings.TrimRight(b.String(), " "))
}

// progress draws the live line; a pipe does not see it.
func (s *screen) progress(format string, args ...any) {
	if !s.terminal {
		return
	}
	line := []rune(margin + fmt.Sprintf(format, args...))
	if len(line) >= s.width {
		line = line[:s.width-1]
	}
	s.put("\r" + s.paint(cyan, string(line)) + "\x1b[K")
	s.live = true
}

// write takes the live line away first.
func (s *screen) write(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if s.live {
		text = "\r\x1b[K" + text
		s.live = false
	}
	s.put(text)
}

func (s *screen) put(text string) {
	if _, err := io.WriteString(s.out, text); err != nil {
		s.gone(fmt.Errorf("nobody reads on: %w", err))
	}
}

// seconds writes a duration to a tenth of a second.
func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// bar draws done of all, and the share as a number.
func bar(done, all int64) string {
	share := 0.0
	if all > 0 {
		share = min(max(float64(done)/float64(all), 0), 1)
	}
	full := int(share * barWidth)
	return fmt.Sprintf("%s%s %3.0f %%", strings.Repeat("━", full), strings.Repeat("─", barWidth-full), share*100)
}
