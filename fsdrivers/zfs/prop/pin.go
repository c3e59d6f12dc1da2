package prop

import (
	"strconv"
	"strings"
	"time"

	"antipode/fsdrivers/dataset"
)

// PinPrefix begins the tag of a pin. That is a hold: it outlives this program, and
// `zfs destroy` of anybody's respects it. Its tag holds all there is to know, so that
// it is set and taken off at once:
//
//	org.antipode:pin:SET:UNTIL:WHY
//
// SET and UNTIL are nanoseconds since 1970 to the base of 36; UNTIL is empty for a
// pin without an end.
const PinPrefix = Namespace + "pin:"

// PinTag is the tag of a pin.
func PinTag(p dataset.Pin) string {
	until := ""
	if !p.Until.IsZero() {
		until = strconv.FormatInt(p.Until.UnixNano(), 36)
	}
	return PinPrefix + strconv.FormatInt(p.At.UnixNano(), 36) + ":" + until + ":" + p.Why
}

// ParsePinTag reads what PinTag wrote. What cannot be read pins without an end.
func ParsePinTag(tag string) (p dataset.Pin, isPin bool) {
	rest, isPin := strings.CutPrefix(tag, PinPrefix)
	if !isPin {
		return p, false
	}
	f := strings.SplitN(rest, ":", 3)
	if len(f) < 3 {
		return dataset.Pin{Why: rest}, true
	}
	p.Why = f[2]
	if at, err := strconv.ParseInt(f[0], 36, 64); err == nil {
		p.At = time.Unix(0, at).UTC()
	}
	if until, err := strconv.ParseInt(f[1], 36, 64); err == nil {
		p.Until = time.Unix(0, until).UTC()
	}
	return p, true
}
