package prune

import "time"

// The periods that retention counts, and the rules that count them.
const (
	hour = iota
	day
	week
	month
	year
	periods
)

var ruleOf = [periods]Kind{Hourly, Daily, Weekly, Monthly, Yearly}

// calendar numbers the periods that times lie in. It asks the location only once
// for each stretch of time with one offset from UTC, and counts in between.
type calendar struct {
	loc        *time.Location
	begin, end int64 // seconds; the stretch
	offset     int64
	today      int64 // the day whose month and year these are
	month      int64
	year       int64
}

func newCalendar(loc *time.Location) *calendar {
	if loc == nil {
		loc = time.UTC
	}
	return &calendar{loc: loc, begin: 1, end: 0, today: -1 << 62}
}

// numbers gives the hour, day, week, month and year of t a number each. An hour
// that is there twice when clocks go back counts twice: its offset tells one from
// the other.
func (c *calendar) numbers(t time.Time) [periods]int64 {
	now := t.Unix()
	if now < c.begin || now >= c.end {
		c.enter(t)
	}
	local := now + c.offset
	today := floorDiv(local, 24*3600)
	if today != c.today {
		c.today = today
		y, m, _ := time.Unix(today*24*3600, 0).UTC().Date()
		c.year, c.month = int64(y), int64(y)*12+int64(m)
	}
	const offsets = 1 << 18 // more than twice the seconds of any offset
	return [periods]int64{
		hour:  floorDiv(local, 3600)*offsets + c.offset + offsets/2,
		day:   today,
		week:  floorDiv(today+3, 7), // the first of January 1970 was a Thursday
		month: c.month,
		year:  c.year,
	}
}

// enter finds the stretch around t.
func (c *calendar) enter(t time.Time) {
	local := t.In(c.loc)
	_, offset := local.Zone()
	begin, end := local.ZoneBounds()
	c.begin, c.end, c.offset = -1<<62, 1<<62, int64(offset)
	if !begin.IsZero() {
		c.begin = begin.Unix()
	}
	if !end.IsZero() {
		c.end = end.Unix()
	}
}

func floorDiv(a, b int64) int64 {
	if a < 0 {
		return -((-a + b - 1) / b)
	}
	return a / b
}

// recent is how many periods back one may come again: clocks that go back past
// midnight show a day twice.
const recent = 4

// firstsOf are the oldest points of the periods of each kind that counts asks for,
// oldest period first. list is oldest first.
func (d *Decider) firstsOf(list []int, counts [periods]int) [periods][]int {
	found := &d.firsts
	var seen [periods][recent]int64
	for p := range seen {
		found[p] = found[p][:0]
		for i := range seen[p] {
			seen[p][i] = -1 << 62
		}
	}
	cal := newCalendar(d.Location)
	for _, i := range list {
		for p, number := range cal.numbers(d.points[i].Retain) {
			s := &seen[p]
			if counts[p] == 0 || number == s[0] || number == s[1] || number == s[2] || number == s[3] {
				continue
			}
			s[3], s[2], s[1], s[0] = s[2], s[1], s[0], number
			found[p] = append(found[p], i)
		}
	}
	return *found
}

// PeriodEnd is when the period ends that t lies in, by the rule that counts it.
func PeriodEnd(rule Kind, t time.Time, loc *time.Location) time.Time {
	if loc == nil {
		loc = time.UTC
	}
	l := t.In(loc)
	y, m, d := l.Date()
	switch rule {
	case Daily:
		return time.Date(y, m, d+1, 0, 0, 0, 0, loc)
	case Weekly:
		return time.Date(y, m, d+7-(int(l.Weekday())+6)%7, 0, 0, 0, 0, loc)
	case Monthly:
		return time.Date(y, m+1, 1, 0, 0, 0, 0, loc)
	case Yearly:
		return time.Date(y+1, 1, 1, 0, 0, 0, 0, loc)
	}
	_, offset := l.Zone()
	local := t.Unix() + int64(offset)
	return time.Unix(t.Unix()+3600-(local-3600*floorDiv(local, 3600)), 0).UTC()
}
