package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"antipode/daemon/config"
	"antipode/daemon/control"
	"antipode/daemon/status"
	"antipode/transport/peer"
)

func (a *app) checkCommand() *cobra.Command {
	var deep bool
	cmd := &cobra.Command{
		Use: "check", Short: "Check the configuration and what it names: keys, peers, datasets, tools", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r := control.CheckResponse{Findings: a.check(cmd.Context(), deep)}
			if err := a.show(cmd, r, func(p *printer) { p.findings(r.Findings) }); err != nil {
				return err
			}
			if slices.ContainsFunc(r.Findings, func(f control.Finding) bool { return f.Severity == control.Fatal }) {
				return exitError{exitFail}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&deep, "deep", false, "tell also what the policies lead to: how many snapshots, how much the first copies send, a week without a target")
	return a.jsonFlag(cmd)
}

// check looks at the files by itself, and has the daemon look at the rest: only
// it has the peers' connections and the right to look at the datasets.
func (a *app) check(ctx context.Context, deep bool) []control.Finding {
	c, err := config.Load(a.configPath)
	found := fileFindings(a.configPath, c, err)
	if err == nil {
		found = append(found, keyFinding(c.StateDir))
	}
	switch {
	case err == nil || a.socketPath != "":
		found = append(found, a.daemonFindings(ctx, deep)...)
	default:
		found = append(found, control.Finding{
			Severity: control.Warning, Object: "daemon", What: "not asked: the socket is in the file that cannot be read",
			Cure: "mend the file, or name the socket with --socket",
		})
	}
	slices.SortStableFunc(found, func(a, b control.Finding) int {
		return cmp.Compare(rank(a.Severity), rank(b.Severity))
	})
	return found
}

func rank(s control.Severity) int {
	return slices.Index([]control.Severity{control.Fatal, control.Warning, control.Good}, s)
}

func fileFindings(path string, c *config.Config, err error) (found []control.Finding) {
	if many, ok := errors.AsType[*config.Error](err); ok {
		for _, p := range many.Problems {
			found = append(found, control.Finding{Severity: control.Fatal, Object: place(p), What: p.Text, Cure: "edit the file; a running daemon goes on with what it read before"})
		}
		return found
	}
	if err != nil {
		return []control.Finding{{Severity: control.Fatal, Object: path, What: err.Error(), Cure: "write one, beginning with config.example.toml, or name another with --config"}}
	}
	for _, p := range c.Warnings {
		found = append(found, control.Finding{Severity: control.Warning, Object: place(p), What: p.Text})
	}
	return append(found, control.Finding{
		Severity: control.Good, Object: path,
		What: fmt.Sprintf("node %s: %s, %s, %s", c.Node, status.Count(len(c.Peers), "peer"), status.Count(len(c.Jobs), "job"), status.Count(len(c.Accepts), "accept")),
	})
}

func place(p config.Problem) string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

func keyFinding(stateDir string) control.Finding {
	id, err := peer.Load(stateDir)
	switch {
	case err == nil:
		return control.Finding{Severity: control.Good, Object: "key of this node", What: id.Fingerprint().String()}
	case isMissing(err):
		return control.Finding{
			Severity: control.Warning, Object: "key of this node", What: "none yet in " + stateDir,
			Cure: "the daemon and `antipode identity` make one",
		}
	}
	return control.Finding{Severity: control.Fatal, Object: "key of this node", What: err.Error(), Cure: "put the key back from a backup, 0600 and owned by the daemon's user; a new key has to be pinned by every peer"}
}

func (a *app) daemonFindings(ctx context.Context, deep bool) []control.Finding {
	r, err := call[control.CheckRequest, control.CheckResponse](ctx, a, control.Check, control.CheckRequest{Deep: deep})
	switch {
	case isDown(err):
		return []control.Finding{{
			Severity: control.Warning, Object: "daemon",
			What: "none runs, so these were not checked: peers (reachability, key, version, clock, what they accept), datasets, tools",
			Cure: "start it with `antipode daemon` and check again",
		}}
	case err != nil:
		e := control.ErrorOf(err)
		return []control.Finding{{Severity: control.Fatal, Object: "daemon", What: e.Text, Cure: e.Next}}
	}
	return r.Findings
}

func (p *printer) findings(found []control.Finding) {
	count := map[control.Severity]int{}
	for _, f := range found {
		count[f.Severity]++
		p.line(0, "%-8s %s", f.Severity, f.Object)
		p.line(9, "%s", f.What)
		if f.Cure != "" {
			p.line(9, "cure: %s", f.Cure)
		}
	}
	p.line(0, "fatal: %d, warnings: %d, ok: %d", count[control.Fatal], count[control.Warning], count[control.Good])
}
