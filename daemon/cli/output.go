package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"antipode/daemon/config"
	"antipode/daemon/status"
)

// jsonFlag gives a command that prints facts its --json.
func (a *app) jsonFlag(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().BoolVar(&a.json, "json", false, "print JSON")
	return cmd
}

// show prints v as JSON or, with text, for a person.
func (a *app) show(cmd *cobra.Command, v any, text func(*printer)) error {
	out := cmd.OutOrStdout()
	if a.json {
		return writeJSON(out, v, "  ")
	}
	p := &printer{}
	text(p)
	_, err := io.WriteString(out, p.String())
	return err
}

func writeJSON(out io.Writer, v any, indent string) error {
	e := json.NewEncoder(out)
	e.SetIndent("", indent)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write JSON: %w", err)
	}
	return nil
}

// printer gathers lines for a person. What a peer, a disk or a user named goes
// through status.Printable, so that it cannot steer the terminal.
type printer struct{ strings.Builder }

func (p *printer) line(indent int, format string, args ...any) {
	p.WriteString(strings.Repeat(" ", indent) + status.Printable(fmt.Sprintf(format, args...)) + "\n")
}

// columns writes rows with aligned cells; the last cell of a row may be long.
func (p *printer) columns(indent int, rows ...[]string) {
	var widths []int
	for _, r := range rows {
		for i, c := range r[:len(r)-1] {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], len([]rune(c)))
		}
	}
	for _, r := range rows {
		var b strings.Builder
		for i, c := range r[:len(r)-1] {
			fmt.Fprintf(&b, "%-*s  ", widths[i], c)
		}
		p.line(indent, "%s", strings.TrimRight(b.String()+r[len(r)-1], " "))
	}
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// terminal returns the file behind a stream if it is a terminal.
func terminal(stream any) (*os.File, bool) {
	f, ok := stream.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}

// styleOf is plain for a pipe. NO_COLOR (no-color.org) and a terminal that can
// do nothing are respected.
func styleOf(out io.Writer) status.Style {
	f, ok := terminal(out)
	if !ok {
		return status.Style{}
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		width = 0
	}
	return status.Style{Width: width, Rich: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// Logger writes what the configuration asks for: lines for a person on a
// terminal, and JSON elsewhere.
func Logger(out io.Writer, c config.Log) zerolog.Logger {
	level, err := zerolog.ParseLevel(c.Level)
	if err != nil || c.Level == "" {
		level = zerolog.InfoLevel
	}
	if _, ok := terminal(out); c.Format == "pretty" || c.Format != "json" && ok {
		out = zerolog.ConsoleWriter{Out: out, TimeFormat: time.DateTime, NoColor: !styleOf(out).Rich}
	}
	return zerolog.New(out).Level(level).With().Timestamp().Logger()
}
