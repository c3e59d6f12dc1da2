package cli

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"antipode/daemon/control"
	"antipode/daemon/ledger"
	"antipode/daemon/prune"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
)

// explainResponse is the explain verb with the values of the daemon's retention.
type explainResponse = control.ExplainResponse[prune.Verdict]

func (a *app) explainCommand() *cobra.Command {
	return a.jsonFlag(&cobra.Command{
		Use: "explain SNAPSHOT", Short: "Tell which rule keeps a snapshot, until when, who holds it, and which targets have it; or when and why it was destroyed",
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeSnapshots,
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := call[control.ExplainRequest, explainResponse](cmd.Context(), a, control.Explain, control.ExplainRequest{Snapshot: args[0]})
			if err != nil {
				return err
			}
			return a.show(cmd, r, func(p *printer) { p.explained(r) })
		},
	})
}

func (p *printer) explained(r explainResponse) {
	for i, g := range r.Gone {
		if i > 0 {
			p.line(0, "")
		}
		p.line(0, "%s@%s  (%s)", g.Dataset, g.Snapshot, owner(g.Kept))
		p.line(2, "was destroyed %s, %s ago: %s", stamp(g.At), age(r.Now, g.At), g.Why)
	}
	if len(r.Gone) > 0 && len(r.Snapshots) > 0 {
		p.line(0, "")
	}
	for i, e := range r.Snapshots {
		if i > 0 {
			p.line(0, "")
		}
		p.line(0, "%s@%s  (%s)", e.Dataset, e.Snapshot, owner(e.Kept))
		fate := "stays: "
		if e.Verdict.Destroy {
			fate = "goes with the next run: "
		}
		p.line(2, "%s%s", fate, reasons(e.Verdict))
		if e.Brake != "" {
			p.line(2, "but %s", e.Brake)
		}
		switch {
		case e.Verdict.Destroy:
		case e.Open != "":
			p.line(2, "until when cannot be told: %s", e.Open)
		case !e.Until.IsZero():
			p.line(2, "until %s, in %s, if everything runs on as configured", stamp(e.Until), status.Duration(e.Until.Sub(r.Now)))
		}
		for _, h := range e.Holds {
			p.line(2, "%s %s, since %s: %s", h.Owner, tagOf(h), age(r.Now, h.Since), h.Why)
		}
		for _, t := range e.Targets {
			why := ""
			if t.Why != "" {
				why = ": " + t.Why
			}
			p.line(2, "%s: %s%s%s", t.Peer, t.State, why, pulled(t))
		}
	}
	if len(r.Problems) > 0 {
		p.line(0, "")
	}
	p.incomplete(r.Problems)
}

// pulled says that the target is who says when the job sends.
func pulled(t control.Presence) string {
	switch {
	case !t.Pulls:
		return ""
	case t.When == "":
		return "; pulled by " + t.Peer + ", not yet"
	}
	return "; pulled by " + t.Peer + ", " + status.Printable(t.When)
}

func (a *app) holdsCommand() *cobra.Command {
	var req control.HoldsRequest
	cmd := &cobra.Command{
		Use: "holds", Short: "List what keeps snapshots: the daemon's holds, pins, and the holds of others", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := call[control.HoldsRequest, control.HoldsResponse](cmd.Context(), a, control.Holds, req)
			if err != nil {
				return err
			}
			return a.show(cmd, r, func(p *printer) { p.holds(req, r) })
		},
	}
	cmd.Flags().StringVar(&req.Release, "release", "", "take this `TAG` off everywhere; only one of a job or a target that left the configuration")
	return a.jsonFlag(cmd)
}

func (p *printer) holds(req control.HoldsRequest, r control.HoldsResponse) {
	if req.Release != "" {
		p.line(0, "released %s on %s", req.Release, status.Count(r.Released, "dataset"))
	}
	rows := [][]string{{"SNAPSHOT", "OF", "WHOSE", "TAG", "AGE", "WHY"}}
	for _, h := range r.Holds {
		rows = append(rows, []string{string(h.Dataset) + "@" + h.Snapshot, owner(h.Kept), string(h.Owner), tagOf(h), age(r.Now, h.Since), h.Why})
	}
	if len(rows) == 1 {
		p.line(0, "Nothing is held.")
	} else {
		p.columns(0, rows...)
	}
	p.problems(0, r.Problems)
}

func tagOf(h control.HoldLine) string {
	if h.Tag == "" {
		return "pin"
	}
	return h.Tag
}

func (a *app) abandonCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "abandon JOB DATASET PEER", Short: "Give up the common base with a target that stays away; it costs a full copy when the target is back",
		Args: cobra.ExactArgs(3), ValidArgsFunction: a.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := dataset.ParsePath(args[1])
			if err != nil {
				return usageError{err}
			}
			req := control.AbandonRequest{Job: args[0], Dataset: path, Peer: args[2], Preview: !yes}
			r, err := call[control.AbandonRequest, control.AbandonResponse](cmd.Context(), a, control.Abandon, req)
			if err != nil {
				return err
			}
			return a.show(cmd, r, func(p *printer) { p.abandoned(req, r) })
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do it; without this it is only shown what it costs")
	return a.jsonFlag(cmd)
}

func (p *printer) abandoned(req control.AbandonRequest, r control.AbandonResponse) {
	base := "no snapshot is held as the base"
	if r.Base != "" {
		base = fmt.Sprintf("%s, of %s, is held as the base", r.Base, stamp(r.BaseTime))
	}
	p.line(0, "%s to %s: %s", req.Dataset, req.Peer, base)
	takes := ""
	if r.Takes > 0 {
		takes = ", which takes " + status.Duration(r.Takes) + " at the configured rate"
	}
	p.line(2, "without it a full copy is needed once retention has destroyed it: %s%s", size(r.FullCopy), takes)
	if req.Preview {
		p.line(2, "nothing was changed; add --yes to give it up")
		return
	}
	p.line(2, "it is given up: retention may destroy it, and until then increments are still possible")
}

func (a *app) historyCommand() *cobra.Command {
	q := ledger.Query{}
	var path, kind, since, until string
	cmd := &cobra.Command{
		Use: "history", Short: "Show what happened: runs, steps, destructions, events, alerts; newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			q.Kind, err = ledger.ParseEntryKind(kind)
			if path != "" && err == nil {
				q.Dataset, err = dataset.ParsePath(cmp.Or(strings.TrimRight(path, "/"), "/"))
			}
			if q.Limit < 0 && err == nil {
				err = fmt.Errorf("--limit %d is below zero", q.Limit)
			}
			if since != "" && err == nil {
				q.Since, err = parseTime(since, a.now(), -1)
			}
			if until != "" && err == nil {
				q.Until, err = parseTime(until, a.now(), -1)
			}
			if err != nil {
				return usageError{fmt.Errorf("history: %w", err)}
			}
			r, err := a.history(cmd, q)
			if err != nil {
				return err
			}
			return a.show(cmd, r, func(p *printer) { p.history(q, r.Entries) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&q.Job, "job", "", "only of this `JOB`")
	f.StringVar(&path, "dataset", "", "only of this `DATASET`")
	f.StringVar(&kind, "kind", "", "only run, step, destruction, event or alert")
	f.StringVar(&since, "since", "", "not before: a time, or a duration such as 2d ago")
	f.StringVar(&until, "until", "", "only before: a time, or a duration ago")
	f.IntVar(&q.Limit, "limit", 100, "at most so many; 0 for all that is kept")
	return a.jsonFlag(cmd)
}

// history asks the daemon, or reads the ledger when there is none.
func (a *app) history(cmd *cobra.Command, q ledger.Query) (r control.HistoryResponse[ledger.Entry], err error) {
	r, err = call[ledger.Query, control.HistoryResponse[ledger.Entry]](cmd.Context(), a, control.History, q)
	if !isDown(err) {
		return r, err
	}
	c, placeErr := a.place()
	if placeErr != nil {
		return r, err
	}
	l, openErr := ledger.OpenReadOnly(ledger.Path(c.StateDir))
	switch {
	case errors.Is(openErr, os.ErrNotExist):
		return r, fmt.Errorf("no daemon has run yet: there is no ledger %s", ledger.Path(c.StateDir))
	case openErr != nil:
		return r, openErr
	}
	defer l.Close() //nolint:errcheck // it was read only
	r.Entries, err = l.History(q)
	return r, err
}

func (p *printer) history(q ledger.Query, entries []ledger.Entry) {
	if len(entries) == 0 {
		p.line(0, "%s", nothingOf(q))
	}
	var rows [][]string
	for _, e := range entries {
		what := e.Text
		if e.Run != nil && e.Run.Does == ledger.RunSnapshot {
			what += ", " + status.Count(e.Run.Snapshots, "snapshot")
		} else if e.Run != nil {
			what += ", " + status.Count(e.Run.Steps, "step")
		}
		if e.Run != nil && e.Run.Held > 0 {
			what += ", held for " + status.Duration(e.Run.Held)
		}
		if e.Bytes > 0 {
			what += ", " + status.Bytes(e.Bytes)
		}
		if e.Took > 0 {
			what += ", " + status.Duration(e.Took)
		}
		if e.Error != "" {
			what += "; FAILED: " + e.Error
		}
		object := cmp.Or(string(e.Dataset), e.Object)
		if e.Snapshot != "" {
			object += "@" + e.Snapshot
		}
		if e.Peer != "" {
			object += " " + e.Peer
		}
		rows = append(rows, []string{stamp(e.At), string(e.Kind), e.Job, object, what})
	}
	if len(rows) > 0 {
		p.columns(0, rows...)
	}
}

// nothingOf says what was asked for in vain: a name may be misspelt.
func nothingOf(q ledger.Query) string {
	what, of := "Nothing", ""
	if q.Kind != "" {
		what = "No " + string(q.Kind)
	}
	if q.Dataset != "" {
		of = " of dataset " + string(q.Dataset)
	}
	if q.Job != "" {
		of += " of job " + q.Job
	}
	if !q.Since.IsZero() || !q.Until.IsZero() {
		of += " in that time"
	}
	return what + of + " is remembered."
}
