package policy

import (
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// MaxEvery bounds the interval of a schedule.
const MaxEvery = 366 * Day

// IsZero reports whether the job runs only when triggered.
func (s Schedule) IsZero() bool { return s.Every == 0 && s.Cron == "" }

// String writes the schedule for people.
func (s Schedule) String() string {
	switch {
	case s.Every > 0:
		return "every " + FormatDuration(s.Every)
	case s.Cron != "":
		return "cron " + s.Cron
	}
	return "when triggered"
}

// Validate checks that at most one of Every and Cron is set, that Every is a
// whole number of seconds up to MaxEvery, that Cron can be read, and that it
// comes to pass within the window in loc (nil is UTC). An error names the keys as
// they are written, with the prefix: "replicate_" for replicate_every.
func (s Schedule) Validate(prefix string, loc *time.Location) error {
	if err := s.validateEvery(prefix); err != nil {
		return err
	}
	if s.Cron != "" {
		if _, err := parseCron(s.Cron); err != nil {
			return fmt.Errorf("%s%w", prefix, err)
		}
		if s.Next(time.Unix(0, 0), time.UTC).IsZero() {
			return fmt.Errorf(`%scron = %q names a day that never comes; want for example "0 * * * *"`, prefix, s.Cron)
		}
	}
	return s.validateTimes(prefix, loc)
}

func (s Schedule) validateEvery(prefix string) error {
	switch {
	case s.Every != 0 && s.Cron != "":
		return fmt.Errorf(`both %severy and %scron are set; keep one of them`, prefix, prefix)
	case s.Every < 0 || s.Every > MaxEvery:
		return fmt.Errorf(`%severy = %q is out of range; want 1s to 366d`, prefix, FormatDuration(s.Every))
	case s.Every%time.Second != 0:
		return fmt.Errorf(`%severy = %q is not a whole number of seconds, which is how fine the names of snapshots are; want for example "10s"`, prefix, FormatDuration(s.Every))
	}
	return nil
}

// parseCron reads five fields, or six with seconds first. Descriptors and time
// zones inside the expression are refused: every and timezone say the same
// in a way that can be checked.
func parseCron(s string) (*cron.SpecSchedule, error) {
	const form = `want five fields (minute hour day month weekday), such as "0 * * * *", or six with seconds first`
	if n := len(strings.Fields(s)); n != 5 && n != 6 {
		return nil, fmt.Errorf("cron = %q has %d fields; %s", s, n, form)
	}
	if strings.ContainsAny(s, "@=") {
		return nil, fmt.Errorf(`cron = %q holds a time zone or a descriptor; %s, and set timezone`, s, form)
	}
	parser := cron.NewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow)
	parsed, err := parser.Parse(s)
	if err != nil {
		return nil, fmt.Errorf("cron = %q: %w; %s", s, err, form)
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, fmt.Errorf("cron = %q is no list of fields; %s", s, form)
	}
	return spec, nil
}

// Next returns the first time after `after` that the schedule names, zero if
// there is none within five years. Cron counts in loc (nil is UTC).
//
// Every is counted from the Unix epoch in UTC, so that a restart does not
// shift it and both sides agree on it. When clocks change, cron with "*" for
// the hour follows real time; with named hours each wall-clock time runs
// once: the first of two equal ones, and one that is left out as soon as the
// clocks have passed it.
func (s Schedule) Next(after time.Time, loc *time.Location) time.Time {
	if s.Every > 0 {
		return floor(after, s.Every).Add(s.Every)
	}
	spec, err := parseCron(s.Cron)
	if err != nil {
		return time.Time{}
	}
	if loc == nil {
		loc = time.UTC
	}
	const star = 1 << 63 // how the parser marks a field of "*"
	if spec.Hour&star != 0 {
		return nextReal(spec, after.In(loc))
	}
	return nextWall(spec, after.In(loc))
}

// Previous returns the last time up to and including now that the schedule
// names, zero if there is none within the last nine years.
func (s Schedule) Previous(now time.Time, loc *time.Location) time.Time {
	if s.Every > 0 {
		return floor(now, s.Every)
	}
	return previous(now, func(after time.Time) time.Time { return s.Next(after, loc) })
}

// previous turns a function round that answers the first time after another.
func previous(now time.Time, next func(time.Time) time.Time) time.Time {
	due := func(after time.Time) time.Time {
		if t := next(after); !t.After(now) {
			return t
		}
		return time.Time{}
	}
	// next never falls, so that the last start from which it does not pass now
	// is found by halving. Cron counts whole seconds.
	back, limit := time.Second, 9*366*Day
	for due(now.Add(-back)).IsZero() {
		if back *= 2; back > limit {
			return time.Time{}
		}
	}
	for ahead := time.Duration(0); back-ahead > time.Second; {
		if mid := (back + ahead) / 2; due(now.Add(-mid)).IsZero() {
			ahead = mid
		} else {
			back = mid
		}
	}
	return due(now.Add(-back))
}

// floor returns the last multiple of every since the Unix epoch. It does not
// use Truncate, which counts from the year 1: a week would begin elsewhere.
func floor(t time.Time, every time.Duration) time.Time {
	step := int64(every / time.Second)
	if step == 0 {
		step = 1
	}
	n := t.Unix() % step
	if n < 0 {
		n += step
	}
	return time.Unix(t.Unix()-n, 0).UTC()
}

// nextReal finds the next instant whose wall clock the spec names. It asks the
// parser's Next only inside a stretch of constant offset, where that is exact.
func nextReal(spec *cron.SpecSchedule, after time.Time) time.Time {
	loc := after.Location()
	for limit := after.AddDate(5, 0, 0); after.Before(limit); {
		first := after.Add(time.Nanosecond) // the earliest answer
		_, offset := first.Zone()
		_, end := first.ZoneBounds()
		next := spec.Next(after.In(time.FixedZone("", offset)))
		if end.IsZero() || !next.IsZero() && next.Before(end) {
			return next.In(loc)
		}
		after = end.Add(-time.Nanosecond).In(loc)
	}
	return time.Time{}
}

// nextWall finds the next named wall-clock time, and then the instant it
// stands for.
func nextWall(spec *cron.SpecSchedule, after time.Time) time.Time {
	loc := after.Location()
	wall := asWall(after)
	// When clocks go back, wall-clock times come a second time; an hour's worth
	// of them is passed over, at one a second.
	for range 3 * 3600 {
		wall = spec.Next(wall)
		if wall.IsZero() {
			return wall
		}
		if t := instant(wall, loc); t.After(after) {
			return t
		}
	}
	return time.Time{}
}

// asWall returns the wall-clock time of t as if it were UTC, where every
// wall-clock time exists once.
func asWall(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// instant returns when the wall clock in loc first shows wall, or, if it leaves
// wall out, when it jumps over it.
func instant(wall time.Time, loc *time.Location) time.Time {
	t := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), 0, loc)
	start, end := t.ZoneBounds()
	switch shown := asWall(t); {
	case shown.After(wall):
		return start
	case shown.Before(wall):
		return end
	case start.IsZero():
		return t
	}
	_, offset := start.Add(-time.Second).Zone()
	first := wall.Add(-time.Duration(offset) * time.Second)
	if first.Before(start) {
		return first.In(loc)
	}
	return t
}
