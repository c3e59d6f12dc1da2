package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"antipode/daemon/control"
	"antipode/daemon/plan"
	"antipode/daemon/status"
)

// The send verb with the values that planning decides on.
type (
	sendRequest = control.SendRequest[plan.Plan]
	sendPlan    = control.SendPlan[plan.Plan]
)

func (a *app) sendCommand() *cobra.Command {
	var file string
	cmd := &cobra.Command{
		Use: "send --plan FILE", Short: "Send exactly what a plan says, as far as it still fits", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if file == "" {
				return usageError{fmt.Errorf("send: --plan is missing; to send what is new, `antipode trigger JOB`")}
			}
			plans, err := readSends(cmd.InOrStdin(), file)
			if err != nil {
				return err
			}
			r, err := call[sendRequest, control.SendResponse](cmd.Context(), a, control.Send, sendRequest{Plan: plans})
			if err != nil {
				return err
			}
			if err := a.show(cmd, r, func(p *printer) { p.sent(r) }); err != nil {
				return err
			}
			if slices.ContainsFunc(r.Sends, func(s control.Sent) bool { return s.Error != nil }) {
				return exitError{exitFail}
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "plan", "", "what this `FILE` (- is standard input) says, which `plan --json` printed")
	return a.jsonFlag(cmd)
}

// readSends reads what `plan --json` printed, and keeps of it what is to be sent.
func readSends(in io.Reader, file string) ([]sendPlan, error) {
	const form = "want what `antipode plan --json` printed"
	var printed struct {
		Jobs []sendPlan `json:"jobs"`
	}
	if err := readPrinted(in, file, &printed, form); err != nil {
		return nil, err
	}
	if len(printed.Jobs) == 0 {
		return nil, fmt.Errorf("the plan %s names no job; %s", file, form)
	}
	return printed.Jobs, nil
}

// maxPlanBytes bounds a plan that is read.
const maxPlanBytes = control.MaxResponseBytes

// readPrinted reads JSON that was printed before; "-" is in.
func readPrinted(in io.Reader, file string, into any, form string) error {
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return fmt.Errorf("read the plan: %w", err)
		}
		defer f.Close()
		in = f
	}
	if err := json.NewDecoder(io.LimitReader(in, maxPlanBytes)).Decode(into); err != nil {
		return fmt.Errorf("read the plan %s: %w; %s", file, err, form)
	}
	return nil
}

func (p *printer) sent(r control.SendResponse) {
	if len(r.Sends) == 0 {
		p.line(0, "The plan has nothing to send.")
	}
	for _, s := range r.Sends {
		p.line(0, "%s to %s (job %s): sent %d steps, %s", s.Dataset, s.Peer, s.Job, s.Steps, status.Bytes(s.Bytes))
		if len(s.Unmade) > 0 {
			p.line(2, "not sent, because it was not made yet when the plan was (`antipode trigger %s` makes one and sends it): %s", s.Job, strings.Join(s.Unmade, ", "))
		}
		if s.Error != nil {
			p.problems(2, []control.Error{*s.Error})
		}
	}
}
