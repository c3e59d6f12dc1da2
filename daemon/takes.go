package daemon

import (
	"fmt"
	"time"

	"antipode/daemon/policy"
)

// passage is how long the budgets of a job and its host let something take from now on.
// What the link lets through is not known.
type passage struct {
	takes time.Duration
	// open says that no budget is in force at the end of takes, and something is left:
	// the link decides.
	open bool
	rate policy.Rate // the only one on the way; 0 where it changes, or there is none
}

// maxRates bounds how many changes of the rate are followed.
const maxRates = 10_000

func (d *Daemon) passageOf(bytes int64, j policy.Job) passage {
	now, left := d.Now(), float64(bytes)
	p := passage{}
	for n := range maxRates {
		rate, until := d.rateAt(j, now.Add(p.takes))
		if rate == 0 {
			p.open, p.rate = true, 0
			return p
		}
		if p.rate = rate; n > 0 {
			p.rate = 0
		}
		need, span := time.Duration(min(left/float64(rate)*float64(time.Second), float64(maxTakes))), until.Sub(now.Add(p.takes))
		if until.IsZero() || need <= span {
			p.takes = (p.takes + need).Round(time.Second)
			return p
		}
		left -= float64(rate) * span.Seconds()
		p.takes += span
	}
	p.open = true
	return p
}

// maxTakes bounds what is added up: a century is long enough for anybody.
const maxTakes = 100 * 365 * policy.Day

// rateAt is the lower of both budgets at a time, 0 for no bound, and when it may change;
// zero for never.
func (d *Daemon) rateAt(j policy.Job, at time.Time) (policy.Rate, time.Time) {
	wishes := d.rates.Standing()
	host, hostUntil, _ := d.site().cfg.RateLimit.Effective(at, wishes.Of(""))
	job, jobUntil, _ := j.Rate.Effective(at, wishes.Of(j.ID))
	until := hostUntil
	if until.IsZero() || !jobUntil.IsZero() && jobUntil.Before(until) {
		until = jobUntil
	}
	if host == 0 || job == 0 {
		return max(host, job), until
	}
	return min(host, job), until
}

// firstCopiesTake says how long first copies take; upTo where bytes are a bound.
func (d *Daemon) firstCopiesTake(bytes int64, upTo bool, j policy.Job) string {
	p := d.passageOf(bytes, j)
	about := map[bool]string{true: "up to", false: "about"}[upTo]
	switch {
	case p.open && p.takes > 0:
		return fmt.Sprintf("; the configured rates bound it for %s, and after that the link decides", policy.FormatDuration(p.takes.Round(time.Second)))
	case p.open && (!d.site().cfg.RateLimit.IsZero() || !j.Rate.IsZero()):
		return "; no rate_limit is in force now, so that the link decides how long"
	case p.open:
		return "; no rate_limit is set, so that the link decides how long"
	case p.takes == 0:
		return ", which takes less than a second at the configured rate"
	case p.rate == 0:
		return fmt.Sprintf(", which takes %s %s at the configured rates", about, policy.FormatDuration(p.takes))
	}
	return fmt.Sprintf(", which takes %s %s at the configured rate of %s", about, policy.FormatDuration(p.takes), p.rate)
}
