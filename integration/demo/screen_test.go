package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

// testScreen writes into a buffer, at a time of its own.
func testScreen(terminal, colours bool) (*screen, *bytes.Buffer) {
	var out bytes.Buffer
	at := time.Unix(1000, 0)
	return &screen{
		out: &out, terminal: terminal, colours: colours, width: 40, began: at,
		now: func() time.Time { return at.Add(2600 * time.Millisecond) }, gone: func(error) {},
	}, &out
}

// tellAll uses everything that a screen can do.
func tellAll(s *screen) {
	s.chapter("First")
	s.progress("half of %s", "it")
	s.say("said")
	s.good("proven")
	s.bad("wrong")
}

func TestScreen(t *testing.T) {
	for _, c := range []struct {
		name              string
		terminal, colours bool
		want              string
	}{
		{"pipe", false, false, "\n1  First  3 s\n   said\n   ✔ proven\n   ✘ wrong\n"},
		{"terminal without colours", true, false, "\n1  First  3 s\n\r   half of it\x1b[K\r\x1b[K   said\n   ✔ proven\n   ✘ wrong\n"},
		{
			"terminal", true, true, "\n\x1b[1m1  First\x1b[0m  \x1b[2m3 s\x1b[0m\n\r\x1b[36m   half of it\x1b[0m\x1b[K" +
				"\r\x1b[K   said\n   \x1b[32m✔\x1b[0m proven\n   \x1b[31m✘\x1b[0m wrong\n",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, out := testScreen(c.terminal, c.colours)
			tellAll(s)
			if got := out.String(); got != c.want {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

func TestProgressFitsTheLine(t *testing.T) {
	s, out := testScreen(true, false)
	s.progress("%s", strings.Repeat("━", 100))
	line := strings.TrimSuffix(strings.TrimPrefix(out.String(), "\r"), "\x1b[K")
	if got := len([]rune(line)); got != s.width-1 {
		t.Errorf("got %d columns of %d; a line that wraps cannot be drawn over", got, s.width)
	}
}

func TestColumnsStandBelowEachOther(t *testing.T) {
	s, out := testScreen(false, false)
	s.columns([]string{"fra1", "ärger", "x"}, []string{"s", "none", "a long last cell"})
	want := "   fra1  ärger  x\n   s     none   a long last cell\n"
	if got := out.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestRowsFlushRight(t *testing.T) {
	s, out := testScreen(false, false)
	s.row([]int{4, -6, -3}, "a", "1 B", "2×")
	s.row([]int{4, -6, -3}, "b", "10 KiB", "10×")
	want := "   a        1 B   2×\n   b     10 KiB  10×\n"
	if got := out.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestBar(t *testing.T) {
	for _, c := range []struct {
		done, all int64
		full      int
		text      string
	}{
		{0, 100, 0, "  0 %"},
		{50, 100, barWidth / 2, " 50 %"},
		{100, 100, barWidth, "100 %"},
		{120, 100, barWidth, "100 %"},
		{1, 0, 0, "  0 %"},
		{-1, 100, 0, "  0 %"},
	} {
		got := bar(c.done, c.all)
		if strings.Count(got, "━") != c.full || strings.Count(got, "─") != barWidth-c.full || !strings.HasSuffix(got, c.text) {
			t.Errorf("bar(%d, %d) = %q, want %d full and %q", c.done, c.all, got, c.full, c.text)
		}
	}
}

func TestReaderThatGoesAwayIsNoticed(t *testing.T) {
	s, _ := testScreen(false, false)
	var told error
	s.out, s.gone = brokenPipe{}, func(err error) { told = err }
	s.say("anybody?")
	if !errors.Is(told, errPipe) {
		t.Errorf("told %v, want %v", told, errPipe)
	}
}

var errPipe = errors.New("broken pipe")

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, errPipe }
