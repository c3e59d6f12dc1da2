package daemon

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/ledger"
	"antipode/daemon/policy"
	"antipode/daemon/status"
	"antipode/transport/shape"
)

// lookAtRates is how often the wall clock is asked whether it was set: timers do
// not notice.
const lookAtRates = time.Minute

// keepRates brings the budgets to what holds now, at each change on time.
func (d *Daemon) keepRates(ctx context.Context) error {
	for {
		var change <-chan time.Time // never, if nothing depends on the clock
		if next := d.applyRates(d.site); !next.IsZero() {
			change = time.After(min(lookAtRates, max(next.Sub(d.Now()), time.Millisecond)))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-change:
		case <-d.rateNews:
		}
	}
}

// hastenRates applies what has just changed.
func (d *Daemon) hastenRates() {
	d.applyRates(d.site)
	select {
	case d.rateNews <- struct{}{}:
	default: // it is on its way already
	}
}

// applyRates sets every budget of a site, and returns when the first one changes
// next: zero if none does. Two at once do not mix.
func (d *Daemon) applyRates(which func() *site) (next time.Time) {
	d.setting.Lock()
	defer d.setting.Unlock()
	s, now, wishes := which(), d.Now(), d.rates.Standing()
	if s.cfg == nil {
		return next
	}
	apply := func(name string, b *shape.Budget, t policy.Timetable, w *policy.Wish) {
		rate, until, wished := t.Effective(now, w)
		if b.Rate() != int64(rate) {
			b.SetRate(int64(rate))
			d.Log.Info().Str("of", name).Stringer("rate", rate).Bool("by_command", wished).Msg("rate limit")
		}
		if !until.IsZero() && (next.IsZero() || until.Before(next)) {
			next = until
		}
	}
	apply("host", d.host, s.cfg.RateLimit, wishes.Of(""))
	for id, w := range s.jobs {
		apply("job "+id, w.budget, w.job.Rate, wishes.Of(id))
	}
	return next
}

// rate shows the budgets, or sets or clears one. It is durable before it answers.
func (d *Daemon) rate(_ context.Context, r control.RateRequest) (control.RateResponse, error) {
	d.reloading.Lock() // a reload may take the job away
	defer d.reloading.Unlock()
	if r.Job != "" {
		if _, err := d.job(r.Job); err != nil {
			return control.RateResponse{}, err
		}
	}
	now := d.Now()
	if r.Rate != nil && !r.Until.IsZero() && !r.Until.After(now) {
		return control.RateResponse{}, &control.Error{
			Kind: control.KindUsage, Text: "the rate would end before it begins, at " + r.Until.UTC().Format(time.RFC3339),
			Next: "name a time that is to come",
		}
	}
	if r.Rate != nil || r.Clear {
		if err := d.setRate(now, r); err != nil {
			return control.RateResponse{}, err
		}
	}
	return d.rateAnswer(now, r.Job), nil
}

// setRate sets or takes back one, and tells of it.
func (d *Daemon) setRate(now time.Time, r control.RateRequest) error {
	what := "taken back"
	var w *policy.Wish
	if r.Rate != nil {
		w = &policy.Wish{Rate: policy.Rate(*r.Rate), Until: r.Until}
		what = w.Rate.String()
	}
	if err := d.rates.Set(r.Job, w, now); err != nil {
		return err
	}
	d.hastenRates()
	d.ledger.Record(ledger.Batch{Events: []ledger.Event{{At: now, Kind: "rate", Job: r.Job, Text: what}}})
	return nil
}

// rateAnswer lists the host's budget and the jobs', or one job's.
func (d *Daemon) rateAnswer(now time.Time, job string) control.RateResponse {
	s, wishes := d.site(), d.rates.Standing()
	answer := control.RateResponse{Budgets: []control.RateBudget{}}
	add := func(id string, t policy.Timetable) {
		byFile, _ := t.At(now)
		answer.Budgets = append(answer.Budgets, control.RateBudget{Job: id, Limit: limitOf(t, now, wishes.Of(id)), ByFile: int64(byFile)})
	}
	if job == "" {
		add("", s.cfg.RateLimit)
	}
	for _, id := range slices.Sorted(maps.Keys(s.jobs)) {
		if job == "" || job == id {
			add(id, s.jobs[id].job.Rate)
		}
	}
	return answer
}

// limitOf is a budget as it is shown.
func limitOf(t policy.Timetable, now time.Time, w *policy.Wish) status.Limit {
	rate, until, wished := t.Effective(now, w)
	return status.Limit{Rate: int64(rate), Until: until, ByCommand: wished}
}

// showLimits puts the rates into the read model.
func (d *Daemon) showLimits(s *status.Status) {
	now, current, wishes := s.Now, d.site(), d.rates.Standing()
	s.Limit = limitOf(current.cfg.RateLimit, now, wishes.Of(""))
	for i := range s.Jobs {
		if w, ok := current.jobs[s.Jobs[i].ID]; ok {
			s.Jobs[i].Limit = limitOf(w.job.Rate, now, wishes.Of(w.job.ID))
		}
	}
}

// heldByCommand says, after a reload, where the file's rate is not in force.
func (d *Daemon) heldByCommand() (out []string) {
	now, wishes := d.Now(), d.rates.Standing()
	for _, id := range slices.Sorted(maps.Keys(wishes)) {
		w := wishes[id]
		name, clearing := "the host's rate limit", "antipode rate --clear"
		if id != "" {
			name, clearing = "the rate limit of job "+id, "antipode rate "+id+" --clear"
		}
		if w.Holds(now) {
			out = append(out, fmt.Sprintf("%s stays at %s, which was set by command (%s)", name, w.Rate, clearing))
		}
	}
	return out
}
