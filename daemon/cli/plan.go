package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"antipode/daemon/control"
	"antipode/daemon/plan"
	"antipode/daemon/prune"
	"antipode/daemon/status"
)

// The preview with the values that the daemon's stages decide on.
type (
	preview      = control.Preview[plan.Plan, prune.Verdict]
	jobPreview   = control.JobPreview[plan.Plan, prune.Verdict]
	sendPreview  = control.SendPreview[plan.Plan]
	prunePreview = control.PrunePreview[prune.Verdict]
)

func (a *app) planCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "plan [JOB]", Short: "Show what the next run would snapshot, send, receive and destroy, and why; writes nothing",
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: a.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			job := strings.Join(args, "")
			r, err := call[control.PlanRequest, preview](cmd.Context(), a, control.Plan, control.PlanRequest{Job: job})
			if err != nil {
				return err
			}
			return a.show(cmd, r, func(p *printer) { p.preview(r, all) })
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "name every snapshot that stays, and why")
	return a.jsonFlag(cmd)
}

func (p *printer) preview(r preview, all bool) {
	if len(r.Jobs) == 0 {
		p.line(0, "There is no job to plan.")
	}
	for i, j := range r.Jobs {
		if i > 0 {
			p.line(0, "")
		}
		p.jobPreview(r.Now, j, all)
	}
	p.line(0, "")
	p.line(0, "This is a preview: nothing was written.")
}

func (p *printer) jobPreview(now time.Time, j jobPreview, all bool) {
	p.line(0, "JOB %s  %s", j.Job, when(now, j))
	p.problems(2, j.Problems)
	p.heading(len(j.Snapshots), "snapshot", "no snapshot would be made")
	var rows [][]string
	for _, s := range j.Snapshots {
		rows = append(rows, []string{string(s.Dataset), cmp.Or(s.Name, "none"), s.Why})
	}
	if len(rows) > 0 {
		p.columns(4, rows...)
	}
	none := "nothing would be sent"
	if len(j.Problems) > 0 {
		none = "what would be sent is not known"
	}
	p.heading(len(j.Sends), "send"+whenSent(now, j), none)
	for _, s := range j.Sends {
		p.send(s)
	}
	p.heading(len(j.Prunes), "destroy here", "nothing would be destroyed here")
	if j.Brake != "" {
		p.line(4, "STOPPED: %s", j.Brake)
	}
	for _, x := range j.Prunes {
		p.prune(x, all)
	}
}

func when(now time.Time, j jobPreview) string {
	switch {
	case j.Paused:
		return "paused; would run when unpaused"
	case j.Next.IsZero():
		return "runs when triggered"
	case !j.Next.After(now):
		return "runs now"
	}
	return fmt.Sprintf("runs in %s, at %s", status.Duration(j.Next.Sub(now)), stamp(j.Next))
}

// whenSent tells the time where that is not the run's.
func whenSent(now time.Time, j jobPreview) string {
	if j.NextReplication.IsZero() {
		return ""
	}
	what := "with what is made until then"
	if j.NextReplication.Before(j.Next) {
		what = "which is before the run"
	}
	return fmt.Sprintf(" in %s, at %s, %s", status.Duration(j.NextReplication.Sub(now)), stamp(j.NextReplication), what)
}

func (p *printer) heading(n int, some, none string) {
	if n == 0 {
		some = none
	}
	p.line(2, "%s", some)
}

func (p *printer) send(s sendPreview) {
	switch {
	case s.Conflict != nil:
		p.line(4, "%s to %s: CONFLICT, nothing would be sent", s.Dataset, s.Peer)
		p.problems(6, []control.Error{*s.Conflict})
	case s.Plan == nil:
		p.line(4, "%s to %s: not known", s.Dataset, s.Peer)
	default:
		p.line(4, "%s to %s: %s", s.Dataset, s.Peer, s.Plan.Why)
		p.steps(*s.Plan, s.Estimates)
	}
	for _, f := range s.Far {
		p.line(6, "there: %s", f)
	}
}

func (p *printer) steps(x plan.Plan, estimates []control.Estimate) {
	var rows [][]string
	for i, s := range x.Steps {
		e := control.Estimate{Kind: control.Unknown}
		if i < len(estimates) {
			e = estimates[i]
		}
		kind := "incremental"
		if s.IsFull() {
			kind = "full"
		}
		rows = append(rows, []string{kind, s.To.Name, size(e), s.Why})
	}
	if len(rows) > 0 {
		p.columns(6, rows...)
	}
	if !x.Resume.IsZero() {
		p.line(6, "goes on from %s that arrived already", status.Bytes(x.Resume.Done))
	}
	if x.Dropped != nil {
		p.line(6, "gives up %s that arrived already: %s", status.Bytes(x.Dropped.Checkpoint.Done), x.Dropped.Why)
	}
}

func size(e control.Estimate) string {
	switch e.Kind {
	case control.About:
		return "about " + status.Bytes(e.Bytes)
	case control.InUse:
		return "a share of " + status.Bytes(e.Bytes) + " in use"
	}
	return "size unknown"
}

func (p *printer) prune(x prunePreview, all bool) {
	doomed := 0
	for _, v := range x.Verdicts {
		if v.Destroy {
			doomed++
		}
	}
	frees := ""
	if doomed > 0 && x.Frees.Kind != control.Unknown && x.Frees.Kind != "" {
		frees = ", which frees " + size(x.Frees)
	}
	p.line(4, "%s: %d of %d snapshots go%s%s", x.Dataset, doomed, len(x.Verdicts), frees, stays(x.Verdicts))
	var rows [][]string
	for _, v := range x.Verdicts {
		if v.Destroy || all {
			fate := "keep"
			switch {
			case v.Bookmark:
				fate = "bookmark"
			case v.Destroy:
				fate = "destroy"
			}
			rows = append(rows, []string{fate, v.Snapshot.Name, reasons(v)})
		}
	}
	if len(rows) > 0 {
		p.columns(6, rows...)
	}
}

func reasons(v prune.Verdict) string {
	var texts []string
	for _, r := range v.Reasons {
		texts = append(texts, r.Text())
	}
	return strings.Join(texts, "; ")
}

// stays counts what keeps the others; a snapshot with several reasons counts in
// each.
func stays(verdicts []prune.Verdict) string {
	count := map[prune.Kind]int{}
	for _, v := range verdicts {
		for _, r := range v.Reasons {
			if !v.Destroy {
				count[r.Kind]++
			}
		}
	}
	var parts []string
	for k, n := range count {
		parts = append(parts, fmt.Sprintf("%s %d", k, n))
	}
	if len(parts) == 0 {
		return ""
	}
	slices.SortFunc(parts, func(a, b string) int { return cmp.Compare(a, b) })
	return "; kept by " + strings.Join(parts, ", ")
}
