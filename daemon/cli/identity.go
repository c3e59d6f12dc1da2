package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"antipode/daemon/control"
	"antipode/daemon/status"
	"antipode/transport/peer"
	"antipode/transport/wire"
)

func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }

func (a *app) identityCommand() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "identity", Short: "Print this node's key, which its peers pin; made now if there is none. Needs no daemon",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.place()
			if err != nil {
				return err
			}
			id, err := peer.LoadOrCreate(c.StateDir)
			if err != nil {
				return fmt.Errorf("read the key of this node: %w", err)
			}
			r := control.IdentityResponse{Node: c.Node, Key: id.Fingerprint().String(), Address: c.Listen.Advertise}
			return a.show(cmd, r, func(p *printer) { p.line(0, "%s", r.Key) })
		},
	})
}

func (a *app) pairCommand() *cobra.Command {
	var reverse bool
	cmd := a.jsonFlag(&cobra.Command{
		Use:   "pair [TOKEN|-]",
		Short: "Pair two nodes: without TOKEN print one for the other side, with it accept the other side's",
		Long: "Pair two nodes, so that each has the other's key pinned. On one node `antipode pair` prints a token that\n" +
			"serves once and for a few minutes; on the other `antipode pair TOKEN` accepts it. The token is a secret\n" +
			"until then; with - it is read from standard input, where no other user of the machine sees it.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return a.issueToken(cmd)
			}
			token, err := readToken(args[0], cmd.InOrStdin())
			if err != nil {
				return err
			}
			return a.acceptToken(cmd, control.PairAcceptRequest{Token: token, Reverse: reverse})
		},
	})
	cmd.Flags().BoolVar(&reverse, "reverse", false, "the other node cannot dial this one: keep connections open to it, for it to call on")
	return cmd
}

// issueToken prints the token alone to standard output, for a script, and what
// to do with it to standard error.
func (a *app) issueToken(cmd *cobra.Command) error {
	r, err := call[control.Nothing, control.PairResponse](cmd.Context(), a, control.Pair, control.Nothing{})
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "On the other node, within %s and once:  antipode pair TOKEN\n", status.Duration(max(0, r.Expires.Sub(a.now()))))
	return a.show(cmd, r, func(p *printer) { p.line(0, "%s", r.Token) })
}

func (a *app) acceptToken(cmd *cobra.Command, q control.PairAcceptRequest) error {
	r, err := call[control.PairAcceptRequest, control.PairAcceptResponse](cmd.Context(), a, control.PairAccept, q)
	if err != nil {
		return err
	}
	return a.show(cmd, r, func(p *printer) {
		p.line(0, "paired with %s at %s", r.Peer, r.Address)
		p.line(0, "its key %s is pinned in %s", r.Key, r.File)
		p.line(0, "next: name %s in replicate_to of a [[job]], or in from of an [[accept]]", r.Peer)
	})
}

// maxToken bounds what is read of standard input.
const maxToken = 4096

func readToken(arg string, in io.Reader) (string, error) {
	if arg != "-" {
		return arg, nil
	}
	line, err := bufio.NewReader(io.LimitReader(in, maxToken)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read token: %w", err)
	}
	if line = strings.TrimSpace(line); line == "" {
		return "", usageError{errors.New("standard input holds no token")}
	}
	return line, nil
}

func (a *app) reloadCommand() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "reload", Short: "Have the daemon read its configuration again; a bad one is refused whole", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := call[control.Nothing, control.ReloadResponse](cmd.Context(), a, control.Reload, control.Nothing{})
			if err != nil {
				return err
			}
			return a.show(cmd, r, func(p *printer) {
				if len(r.Changes) == 0 {
					p.line(0, "nothing changed")
				}
				for _, c := range r.Changes {
					p.line(0, "%s", c)
				}
			})
		},
	})
}

// versions is what `version` prints.
type versions struct {
	control.VersionResponse
	Daemon *control.VersionResponse `json:"daemon"` // nil: none runs
}

func (a *app) versionCommand() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "version", Short: "Print the release of this program, and of the daemon if one runs", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v := versions{VersionResponse: control.VersionResponse{Version: Version(), Protocol: wire.Version}}
			// No daemon, or no configuration to find it by, is no reason to fail.
			if d, err := call[control.Nothing, control.VersionResponse](cmd.Context(), a, control.Version, control.Nothing{}); err == nil {
				v.Daemon = &d
			}
			return a.show(cmd, v, func(p *printer) {
				p.line(0, "antipode %s, protocol %d", v.Version, v.Protocol)
				if v.Daemon != nil && *v.Daemon != v.VersionResponse {
					p.line(0, "the running daemon is %s, protocol %d; restart it", v.Daemon.Version, v.Daemon.Protocol)
				}
			})
		},
	})
}
