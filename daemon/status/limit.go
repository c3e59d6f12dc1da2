package status

import "time"

// Limit is a rate budget at this moment.
type Limit struct {
	Rate int64 `json:"rate"` // bytes per second; 0 is no limit
	// Until is when it changes next, by its timetable or because the command's
	// rate ends; zero: it does not.
	Until     time.Time `json:"until,omitzero"`
	ByCommand bool      `json:"by_command,omitempty"` // set by `antipode rate`, and not the file's
}

// IsZero reports whether there is nothing to show: no limit, now or later.
func (l Limit) IsZero() bool { return l == Limit{} }

// Text writes the limit for people.
func (l Limit) Text() string {
	s := "no limit"
	if l.Rate > 0 {
		s = bits(l.Rate)
	}
	if l.ByCommand {
		s += " by command"
	}
	if !l.Until.IsZero() {
		s += " until " + stamp(l.Until)
	}
	return s
}
