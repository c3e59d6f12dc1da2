package config

import (
	"fmt"
	"strings"
	"time"

	"antipode/daemon/policy"
)

// decodeLimit reads rate_limit: a rate, or a table with a rate and windows in
// which another one holds. home is the zone of a table that names none.
func decodeLimit(t *table, home *time.Location) policy.Timetable {
	const key = "rate_limit"
	if _, isTable := t.values[key].(map[string]any); !isTable {
		return policy.Timetable{Base: parsed(t, key, "200Mbit/s", policy.ParseRate)}
	}
	s := t.sub(key)
	defer s.done()
	limit := policy.Timetable{Base: parsed(s, "rate", "200Mbit/s", policy.ParseLimit), Location: home}
	if s.has("timezone") {
		limit.Location = decodeLocation(s)
	}
	for _, w := range sections(s, "window", decodeRateWindow) {
		limit.Windows = append(limit.Windows, w.value)
	}
	if !s.has("rate") && !s.has("window") {
		s.wrong("", `rate_limit says nothing; want rate = "200Mbit/s", or [[rate_limit.window]] sections, or both`)
	}
	return limit
}

func decodeRateWindow(t *table) policy.Window {
	w := policy.Window{
		Days: decodeDays(t), From: parsed(t, "from", "08:00", policy.ParseClock), To: policy.DayEnd,
		Rate: required(t, "rate", "50Mbit/s", policy.ParseLimit),
	}
	if t.has("to") {
		w.To = parsed(t, "to", "18:00", policy.ParseClock)
	}
	switch w.From {
	case policy.DayEnd:
		t.wrong("from", `from = "24:00" is the end of a day; want "00:00" of the next`)
	case w.To:
		t.wrong("to", `window ends when it begins, at %s; leave from and to out for whole days`, w.To)
	}
	return w
}

// decodeDays reads "mon-fri" or ["mon", "wed-fri"]; every day if it is not there.
func decodeDays(t *table) policy.Weekdays {
	const key = "days"
	if _, isText := t.values[key].(string); isText {
		return parsed(t, key, "mon-fri", policy.ParseWeekdays)
	}
	if !t.has(key) {
		t.get(key)
		return 0
	}
	texts := t.texts(key)
	days, err := policy.ParseWeekdays(strings.Join(texts, ","))
	if err != nil {
		t.wrong(key, "%v", fmt.Errorf("days: %w", err))
	}
	return days
}
