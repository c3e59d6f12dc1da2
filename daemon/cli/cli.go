// Package cli is the command line: sub-commands, flags, text and JSON, exit
// codes. It asks the daemon through its control socket, and by itself it reads
// only the configuration, the node's key and the ledger. It knows no drivers and
// no transport beyond the key.
//
// cobra, and not kong: its completion for four shells knows the names of jobs at
// run time, it writes through the command's own writers, so that a test needs
// no process, and whoever operates kubectl, docker or gh knows its habits.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"antipode/daemon/config"
	"antipode/daemon/control"
)

// Exit codes of every command but health, whose codes are status.Health's.
const (
	exitOK    = 0
	exitFail  = 1
	exitUsage = 2
)

// app is what the commands share: the flags of all and the clock.
type app struct {
	configPath string
	socketPath string
	json       bool
	now        func() time.Time
}

// Run executes one command line and returns its exit code. Standard streams
// come from the caller; a terminal among them is recognised.
func Run(ctx context.Context, args []string, in io.Reader, out, errOut io.Writer) int {
	root := newRoot(&app{now: time.Now})
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	return exitCode(root.ExecuteContext(ctx), errOut)
}

func newRoot(a *app) *cobra.Command {
	root := &cobra.Command{
		Use:   "antipode",
		Short: "Replicate ZFS datasets and Btrfs subvolumes to the far side of the world",
		Args:  noCommand,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		// Errors are told once, by exitCode, and never with a page of flags.
		SilenceErrors:              true,
		SilenceUsage:               true,
		SuggestionsMinimumDistance: 2,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.configPath, "config", config.DefaultPath, "the configuration `FILE`")
	flags.StringVar(&a.socketPath, "socket", "", "the daemon's control `SOCKET` (default: what the configuration says)")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(commands(a)...)
	return root
}

func commands(a *app) []*cobra.Command {
	all := []*cobra.Command{
		a.daemonCommand(), a.checkCommand(), a.planCommand(), a.triggerCommand(), a.pauseCommand(), a.unpauseCommand(),
		a.abortCommand(), a.statusCommand(), a.healthCommand(), a.identityCommand(), a.pairCommand(),
		a.promoteCommand(), a.sendCommand(), a.resolveCommand(), a.pruneCommand(), a.pinCommand(), a.unpinCommand(), a.explainCommand(), a.holdsCommand(),
		a.abandonCommand(), a.rateCommand(), a.historyCommand(), a.reloadCommand(), a.versionCommand(),
	}
	for _, c := range all {
		if c.Args != nil {
			args := c.Args
			c.Args = func(cmd *cobra.Command, given []string) error {
				if err := args(cmd, given); err != nil {
					return usageError{fmt.Errorf("%s: %w; usage: %s", cmd.Name(), err, cmd.UseLine())}
				}
				return nil
			}
		}
	}
	return all
}

// noCommand says what an unknown sub-command may have meant.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unknown command %q", args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		err = fmt.Errorf("%w; did you mean %s?", err, strings.Join(near, " or "))
	}
	return usageError{err}
}

// usageError is a command line that makes no sense.
type usageError struct{ error }

// Unwrap returns what was wrong.
func (e usageError) Unwrap() error { return e.error }

// exitError ends the command with a code; its text, if any, was printed already.
type exitError struct{ code int }

// Error is for a caller that forgot to look for the code.
func (e exitError) Error() string { return fmt.Sprintf("exit code %d", e.code) }

func exitCode(err error, errOut io.Writer) int {
	if err == nil {
		return exitOK
	}
	if e, ok := errors.AsType[exitError](err); ok {
		return e.code
	}
	fmt.Fprintln(errOut, "antipode: "+strings.ReplaceAll(err.Error(), "\n", "\nantipode: "))
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if e, ok := errors.AsType[*control.Error](err); ok && e.Kind == control.KindUsage {
		return exitUsage
	}
	return exitFail
}

// Version is the release that this program was built from, as Go stamped it.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}

// place is where the daemon and its key are, whatever else the file says.
func (a *app) place() (config.Place, error) { return config.Locate(a.configPath) }

func (a *app) socket() (string, error) {
	if a.socketPath != "" {
		return a.socketPath, nil
	}
	p, err := a.place()
	if err != nil {
		return "", fmt.Errorf("%w\nthe control socket is not known; name it with --socket", err)
	}
	return p.SocketPath, nil
}

// call asks the daemon.
func call[Req, Resp any](ctx context.Context, a *app, verb control.Verb, req Req) (resp Resp, err error) {
	socket, err := a.socket()
	if err != nil {
		return resp, err
	}
	return control.Call[Req, Resp](ctx, socket, verb, req)
}

// isDown reports whether there is no daemon to ask.
func isDown(err error) bool {
	e, ok := errors.AsType[*control.Error](err)
	return ok && e.Kind == control.KindDown
}
