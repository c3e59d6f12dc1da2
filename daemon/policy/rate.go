package policy

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// MinRate is the slowest limit that is taken for meant, in bytes per second.
const MinRate Rate = 1000

const (
	rateForm  = `want for example "200Mbit/s", "25MB/s" or "25MiB/s"`
	bytesForm = `want for example "500GB" or "10GiB"`
)

var errNumber = errors.New("it does not start with a number")

// prefixes are the multipliers that may stand in front of "bit/s", "B/s" or
// "B", largest first. A capital "K" alone is refused, as is a small "m": both
// are read in two ways.
func prefixes() []prefix {
	return []prefix{
		{"Pi", 1 << 50},
		{"Ti", 1 << 40},
		{"Gi", 1 << 30},
		{"Mi", 1 << 20},
		{"Ki", 1 << 10},
		{"P", 1e15},
		{"T", 1e12},
		{"G", 1e9},
		{"M", 1e6},
		{"k", 1e3},
		{"", 1},
	}
}

type prefix struct {
	name string
	mult float64
}

// scale reads a non-negative number in front of a prefix and the unit.
func scale(s, unit string) (float64, error) {
	unitless := strings.TrimSpace(strings.TrimSuffix(s, unit))
	number := strings.TrimRight(unitless, "PTGMkKi")
	if number == "" || strings.Trim(number, "0123456789. ") != "" {
		return 0, errNumber
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil {
		return 0, errNumber
	}
	for _, p := range prefixes() {
		if p.name == unitless[len(number):] {
			return n * p.mult, nil
		}
	}
	return 0, fmt.Errorf("%q is not a unit", unitless[len(number):]+unit)
}

// ParseRate reads a limit: bits ("200Mbit/s") or bytes ("25MB/s", "25MiB/s")
// in a second, decimal or binary. The result is in bytes per second, at least
// MinRate.
func ParseRate(s string) (Rate, error) {
	var perSecond float64
	var err error
	switch {
	case strings.HasSuffix(s, "bit/s"):
		perSecond, err = scale(s, "bit/s")
		perSecond /= 8
	case strings.HasSuffix(s, "B/s"):
		perSecond, err = scale(s, "B/s")
	default:
		return 0, fmt.Errorf("rate %q %s; %s", s, whyNoRate(s), rateForm)
	}
	switch {
	case err != nil:
		return 0, fmt.Errorf("rate %q: %w; %s", s, err, rateForm)
	case perSecond >= math.MaxInt64:
		return 0, fmt.Errorf("rate %q is larger than any link; %s", s, rateForm)
	case perSecond < float64(MinRate):
		return 0, fmt.Errorf("rate %q is below 1kB/s; %s, or leave the key out for no limit", s, rateForm)
	}
	return Rate(perSecond), nil
}

// whyNoRate guesses what was meant by a rate whose unit is wrong.
func whyNoRate(s string) string {
	switch {
	case strings.HasSuffix(s, "bit"), strings.HasSuffix(s, "B"):
		return `lacks "/s"`
	case strings.HasSuffix(s, "b/s"), strings.HasSuffix(s, "bps"), strings.HasSuffix(s, "b"):
		return `leaves open whether it means bits or bytes`
	case strings.Trim(s, "0123456789.") == "":
		return "has no unit"
	}
	return `does not end with "bit/s" or "B/s"`
}

// IsZero reports whether there is no limit.
func (r Rate) IsZero() bool { return r == 0 }

// String writes the rate as ParseRate reads it, without loss; "unlimited" for 0.
func (r Rate) String() string {
	if r == 0 {
		return "unlimited"
	}
	if r%125 == 0 && r >= 125_000 {
		bits := int64(r / 125) // thousands of bits
		for _, u := range []string{"kbit/s", "Mbit/s", "Gbit/s"} {
			if bits%1000 != 0 || u == "Gbit/s" {
				return strconv.FormatInt(bits, 10) + u
			}
			bits /= 1000
		}
	}
	return formatBytes(int64(r)) + "/s"
}

// ParseBytes reads a size: "10GiB", "500GB", "4096B". Zero is refused.
func ParseBytes(s string) (int64, error) {
	if !strings.HasSuffix(s, "B") {
		return 0, fmt.Errorf("size %q does not end with a unit of bytes; %s", s, bytesForm)
	}
	n, err := scale(s, "B")
	switch {
	case err != nil:
		return 0, fmt.Errorf("size %q: %w; %s", s, err, bytesForm)
	case n >= math.MaxInt64:
		return 0, fmt.Errorf("size %q is larger than any file system; %s", s, bytesForm)
	case n < 1:
		return 0, fmt.Errorf("size %q is zero; %s, or leave the key out", s, bytesForm)
	}
	return int64(n), nil
}

// formatBytes writes n in the largest unit that loses nothing.
func formatBytes(n int64) string {
	for _, p := range prefixes() {
		if m := int64(p.mult); n >= m && n%m == 0 {
			return strconv.FormatInt(n/m, 10) + p.name + "B"
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

// ParseAmount reads a share of a file system ("5%", more than 0 and less than
// 100) or a size ("10GiB").
func ParseAmount(s string) (Amount, error) {
	const form = `want for example "5%" or "10GiB"`
	number, isShare := strings.CutSuffix(s, "%")
	if !isShare {
		n, err := ParseBytes(s)
		if err != nil {
			return Amount{}, fmt.Errorf("amount %q is neither a share nor a size; %s", s, form)
		}
		return Amount{Bytes: n}, nil
	}
	p, err := strconv.ParseFloat(number, 64)
	if err != nil || strings.Trim(number, "0123456789.") != "" {
		return Amount{}, fmt.Errorf("amount %q is not a number of per cent; %s", s, form)
	}
	if p <= 0 || p >= 100 {
		return Amount{}, fmt.Errorf("amount %q is not between 0%% and 100%%; %s", s, form)
	}
	return Amount{Percent: p}, nil
}

// IsZero reports whether nothing is asked for.
func (a Amount) IsZero() bool { return a.Bytes == 0 && a.Percent == 0 }

// Of returns the amount in bytes of a file system with size bytes.
func (a Amount) Of(size int64) int64 {
	if a.Bytes > 0 {
		return a.Bytes
	}
	return int64(float64(size) * a.Percent / 100)
}

// String writes the amount as ParseAmount reads it; "none" for zero.
func (a Amount) String() string {
	switch {
	case a.IsZero():
		return "none"
	case a.Bytes > 0:
		return formatBytes(a.Bytes)
	}
	return strconv.FormatFloat(a.Percent, 'f', -1, 64) + "%"
}
