package policy

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Units that Go's durations lack. A day is 24 hours and a week is seven days:
// durations here are lengths of time and know no calendar.
const (
	Day  = 24 * time.Hour
	Week = 7 * Day
)

// MaxDuration bounds every duration of a policy; more is a slip of the pen.
const MaxDuration = 100 * 365 * Day

const durationForm = `want for example "90m", "36h", "7d" or "1w"`

// ParseDuration reads a positive length of time: Go's form ("1h30m"), with "d"
// and "w" beside its units. Zero, a negative and a bare number are refused.
func ParseDuration(s string) (time.Duration, error) {
	if s == "" {
		return 0, fmt.Errorf("duration is empty; %s", durationForm)
	}
	if strings.Trim(s, "0123456789.") == "" {
		return 0, fmt.Errorf("duration %q has no unit; %s", s, durationForm)
	}
	if strings.ContainsAny(s, "-+") {
		return 0, fmt.Errorf("duration %q has a sign; %s", s, durationForm)
	}
	total := time.Duration(0)
	for rest := s; rest != ""; {
		part, after := cutTerm(rest)
		d, err := parseTerm(part)
		if err != nil {
			return 0, fmt.Errorf("duration %q: %w; %s", s, err, durationForm)
		}
		if total += d; d > MaxDuration || total > MaxDuration {
			return 0, fmt.Errorf("duration %q is longer than 100 years; %s", s, durationForm)
		}
		rest = after
	}
	if total == 0 {
		return 0, fmt.Errorf("duration %q is zero; %s, or leave the key out", s, durationForm)
	}
	return total, nil
}

// cutTerm splits off the first number with its unit.
func cutTerm(s string) (term, rest string) {
	unit := strings.TrimLeft(s, "0123456789.")
	end := strings.IndexAny(unit, "0123456789.")
	if end < 0 {
		return s, ""
	}
	at := len(s) - len(unit) + end
	return s[:at], s[at:]
}

func parseTerm(s string) (time.Duration, error) {
	number := strings.TrimRight(s, "dw")
	var unit time.Duration
	switch strings.TrimPrefix(s, number) {
	case "":
		d, err := time.ParseDuration(s)
		if err != nil {
			return 0, fmt.Errorf("%q is not a number with a unit of w, d, h, m, s or ms", s)
		}
		return d, nil
	case "d":
		unit = Day
	case "w":
		unit = Week
	default:
		return 0, fmt.Errorf("%q has no unit of w, d, h, m, s or ms", s)
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || strings.Trim(number, "0123456789.") != "" {
		return 0, fmt.Errorf("%q is not a number", number)
	}
	if n > float64(MaxDuration/unit) {
		return MaxDuration + 1, nil
	}
	return time.Duration(n * float64(unit)), nil
}

// FormatDuration writes d as ParseDuration reads it, in the largest units
// that fit: "1w", "7d12h" is "1w12h", "1h30m".
func FormatDuration(d time.Duration) string {
	if d < 0 {
		return "-" + FormatDuration(-d)
	}
	if d == 0 {
		return "0s"
	}
	var b strings.Builder
	for _, u := range []struct {
		length time.Duration
		name   string
	}{{Week, "w"}, {Day, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if n := d / u.length; n > 0 {
			b.WriteString(strconv.FormatInt(int64(n), 10) + u.name)
			d -= n * u.length
		}
	}
	if d > 0 {
		b.WriteString(d.String())
	}
	return b.String()
}
