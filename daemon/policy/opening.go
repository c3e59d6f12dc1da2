package policy

import (
	"fmt"
	"time"
)

// Opening is when runs may start: on some days of the week, from one time of the
// wall clock to another. Where To is not after From it ends on the day after, and
// belongs to the day on which it began. The zero Opening is always open.
type Opening struct {
	Days     Weekdays // on which it begins; none is every day
	From, To Clock    // To is not included
}

// IsZero reports whether the window is always open.
func (w Opening) IsZero() bool { return w == Opening{} }

// Validate checks that it is open for some time and not for all.
func (w Opening) Validate() error {
	if !w.IsZero() && w.From == w.To {
		return fmt.Errorf(`window begins and ends at %s; want for example from = "22:00" and to = "06:00"`, w.From)
	}
	return nil
}

// String writes the window for people: "mon-sun 22:00-06:00".
func (w Opening) String() string {
	if w.IsZero() {
		return "always"
	}
	return fmt.Sprintf("%s %s-%s", w.Days, w.From, w.To)
}

// Contains reports whether the window is open at t, by the wall clock in loc.
func (w Opening) Contains(t time.Time, loc *time.Location) bool {
	if w.IsZero() {
		return true
	}
	wall := asWall(t.In(loc))
	at := Clock(wall.Hour()*60 + wall.Minute())
	if w.From < w.To {
		return w.Days.Has(wall.Weekday()) && w.From <= at && at < w.To
	}
	return at >= w.From && w.Days.Has(wall.Weekday()) || at < w.To && w.Days.Has(wall.Add(-Day).Weekday())
}

func midnight(wall time.Time) time.Time {
	return time.Date(wall.Year(), wall.Month(), wall.Day(), 0, 0, 0, 0, time.UTC)
}

// Opens returns the first time from t on at which the window is open. It opens
// when the wall clock shows From, or when clocks change to a time inside it.
func (w Opening) Opens(t time.Time, loc *time.Location) time.Time {
	if w.Contains(t, loc) {
		return t
	}
	var first time.Time
	try := func(at time.Time) {
		if !at.Before(t) && (first.IsZero() || at.Before(first)) && w.Contains(at, loc) {
			first = at
		}
	}
	day := midnight(asWall(t.In(loc)))
	for i := range time.Duration(9) {
		try(instant(day.Add(i*Day+time.Duration(w.From)*time.Minute), loc))
	}
	for at := t.In(loc); ; {
		_, end := at.ZoneBounds()
		if end.IsZero() || end.Sub(t) > 9*Day {
			return first
		}
		try(end)
		at = end
	}
}
