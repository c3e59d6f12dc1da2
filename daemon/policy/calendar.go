package policy

import (
	"fmt"
	"hash/fnv"
	"time"
)

// MaxJitter bounds the jitter of a cron schedule, whose intervals differ.
const MaxJitter = Day

// Calendar is a schedule in its time zone, as one job of one node follows it:
// within the window, and later by the job's own share of the jitter.
type Calendar struct {
	Schedule
	Location *time.Location // never nil
	Delay    time.Duration  // whole seconds, at most the jitter
}

// At makes the timetable of who is named by key, such as "fra1/db". The delay
// depends on the key alone, so that a restart does not move it and a fleet spreads.
// A nil location is UTC.
func (s Schedule) At(key string, loc *time.Location) Calendar {
	if loc == nil {
		loc = time.UTC
	}
	t := Calendar{Schedule: s, Location: loc}
	if most := uint64(s.Jitter / time.Second); most > 0 {
		h := fnv.New64a()
		_, _ = h.Write([]byte(key)) // never fails
		t.Delay = time.Duration(h.Sum64()%(most+1)) * time.Second
	}
	return t
}

// Calendar is when the job runs on a node.
func (j Job) Calendar(node string) Calendar { return j.Schedule.At(node+"/"+j.ID, j.Location) }

// Same reports whether both name the same times.
func (t Calendar) Same(o Calendar) bool {
	return t.Schedule == o.Schedule && t.Delay == o.Delay && t.Location.String() == o.Location.String()
}

// Next returns the first time after `after` at which a run starts, zero if there
// is none within five years. What is due outside the window is not: it does not
// wait for the window.
func (t Calendar) Next(after time.Time) time.Time {
	for limit := after.AddDate(5, 0, 0); after.Before(limit); { // each look is at another opening of the window
		due := t.Schedule.Next(after.Add(-t.Delay), t.Location)
		if due.IsZero() {
			return due
		}
		due = due.Add(t.Delay)
		if t.Window.Contains(due, t.Location) {
			return due
		}
		after = t.Window.Opens(due, t.Location).Add(-time.Nanosecond)
	}
	return time.Time{}
}

// Previous returns the last time up to and including now at which a run was to
// start, zero if there is none within the last nine years.
func (t Calendar) Previous(now time.Time) time.Time {
	if t.Every > 0 && t.Window.IsZero() {
		return floor(now.Add(-t.Delay), t.Every).Add(t.Delay)
	}
	return previous(now, t.Next)
}

// gapLooks bounds how often Gap looks: at two months or more for gaps of an hour, and
// at most of a day for those of a minute.
const gapLooks = 1024

// Gap returns how long passes between two runs where that is at least `least`; 0 if
// it never is, as far as Gap looks. It begins after noon of a Friday, so that nights
// and weekends come soon.
func (t Calendar) Gap(least time.Duration) time.Duration {
	if t.Every > 0 && t.Window.IsZero() {
		if t.Every < least {
			return 0
		}
		return t.Every
	}
	at := t.Next(time.Date(2026, 1, 2, 12, 0, 0, 0, t.Location))
	for range gapLooks { // no gap lies wholly between two looks, and in a gap half of it is left at the first
		next := t.Next(at)
		if next.IsZero() {
			return 0
		}
		if next.Sub(at) >= least/2 {
			if gap := next.Sub(t.Previous(at)); gap >= least {
				return gap
			}
		}
		at = next.Add(least / 2)
	}
	return 0
}

// IsOpen reports whether the window is open at now.
func (t Calendar) IsOpen(now time.Time) bool { return t.Window.Contains(now, t.Location) }

// Opens is when the window is open next, from now on.
func (t Calendar) Opens(now time.Time) time.Time { return t.Window.Opens(now, t.Location) }

// validateTimes checks what only shows when jitter and window meet the schedule.
func (s Schedule) validateTimes(prefix string, loc *time.Location) error {
	switch {
	case s.Jitter < 0 || s.Jitter%time.Second != 0:
		return fmt.Errorf(`jitter = %q is not a whole number of seconds; want for example "2m"`, FormatDuration(s.Jitter))
	case s.Every > 0 && s.Jitter > s.Every:
		return fmt.Errorf(`jitter = %q is longer than %severy = %q; want less`, FormatDuration(s.Jitter), prefix, FormatDuration(s.Every))
	case s.Jitter > MaxJitter:
		return fmt.Errorf(`jitter = %q is longer than a day; want for example "2m"`, FormatDuration(s.Jitter))
	}
	switch {
	case s.IsZero() && !s.Window.IsZero():
		return fmt.Errorf("%swindow means nothing without %severy or %scron", prefix, prefix, prefix)
	case s.IsZero() && s.Jitter != 0:
		return fmt.Errorf("jitter means nothing without %severy or %scron", prefix, prefix)
	case s.IsZero():
		return nil
	}
	if err := s.Window.Validate(); err != nil {
		return fmt.Errorf("%s%w", prefix, err)
	}
	for _, delay := range []time.Duration{0, s.Jitter} {
		t := s.At("", loc)
		t.Delay = delay
		if t.Next(time.Unix(0, 0)).IsZero() {
			return fmt.Errorf("%s never comes to pass within the window %s%s", s, s.Window, late(delay))
		}
	}
	return nil
}

func late(delay time.Duration) string {
	if delay == 0 {
		return ""
	}
	return ", when it is late by its whole jitter"
}
