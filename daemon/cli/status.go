package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"antipode/daemon/control"
	"antipode/daemon/status"
)

// Bounds of asking a daemon that may hang.
const (
	watchEvery = 2 * time.Second
	healthWait = 10 * time.Second
)

func (a *app) statusCommand() *cobra.Command {
	var watch bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show what is replicated, how old it is, and what moves now", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if watch {
				return a.watch(cmd)
			}
			s, err := call[control.Nothing, status.Status](cmd.Context(), a, control.Status, control.Nothing{})
			if isDown(err) {
				known, unknown := a.lastKnown()
				if unknown != nil {
					return errors.Join(err, unknown)
				}
				s = known // and err still says that no daemon answers
			} else if err != nil {
				return err
			}
			return errors.Join(a.showStatus(cmd.OutOrStdout(), s), err)
		},
	}
	cmd.Flags().BoolVar(&watch, "watch", false, fmt.Sprintf("show it again every %s; with --json one line each", watchEvery))
	return a.jsonFlag(cmd)
}

func (a *app) showStatus(out io.Writer, s status.Status) error {
	if a.json {
		return writeJSON(out, s, "  ")
	}
	return status.Text(out, s, styleOf(out))
}

// watch shows the status until it is interrupted. A daemon that goes away is
// said, and waited for.
func (a *app) watch(cmd *cobra.Command) error {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		if err := a.watchOnce(cmd.Context(), cmd.OutOrStdout()); err != nil {
			return err
		}
		select {
		case <-cmd.Context().Done():
			return nil
		case <-tick.C:
		}
	}
}

func (a *app) watchOnce(ctx context.Context, out io.Writer) error {
	s, err := call[control.Nothing, status.Status](ctx, a, control.Status, control.Nothing{})
	switch {
	case ctx.Err() != nil:
		return nil
	case err != nil && !isDown(err):
		return err
	case err == nil && a.json:
		return writeJSON(out, s, "")
	}
	style := styleOf(out)
	var page bytes.Buffer
	if err != nil {
		fmt.Fprintln(&page, err)
	} else if err := status.Text(&page, s, style); err != nil {
		return err
	}
	_, err = io.WriteString(out, frame(page.String(), style.Rich))
	return err
}

// frame draws a page over the one before, without the flicker of clearing the
// screen first (ECMA-48 CUP, EL, ED). A pipe gets page after page.
func frame(page string, rich bool) string {
	if !rich {
		return page + "\n"
	}
	return "\x1b[H" + strings.ReplaceAll(page, "\n", "\x1b[K\n") + "\x1b[J"
}

func (a *app) healthCommand() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "health", Short: "Tell in one line and an exit code whether all is well: 0 ok, 1 warning, 2 critical, 3 unknown",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), healthWait)
			defer cancel()
			r := a.health(ctx)
			if err := a.show(cmd, r, func(p *printer) { p.line(0, "%s", r.Line) }); err != nil {
				return err
			}
			if r.Code != status.HealthOK {
				return exitError{r.Code}
			}
			return nil
		},
	})
}

// health never fails: what it cannot find out is code 3.
func (a *app) health(ctx context.Context) control.HealthResponse {
	r, err := call[control.Nothing, control.HealthResponse](ctx, a, control.Health, control.Nothing{})
	switch {
	case err == nil:
		return r
	case errors.Is(err, context.DeadlineExceeded):
		return unknown(fmt.Errorf("the daemon does not answer within %s", healthWait))
	case !isDown(err):
		return unknown(err)
	}
	s, err := a.lastKnown()
	if err != nil {
		return unknown(fmt.Errorf("no daemon runs, and %w", err))
	}
	return healthOfLedger(s)
}

func unknown(err error) control.HealthResponse {
	line := strings.Join(strings.Fields(status.Printable(err.Error())), " ")
	return control.HealthResponse{Code: status.HealthUnknown, Line: "UNKNOWN: " + line}
}

// healthOfLedger judges what is remembered by today's clock. Without a daemon
// nothing is replicated, so it is never all well.
func healthOfLedger(s status.Status) control.HealthResponse {
	code, line := status.Health(s)
	if code == status.HealthOK {
		code, line = status.HealthWarning, "WARNING: no daemon runs; when it stopped: "+line
	} else {
		line += " (no daemon runs; told from the ledger)"
	}
	return control.HealthResponse{Code: code, Line: line}
}
