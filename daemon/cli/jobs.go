package cli

import (
	"github.com/spf13/cobra"

	"antipode/daemon/control"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
)

func (a *app) triggerCommand() *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use: "trigger JOB", Short: "Run a job now", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := call[control.TriggerRequest, control.TriggerResponse](cmd.Context(), a, control.Trigger, control.TriggerRequest{Job: args[0], Wait: wait})
			if err != nil {
				return err
			}
			if err := a.show(cmd, r, func(p *printer) { p.triggered(r) }); err != nil {
				return err
			}
			if len(r.Errors) > 0 {
				return exitError{exitFail}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until the run has ended; interrupting the command ends the run")
	return a.jsonFlag(cmd)
}

func (p *printer) triggered(r control.TriggerResponse) {
	if r.Started.IsZero() {
		p.line(0, "job %s was started", r.Job)
		return
	}
	p.line(0, "job %s: snapshots made: %d, steps sent: %d, %s in %s", r.Job, r.Snapshots, r.Steps,
		status.Bytes(r.Bytes), status.Duration(r.Ended.Sub(r.Started)))
	p.problems(2, r.Errors)
}

// problems writes errors with their next steps.
func (p *printer) problems(indent int, errs []control.Error) {
	for _, e := range errs {
		what := e.Text
		if e.Object != "" {
			what = e.Object + ": " + what
		}
		p.line(indent, "! %s", what)
		if e.Next != "" {
			p.line(indent, "  next: %s", e.Next)
		}
	}
}

func (a *app) pauseCommand() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "pause JOB", Short: "Start no more runs of a job; what is on its way comes to its end", Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.completeJobs, RunE: a.pauser(control.Pause),
	})
}

func (a *app) unpauseCommand() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "unpause JOB", Short: "Let a paused job run again", Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.completeJobs, RunE: a.pauser(control.Unpause),
	})
}

func (a *app) pauser(verb control.Verb) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		r, err := call[control.JobRequest, control.PauseResponse](cmd.Context(), a, verb, control.JobRequest{Job: args[0]})
		if err != nil {
			return err
		}
		return a.show(cmd, r, func(p *printer) {
			state, already := "runs by its schedule", ""
			if r.Paused {
				state = "is paused"
			}
			if r.Paused == r.Before {
				already = ", as before"
			}
			p.line(0, "job %s %s%s", r.Job, state, already)
		})
	}
}

func (a *app) abortCommand() *cobra.Command {
	var req control.AbortRequest
	cmd := &cobra.Command{
		Use: "abort JOB [DATASET]", Short: "Give up what a job is sending, and what arrived of it", Args: cobra.RangeArgs(1, 2),
		ValidArgsFunction: a.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Job = args[0]
			if len(args) > 1 {
				path, err := dataset.ParsePath(args[1])
				if err != nil {
					return usageError{err}
				}
				req.Dataset = path
			}
			r, err := call[control.AbortRequest, control.AbortResponse](cmd.Context(), a, control.Abort, req)
			if err != nil {
				return err
			}
			return a.show(cmd, r, func(p *printer) { p.aborted(r) })
		},
	}
	cmd.Flags().StringVar(&req.Peer, "peer", "", "only what is on its way to this `PEER`")
	return a.jsonFlag(cmd)
}

func (p *printer) aborted(r control.AbortResponse) {
	if len(r.Aborted) == 0 {
		p.line(0, "nothing was on its way")
	}
	for _, x := range r.Aborted {
		p.line(0, "gave up %s to %s, %s had arrived", x.Dataset, x.Peer, status.Bytes(x.Bytes))
	}
}
