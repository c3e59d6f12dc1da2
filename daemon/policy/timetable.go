package policy

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Timetable is a budget that follows the clock on the wall.
type Timetable struct {
	Base     Rate // outside of all windows
	Windows  []Window
	Location *time.Location // whose clock; nil is UTC
}

// Window is a part of the day in which another rate holds. Of several that cover
// a moment the last one decides, as with patterns.
type Window struct {
	Days Weekdays // on which it begins; none is every day
	From Clock
	To   Clock // not included; at or below From it is that of the next day
	Rate Rate  // 0 is no limit
}

// Clock is a time of day as a wall shows it, in minutes since midnight, up to
// 24:00.
type Clock int

// DayEnd is 24:00.
const DayEnd Clock = 24 * 60

// Weekdays is a set: bit n is time.Weekday(n).
type Weekdays uint8

// everyDay has all seven.
const everyDay Weekdays = 1<<7 - 1

// horizon is how far At looks: a window of one weekday may fall into the hour that
// a change of clocks leaves out, and come a week later.
const horizon = 15

// IsZero reports whether there is never a limit.
func (t Timetable) IsZero() bool { return t.Base == 0 && len(t.Windows) == 0 }

// At returns the rate at an instant, and when it changes next: zero if it does not
// within two weeks.
//
// What counts is what the wall clock shows: an hour that comes twice is covered
// twice, one that is left out is not.
func (t Timetable) At(now time.Time) (rate Rate, until time.Time) {
	loc := t.Location
	if loc == nil {
		loc = time.UTC
	}
	now = now.In(loc)
	rate = t.rate(now)
	for at, last := now, now.AddDate(0, 0, horizon); at.Before(last); {
		_, end := at.ZoneBounds()
		if end.IsZero() || end.After(last) {
			end = last
		}
		for _, edge := range t.edges(at, end) {
			if t.rate(edge) != rate {
				return rate, edge
			}
		}
		at = end
	}
	return rate, time.Time{}
}

// edges lists, in order, the instants after from and up to end at which a window
// may begin or end, and end itself. The offset of the clock does not change
// between them.
func (t Timetable) edges(from, end time.Time) []time.Time {
	var all []time.Time
	y, m, d := from.Date()
	_, offset := from.Zone()
	fixed := time.FixedZone("", offset)
	for midnight := time.Date(y, m, d, 0, 0, 0, 0, fixed); midnight.Before(end); midnight = midnight.AddDate(0, 0, 1) {
		for _, w := range t.Windows {
			for _, c := range []Clock{w.From, w.To} {
				if edge := midnight.Add(time.Duration(c) * time.Minute); edge.After(from) && edge.Before(end) {
					all = append(all, edge.In(from.Location()))
				}
			}
		}
	}
	slices.SortFunc(all, time.Time.Compare)
	return append(all, end)
}

// rate asks the windows, the last first; now is in the timetable's zone.
func (t Timetable) rate(now time.Time) Rate {
	for _, w := range slices.Backward(t.Windows) {
		if w.covers(now) {
			return w.Rate
		}
	}
	return t.Base
}

func (w Window) covers(now time.Time) bool {
	clock := Clock(now.Hour()*60 + now.Minute())
	today, yesterday := w.Days.Has(now.Weekday()), w.Days.Has((now.Weekday()+6)%7)
	if w.From < w.To {
		return today && w.From <= clock && clock < w.To
	}
	return today && w.From <= clock || yesterday && clock < w.To
}

// Has reports whether the day is in the set.
func (d Weekdays) Has(day time.Weekday) bool { return d == 0 || d&(1<<day) != 0 }

// ParseWeekdays reads a list of days and of ranges of them: "mon-fri", "sat,sun",
// "fri-mon". Names may be written in full and in capitals.
func ParseWeekdays(s string) (Weekdays, error) {
	var all Weekdays
	for part := range strings.SplitSeq(s, ",") {
		first, last, isRange := strings.Cut(part, "-")
		from, err := parseWeekday(first)
		to := from
		if err == nil && isRange {
			to, err = parseWeekday(last)
		}
		if err != nil {
			return 0, err
		}
		for day := from; ; day = (day + 1) % 7 {
			all |= 1 << day
			if day == to {
				break
			}
		}
	}
	return all, nil
}

func parseWeekday(s string) (time.Weekday, error) {
	name := strings.ToLower(strings.TrimSpace(s))
	for day := time.Sunday; day <= time.Saturday; day++ {
		full := strings.ToLower(day.String())
		if name == full || name == full[:3] {
			return day, nil
		}
	}
	return 0, fmt.Errorf(`%q is no weekday; want for example "mon", "sat" or "mon-fri"`, s)
}

// String writes the set as ParseWeekdays reads it.
func (d Weekdays) String() string {
	if d == 0 || d == everyDay {
		return "mon-sun"
	}
	var names []string
	for i := range 7 {
		if day := time.Weekday((i + 1) % 7); d.Has(day) {
			names = append(names, strings.ToLower(day.String()[:3]))
		}
	}
	return strings.Join(names, ",")
}

// ParseClock reads a time of day from "00:00" to "24:00".
func ParseClock(s string) (Clock, error) {
	hours, minutes, ok := strings.Cut(s, ":")
	h, hErr := strconv.ParseUint(hours, 10, 8)
	m, mErr := strconv.ParseUint(minutes, 10, 8)
	c := Clock(h*60 + m)
	if !ok || hErr != nil || mErr != nil || len(minutes) != 2 || len(hours) > 2 || m > 59 || c > DayEnd {
		return 0, fmt.Errorf(`%q is no time of day; want "00:00" to "24:00"`, s)
	}
	return c, nil
}

// String writes the time as ParseClock reads it.
func (c Clock) String() string { return fmt.Sprintf("%02d:%02d", int(c)/60, int(c)%60) }

// ParseLimit is ParseRate for where "unlimited" is a choice.
func ParseLimit(s string) (Rate, error) {
	if s == "unlimited" {
		return 0, nil
	}
	r, err := ParseRate(s)
	if err != nil {
		return 0, fmt.Errorf(`%w; or "unlimited"`, err)
	}
	return r, nil
}

// Wish is a rate that an operator set by command. It stands before the timetable
// until it ends or is taken back.
type Wish struct {
	Rate  Rate      `json:"rate"` // 0 is no limit
	Until time.Time `json:"until,omitzero"`
}

// Holds reports whether the wish is still in force.
func (w Wish) Holds(now time.Time) bool { return w.Until.IsZero() || now.Before(w.Until) }

// Effective is the rate at an instant under a wish, which may be nil: the rate,
// when it changes next, and whether it is the wish's.
func (t Timetable) Effective(now time.Time, w *Wish) (rate Rate, until time.Time, wished bool) {
	if w != nil && w.Holds(now) {
		return w.Rate, w.Until, true
	}
	rate, until = t.At(now)
	return rate, until, false
}
