package cli

import (
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"antipode/daemon/control"
	"antipode/daemon/policy"
	"antipode/daemon/prune"
	"antipode/daemon/status"
)

// The prune verb with the values that the daemon's retention decides on.
type (
	pruneRequest  = control.PruneRequest[prune.Verdict]
	pruneResponse = control.PruneResponse[prune.Verdict]
	prunePlan     = control.PrunePlan[prune.Verdict]
)

func (a *app) pruneCommand() *cobra.Command {
	var req pruneRequest
	var file string
	var all bool
	cmd := &cobra.Command{
		Use: "prune [JOB]", Short: "Apply retention now, show what it would destroy, or destroy what a plan says",
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: a.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				req.Job = args[0]
			}
			if req.Job != "" && req.From != "" {
				return usageError{fmt.Errorf("prune: --from takes the place of a job; leave one of %s and --from %s out", req.Job, req.From)}
			}
			if file != "" {
				if req.Job != "" || req.From != "" || req.DryRun {
					return usageError{fmt.Errorf("prune: --plan says all; leave out the job, --from and --dry-run")}
				}
				var err error
				if req.Plan, err = readPlan(cmd.InOrStdin(), file); err != nil {
					return err
				}
			}
			r, err := call[pruneRequest, pruneResponse](cmd.Context(), a, control.Prune, req)
			if err != nil {
				return err
			}
			if err := a.show(cmd, r, func(p *printer) { p.pruned(r, all) }); err != nil {
				return err
			}
			if slices.ContainsFunc(r.Runs, func(x control.PruneRun[prune.Verdict]) bool { return len(x.Errors) > 0 }) {
				return exitError{exitFail}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&req.From, "from", "", "what is accepted from this `PEER` instead of a job")
	cmd.Flags().BoolVar(&req.DryRun, "dry-run", false, "destroy nothing, show what would go and why")
	cmd.Flags().BoolVar(&req.ReleaseBrake, "release-brake", false, "although it is more than brake lets a run destroy, or a plan")
	cmd.Flags().StringVar(&file, "plan", "", "destroy at once exactly what this `FILE` (- is standard input) says, which `plan --json` or `prune --dry-run --json` printed")
	cmd.Flags().BoolVar(&all, "all", false, "name every snapshot that stays, and why")
	return a.jsonFlag(cmd)
}

// readPlan reads what `plan --json` or `prune --dry-run --json` printed, and keeps
// of it what is to be destroyed.
func readPlan(in io.Reader, file string) ([]prunePlan, error) {
	const form = "want what `antipode plan --json` or `antipode prune --dry-run --json` printed"
	var printed struct {
		Jobs []prunePlan `json:"jobs"`
		Runs []prunePlan `json:"runs"`
	}
	if err := readPrinted(in, file, &printed, form); err != nil {
		return nil, err
	}
	plans := append(printed.Jobs, printed.Runs...)
	if len(plans) == 0 {
		return nil, fmt.Errorf("the plan %s names no job; %s", file, form)
	}
	for i := range plans {
		for k := range plans[i].Prunes {
			plans[i].Prunes[k].Verdicts = prune.Doomed(plans[i].Prunes[k].Verdicts)
		}
	}
	return plans, nil
}

func (p *printer) pruned(r pruneResponse, all bool) {
	if len(r.Runs) == 0 {
		p.line(0, "There is no job and nothing accepted to prune.")
	}
	for _, x := range r.Runs {
		name := "JOB " + x.Job
		if x.From != "" {
			name = "ACCEPTED FROM " + x.From
		}
		if r.DryRun {
			p.line(0, "%s", name)
		} else {
			p.line(0, "%s: destroyed %s", name, status.Count(x.Destroyed, "snapshot"))
		}
		if x.Brake != "" {
			p.line(2, "STOPPED: %s", x.Brake)
		}
		for _, d := range x.Prunes {
			p.prune(d, all)
		}
		p.problems(2, x.Errors)
	}
	if r.DryRun {
		p.line(0, "")
		p.line(0, "This is a dry run: nothing was destroyed.")
	}
}

func (a *app) pinCommand() *cobra.Command {
	var req control.PinRequest
	var until string
	cmd := &cobra.Command{
		Use: "pin SNAPSHOT", Short: "Keep a snapshot, whatever the policy says: NAME in every dataset that has it, or DATASET@NAME",
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeSnapshots,
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Snapshot = args[0]
			if until != "" {
				at, err := parseTime(until, a.now(), 1)
				if err != nil {
					return usageError{fmt.Errorf("--until: %w", err)}
				}
				req.Until = at
			}
			return a.pinner(cmd, control.Pin, req)
		},
	}
	cmd.Flags().StringVar(&until, "until", "", "when the pin ends, by this host's clock, even by one that is ahead: 2026-12-31, 2026-12-31T18:00:00Z, or 30d from now; left out: when it is taken off")
	cmd.Flags().StringVar(&req.Why, "why", "", "the `REASON`, for whoever reads `antipode holds`")
	return a.jsonFlag(cmd)
}

func (a *app) unpinCommand() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "unpin SNAPSHOT", Short: "Take a pin off", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeSnapshots,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.pinner(cmd, control.Unpin, control.PinRequest{Snapshot: args[0]})
		},
	})
}

func (a *app) pinner(cmd *cobra.Command, verb control.Verb, req control.PinRequest) error {
	r, err := call[control.PinRequest, control.PinResponse](cmd.Context(), a, verb, req)
	if err != nil {
		return err
	}
	err = a.show(cmd, r, func(p *printer) {
		for _, k := range r.Snapshots {
			state := "is not pinned"
			if k.Pin != nil {
				state = "is " + prune.Reason{Kind: prune.Pinned, Ref: k.Pin.Why, At: k.Pin.Until}.Text()
			}
			p.line(0, "%s@%s (%s) %s", k.Dataset, k.Snapshot, owner(k), state)
		}
		p.incomplete(r.Problems)
	})
	if err == nil && len(r.Problems) > 0 {
		err = exitError{exitFail}
	}
	return err
}

// incomplete tells what an answer to a name knows nothing of.
func (p *printer) incomplete(problems []control.Error) {
	if len(problems) > 0 {
		p.line(0, "There may be more of that name:")
		p.problems(2, problems)
	}
}

func owner(k control.Kept) string {
	if k.From != "" {
		return "from " + k.From
	}
	return "job " + k.Job
}

// parseTime reads a day, an instant, or a duration from now; sign is 1 for the
// future and -1 for the past.
func parseTime(s string, now time.Time, sign time.Duration) (time.Time, error) {
	if d, err := policy.ParseDuration(s); err == nil {
		return now.Add(sign * d), nil
	}
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04", time.DateOnly, time.DateTime} {
		if t, err := time.ParseInLocation(form, s, time.UTC); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf(`%q is no time; want for example "2026-12-31", "2026-12-31T18:00:00Z" or "30d"`, s)
}

func age(now, at time.Time) string {
	if at.IsZero() {
		return "-"
	}
	return status.Duration(now.Sub(at))
}
