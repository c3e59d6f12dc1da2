package cli

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"antipode/daemon/control"
	"antipode/daemon/policy"
	"antipode/daemon/status"
)

func (a *app) rateCommand() *cobra.Command {
	var lasts rateEnd
	var clearing bool
	cmd := &cobra.Command{
		Use:   "rate [JOB] [RATE]",
		Short: "Show the rate limits, or set one now, of the host or of a job",
		Long: "Show the rate limits, or set one now: of the host, or of a job. RATE is for example 200Mbit/s, 25MB/s or unlimited.\n" +
			"A rate that was set stands before the configuration's, and outlives a reload and a restart, until it ends or is cleared.",
		Args: cobra.MaximumNArgs(2), ValidArgsFunction: a.completeJobs,
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := rateRequest(args, clearing)
			if err == nil {
				req.Until, err = lasts.until(a.now(), req.Rate != nil)
			}
			if err != nil {
				return usageError{err}
			}
			r, err := call[control.RateRequest, control.RateResponse](cmd.Context(), a, control.Rate, req)
			if err != nil {
				return err
			}
			return a.show(cmd, r, func(p *printer) { p.rates(r) })
		},
	}
	cmd.Flags().StringVar(&lasts.after, "for", "", "how `LONG` the rate holds, such as 2h")
	cmd.Flags().StringVar(&lasts.at, "until", "", "when it ends: a `TIME` such as 18:00 by this machine's clock, or 2026-11-27T18:00:00Z")
	cmd.Flags().BoolVar(&clearing, "clear", false, "go back to what the configuration says")
	return a.jsonFlag(cmd)
}

// rateRequest reads [JOB] [RATE]. One word is a rate, unless it can be none.
func rateRequest(args []string, clearing bool) (control.RateRequest, error) {
	r := control.RateRequest{Clear: clearing}
	var rate string
	switch {
	case clearing && len(args) > 1:
		return r, errors.New("--clear takes no rate")
	case clearing && len(args) == 1:
		r.Job = args[0]
	case len(args) == 2:
		r.Job, rate = args[0], args[1]
	case len(args) == 1:
		rate = args[0]
	}
	if rate == "" {
		return r, nil
	}
	limit, err := policy.ParseLimit(rate)
	if _, idErr := policy.ParseID(rate); err != nil && len(args) == 1 && idErr == nil && (rate[0] < '0' || rate[0] > '9') {
		r.Job = rate
		return r, nil
	}
	perSecond := int64(limit)
	r.Rate = &perSecond
	return r, err
}

// rateEnd is when a rate ends, as the flags say it.
type rateEnd struct{ after, at string }

// until is the instant; zero if the flags name none.
func (e rateEnd) until(now time.Time, isSet bool) (time.Time, error) {
	switch {
	case e == rateEnd{}:
		return time.Time{}, nil
	case !isSet:
		return time.Time{}, errors.New("--for and --until go with a rate")
	case e.after != "" && e.at != "":
		return time.Time{}, errors.New("--for and --until are two ends; keep one of them")
	case e.after != "":
		d, err := policy.ParseDuration(e.after)
		return now.Add(d), err
	}
	if t, err := time.Parse(time.RFC3339, e.at); err == nil {
		return t, nil
	}
	clock, err := policy.ParseClock(e.at)
	if err != nil {
		return time.Time{}, fmt.Errorf(`--until %q is no time; want for example "18:00" or "2026-11-27T18:00:00Z"`, e.at)
	}
	y, m, d := now.Date()
	t := time.Date(y, m, d, 0, int(clock), 0, 0, now.Location())
	if !t.After(now) {
		t = time.Date(y, m, d+1, 0, int(clock), 0, 0, now.Location())
	}
	return t, nil
}

func (p *printer) rates(r control.RateResponse) {
	var rows [][]string
	for _, b := range r.Budgets {
		name, file := "host", ""
		if b.Job != "" {
			name = "job " + b.Job
		}
		if b.ByCommand {
			file = "(the file says " + status.Limit{Rate: b.ByFile}.Text() + ")"
		}
		rows = append(rows, []string{name, b.Text(), file})
	}
	p.columns(0, rows...)
}
