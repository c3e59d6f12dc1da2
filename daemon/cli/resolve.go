package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"antipode/daemon/control"
	"antipode/daemon/cure"
	"antipode/fsdrivers/dataset"
)

func (a *app) resolveCommand() *cobra.Command {
	var req control.ResolveRequest
	var yes bool
	cmd := &cobra.Command{
		Use: "resolve DATASET", Short: "Tell of a dataset's conflicts and the ways out, or take one of them",
		Long: "Tell of a dataset's conflicts and the ways out, or take one of them. Nothing is done without --yes.\n\n" +
			"  first-copy  on the source: send one although the job says initial = \"fail\"; it goes on by itself, also after a\n" +
			"              restart, until it is there or is given up (abort, abandon)\n" +
			"  give-way    on either side: take the other side for the primary; nothing is destroyed\n" +
			"  drop-newer  on the target: destroy the points after the one that --after names\n" +
			"  set-aside   on the target: keep the replica under another name, and let a first copy come",
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeDatasets(0),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if req.Dataset, err = dataset.ParsePath(args[0]); err != nil {
				return usageError{err}
			}
			if req.With == "" && yes {
				return usageError{fmt.Errorf("resolve: --yes means nothing without --with")}
			}
			req.Preview = !yes
			r, err := call[control.ResolveRequest, control.ResolveResponse](cmd.Context(), a, control.Resolve, req)
			if err != nil {
				return err
			}
			if err := a.show(cmd, r, func(p *printer) { p.resolved(req, r) }); err != nil {
				return err
			}
			if len(r.Conflicts) > 0 {
				return exitError{exitFail}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&req.With, "with", "", "the `CURE`")
	f.StringVar(&req.Peer, "peer", "", "the target `PEER`, where the dataset is sent to several")
	f.StringVar(&req.From, "from", "", "the replica of this `PEER`'s dataset, where several send one of that name")
	f.StringVar(&req.After, "after", "", "the newest `POINT` that stays, for drop-newer")
	f.BoolVar(&yes, "yes", false, "do it; without this it is only shown what would be done")
	a.completeFlag(cmd, "after")
	_ = cmd.RegisterFlagCompletionFunc("with", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var names []string
		for _, c := range cure.All {
			names = append(names, string(c))
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}) // only of a flag that is not there
	return a.jsonFlag(cmd)
}

func (p *printer) resolved(req control.ResolveRequest, r control.ResolveResponse) {
	if req.With == "" && len(r.Conflicts) == 0 {
		p.line(0, "%s has no conflict that this node sees.", req.Dataset)
	}
	for _, c := range r.Conflicts {
		what := "the replica of " + c.Peer
		if c.Job != "" {
			what = "job " + c.Job + " to " + c.Peer
		}
		p.line(0, "%s, %s", req.Dataset, what)
		p.problems(2, []control.Error{c.Conflict})
	}
	if len(r.Does) > 0 {
		p.line(0, "%s, %s", req.Dataset, req.With)
	}
	for _, s := range r.Does {
		p.line(2, "%s", s)
	}
	switch {
	case len(r.Does) == 0:
	case req.Preview:
		p.line(0, "nothing was changed; add --yes to do it")
	default:
		p.line(0, "it is done")
	}
}
