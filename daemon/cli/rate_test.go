package cli

import (
	"context"
	"strings"
	"testing"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/status"
)

func TestRateRequests(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 10, 24, 20, 0, 0, 0, berlin)
	none := int64(-1)
	for _, c := range []struct {
		name  string
		args  []string
		end   rateEnd
		clear bool
		job   string
		rate  int64 // none: not set
		until string
		says  string
	}{
		{name: "show all", rate: none},
		{name: "show a job", args: []string{"db"}, job: "db", rate: none},
		{name: "of the host", args: []string{"8Mbit/s"}, rate: 1_000_000},
		{name: "of a job", args: []string{"db", "8Mbit/s"}, job: "db", rate: 1_000_000},
		{name: "no limit", args: []string{"db", "unlimited"}, job: "db", rate: 0},
		{name: "for a while", args: []string{"8Mbit/s"}, end: rateEnd{after: "90m"}, rate: 1_000_000, until: "2026-10-24T19:30:00Z"},
		{name: "until tonight", args: []string{"8Mbit/s"}, end: rateEnd{at: "22:00"}, rate: 1_000_000, until: "2026-10-24T20:00:00Z"},
		{name: "until tomorrow, after the clocks went back", args: []string{"8Mbit/s"}, end: rateEnd{at: "06:00"}, rate: 1_000_000, until: "2026-10-25T05:00:00Z"},
		{name: "until an instant", args: []string{"8Mbit/s"}, end: rateEnd{at: "2026-11-01T00:00:00Z"}, rate: 1_000_000, until: "2026-11-01T00:00:00Z"},
		{name: "clear the host's", clear: true, rate: none},
		{name: "clear a job's", args: []string{"db"}, clear: true, job: "db", rate: none},
		{name: "clear and set", args: []string{"db", "8Mbit/s"}, clear: true, says: "--clear takes no rate"},
		{name: "no rate", args: []string{"200Mbps"}, says: "leaves open whether it means bits or bytes"},
		{name: "no rate of a job", args: []string{"db", "fast"}, says: "does not end with"},
		{name: "an end of nothing", args: []string{"db"}, end: rateEnd{after: "2h"}, says: "go with a rate"},
		{name: "two ends", args: []string{"8Mbit/s"}, end: rateEnd{after: "2h", at: "22:00"}, says: "keep one of them"},
		{name: "an end that is no time", args: []string{"8Mbit/s"}, end: rateEnd{at: "teatime"}, says: `want for example "18:00"`},
		{name: "a while that is none", args: []string{"8Mbit/s"}, end: rateEnd{after: "2"}, says: "has no unit"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, err := rateRequest(c.args, c.clear)
			if err == nil {
				r.Until, err = c.end.until(now, r.Rate != nil)
			}
			if c.says != "" {
				if err == nil || !strings.Contains(err.Error(), c.says) {
					t.Errorf("got %v, want %q", err, c.says)
				}
				return
			}
			rate, until := none, ""
			if r.Rate != nil {
				rate = *r.Rate
			}
			if !r.Until.IsZero() {
				until = r.Until.UTC().Format(time.RFC3339)
			}
			if err != nil || r.Job != c.job || rate != c.rate || until != c.until || r.Clear != c.clear {
				t.Errorf("got %+v, rate %d, until %q, %v; want job %q, rate %d, until %q", r, rate, until, err, c.job, c.rate, c.until)
			}
		})
	}
}

func TestRateIsShown(t *testing.T) {
	h := newHost(t)
	h.daemon(t, func(s *control.Server) {
		control.Handle(s, control.Rate, func(_ context.Context, r control.RateRequest) (control.RateResponse, error) {
			if r.Job != "db" || r.Rate == nil || *r.Rate != 1_000_000 || !r.Until.Equal(noon.Add(2*time.Hour)) {
				t.Errorf("asked for %+v", r)
			}
			return control.RateResponse{Budgets: []control.RateBudget{
				{Limit: status.Limit{Rate: 50_000_000, Until: noon.Add(6 * time.Hour)}, ByFile: 50_000_000},
				{Job: "db", Limit: status.Limit{Rate: 1_000_000, Until: r.Until, ByCommand: true}},
			}}, nil
		})
	})
	code, out, errOut := h.run(t, "rate", "db", "8Mbit/s", "--for", "2h")
	want := "host    400 Mbit/s until 2026-05-04 18:00:00 UTC\n" +
		"job db  8.00 Mbit/s by command until 2026-05-04 14:00:00 UTC  (the file says no limit)\n"
	if code != exitOK || out != want {
		t.Errorf("got %d, %q, %q; want %q", code, out, errOut, want)
	}
	code, out, _ = h.run(t, "rate", "db", "8Mbit/s", "--for", "2h", "--json")
	if code != exitOK || !strings.Contains(out, `"by_command": true`) || !strings.Contains(out, `"by_file": 50000000`) {
		t.Errorf("as JSON: got %d, %s", code, out)
	}
	if code, _, errOut := h.run(t, "rate", "200Mbps"); code != exitUsage || !strings.Contains(errOut, "bits or bytes") {
		t.Errorf("a wrong rate: got %d, %q; want exit code 2", code, errOut)
	}
}
