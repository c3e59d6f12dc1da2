package policy

import (
	"fmt"
	"strings"
)

// MaxKeep bounds each number of a Keep.
const MaxKeep = 100_000

// count is one number of a Keep with its name.
type count struct {
	name string
	n    int
}

func (k Keep) counts() []count {
	return []count{
		{"last", k.Last},
		{"hourly", k.Hourly},
		{"daily", k.Daily},
		{"weekly", k.Weekly},
		{"monthly", k.Monthly},
		{"yearly", k.Yearly},
	}
}

// IsZero reports whether nothing is said about retention. That keeps
// everything: it never means "keep nothing".
func (k Keep) IsZero() bool { return k == Keep{} }

// Validate checks the range of every number.
func (k Keep) Validate() error {
	for _, c := range k.counts() {
		if c.n < 0 || c.n > MaxKeep {
			return fmt.Errorf("keep.%s = %d is out of range; want 1 to %d, or leave it out", c.name, c.n, MaxKeep)
		}
	}
	if k.Within < 0 || k.Within > MaxDuration {
		return fmt.Errorf("keep.within = %q is out of range; %s", FormatDuration(k.Within), durationForm)
	}
	return nil
}

// String lists what is kept: "last 4, hourly 48, within 7d"; "everything" for
// the zero Keep.
func (k Keep) String() string {
	var parts []string
	for _, c := range k.counts() {
		if c.n != 0 {
			parts = append(parts, fmt.Sprintf("%s %d", c.name, c.n))
		}
	}
	if k.Within != 0 {
		parts = append(parts, "within "+FormatDuration(k.Within))
	}
	if len(parts) == 0 {
		return "everything"
	}
	return strings.Join(parts, ", ")
}
