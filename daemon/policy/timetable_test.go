package policy_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"antipode/daemon/policy"
)

// window is "mon-fri 08:00-18:00" with a rate.
func window(t interface{ Fatal(...any) }, days, from, to string, r policy.Rate) policy.Window {
	w := policy.Window{Rate: r}
	var errs [3]error
	if days != "" {
		w.Days, errs[0] = policy.ParseWeekdays(days)
	}
	w.From, errs[1] = policy.ParseClock(from)
	w.To, errs[2] = policy.ParseClock(to)
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func TestTimetable(t *testing.T) {
	office := func(zone *time.Location) policy.Timetable {
		return policy.Timetable{Base: 900, Location: zone, Windows: []policy.Window{window(t, "mon-fri", "08:00", "18:00", 100)}}
	}
	night := policy.Timetable{Base: 100, Windows: []policy.Window{window(t, "fri", "22:00", "06:00", 0)}}
	berlin := zone(t, "Europe/Berlin")
	early := policy.Timetable{Base: 900, Location: berlin, Windows: []policy.Window{window(t, "", "02:00", "03:00", 100)}}
	sunday := policy.Timetable{Base: 900, Location: berlin, Windows: []policy.Window{window(t, "sun", "02:00", "03:00", 100)}}
	for _, c := range []struct {
		name  string
		table policy.Timetable
		now   string // UTC, as until
		rate  policy.Rate
		until string // "": it does not change
	}{
		{"no windows", policy.Timetable{Base: 7}, "2026-11-27 12:00:00", 7, ""},
		{"nothing at all", policy.Timetable{}, "2026-11-27 12:00:00", 0, ""},
		{"before it opens", office(nil), "2026-11-27 07:59:59", 900, "2026-11-27 08:00:00"},
		{"as it opens", office(nil), "2026-11-27 08:00:00", 100, "2026-11-27 18:00:00"},
		{"just before it closes", office(nil), "2026-11-27 17:59:59", 100, "2026-11-27 18:00:00"},
		{"closed over the weekend", office(nil), "2026-11-27 18:00:00", 900, "2026-11-30 08:00:00"},
		{"in a zone", office(zone(t, "Asia/Tokyo")), "2026-11-26 22:30:00", 900, "2026-11-26 23:00:00"},
		{"over midnight: the evening", night, "2026-11-27 23:00:00", 0, "2026-11-28 06:00:00"},
		{"over midnight: the morning after belongs to the day before", night, "2026-11-28 05:59:00", 0, "2026-11-28 06:00:00"},
		{"over midnight: another day's morning", night, "2026-11-27 05:00:00", 100, "2026-11-27 22:00:00"},
		{"forward: a window that is left out comes a day later", early, "2026-03-28 22:00:00", 900, "2026-03-30 00:00:00"},
		{"forward: or a week later", sunday, "2026-03-28 22:00:00", 900, "2026-04-05 00:00:00"},
		{"back: a window that comes twice lasts two hours", early, "2026-10-25 00:00:00", 100, "2026-10-25 02:00:00"},
		{"back: its second half", early, "2026-10-25 01:30:00", 100, "2026-10-25 02:00:00"},
		{"the length of a night that loses an hour", policy.Timetable{Base: 1, Location: berlin, Windows: []policy.Window{window(t, "", "22:00", "06:00", 2)}}, "2026-03-28 21:00:00", 2, "2026-03-29 04:00:00"},
		{"a whole day", policy.Timetable{Base: 1, Windows: []policy.Window{window(t, "sat", "00:00", "24:00", 2)}}, "2026-11-28 00:00:00", 2, "2026-11-29 00:00:00"},
		{"the last that covers a moment decides", policy.Timetable{Windows: []policy.Window{
			window(t, "", "00:00", "24:00", 5), window(t, "", "12:00", "13:00", 6),
		}}, "2026-11-27 12:30:00", 6, "2026-11-27 13:00:00"},
		{"two windows of one rate are no change", policy.Timetable{Base: 1, Windows: []policy.Window{
			window(t, "", "08:00", "12:00", 5), window(t, "", "12:00", "18:00", 5),
		}}, "2026-11-27 09:00:00", 5, "2026-11-27 18:00:00"},
		{"a window that always holds", policy.Timetable{Base: 1, Windows: []policy.Window{window(t, "", "00:00", "24:00", 2)}}, "2026-11-27 09:00:00", 2, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			rate, until := c.table.At(moment(t, c.now))
			var want time.Time
			if c.until != "" {
				want = moment(t, c.until)
			}
			if rate != c.rate || !until.Equal(want) {
				t.Errorf("at %s: got %d until %v, want %d until %v", c.now, rate, until.UTC(), c.rate, want)
			}
		})
	}
}

// Minute by minute, what At says holds: the rate does not change before until, and
// is another one then.
func TestTimetableChangesWhenItSays(t *testing.T) {
	zones := []string{"UTC", "Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "Pacific/Apia"}
	starts := []string{"2026-03-28 10:00:00", "2026-10-24 10:00:00", "2018-11-03 10:00:00", "2026-10-03 10:00:00", "2011-12-29 08:00:00"}
	rapid.Check(t, func(t *rapid.T) {
		table := policy.Timetable{Base: 1, Location: zone(t, rapid.SampledFrom(zones).Draw(t, "zone"))}
		for range rapid.IntRange(0, 4).Draw(t, "windows") {
			table.Windows = append(table.Windows, policy.Window{
				Days: policy.Weekdays(rapid.IntRange(0, 127).Draw(t, "days")),
				From: policy.Clock(rapid.IntRange(0, 48).Draw(t, "from") * 30), To: policy.Clock(rapid.IntRange(0, 48).Draw(t, "to") * 30),
				Rate: policy.Rate(rapid.IntRange(0, 3).Draw(t, "rate")),
			})
		}
		now := moment(t, rapid.SampledFrom(starts).Draw(t, "start")).Add(time.Duration(rapid.IntRange(0, 2880).Draw(t, "minutes")) * time.Minute)
		rate, until := table.At(now)
		for at := now; at.Before(now.Add(72 * time.Hour)); at = at.Add(time.Minute) {
			r, _ := table.At(at)
			switch isOver := !until.IsZero() && !at.Before(until); {
			case !isOver && r != rate:
				t.Fatalf("at %v it is %d until %v, and at %v %d", now, rate, until, at, r)
			case isOver && r == rate:
				t.Fatalf("at %v it is %d until %v, and then still", now, rate, until)
			case isOver:
				return
			}
		}
	})
}

func TestParseWeekdays(t *testing.T) {
	for _, c := range []struct{ in, want, says string }{
		{"mon", "mon", ""},
		{"Saturday, sun", "sat,sun", ""},
		{"mon-fri", "mon,tue,wed,thu,fri", ""},
		{"sat-mon", "mon,sat,sun", ""},
		{"mon-sun", "mon-sun", ""},
		{"tue,tue", "tue", ""},
		{"", "", "is no weekday"},
		{"mo", "", "is no weekday"},
		{"mon-", "", "is no weekday"},
		{"mon-fri-sun", "", "is no weekday"},
	} {
		d, err := policy.ParseWeekdays(c.in)
		says(t, err, c.says)
		if err == nil && d.String() != c.want {
			t.Errorf("%q: got %s, want %s", c.in, d, c.want)
		}
	}
}

func TestParseClock(t *testing.T) {
	for _, c := range []struct {
		in   string
		want policy.Clock
		says string
	}{
		{"00:00", 0, ""},
		{"9:05", 545, ""},
		{"24:00", policy.DayEnd, ""},
		{"24:01", 0, "is no time of day"},
		{"12:60", 0, "is no time of day"},
		{"12", 0, "is no time of day"},
		{"12:5", 0, "is no time of day"},
		{"-1:00", 0, "is no time of day"},
		{"012:00", 0, "is no time of day"},
		{"12:00:00", 0, "is no time of day"},
	} {
		got, err := policy.ParseClock(c.in)
		says(t, err, c.says)
		if got != c.want {
			t.Errorf("%q: got %d, want %d", c.in, got, c.want)
		}
	}
}

func TestWishStandsBeforeTheTimetable(t *testing.T) {
	table := policy.Timetable{Base: 9, Windows: []policy.Window{window(t, "", "08:00", "18:00", 1)}}
	now := moment(t, "2026-11-27 12:00:00")
	for _, c := range []struct {
		name   string
		wish   *policy.Wish
		rate   policy.Rate
		until  string
		wished bool
	}{
		{"none", nil, 1, "2026-11-27 18:00:00", false},
		{"for good", &policy.Wish{Rate: 5}, 5, "", true},
		{"no limit for a while", &policy.Wish{Until: now.Add(time.Second)}, 0, "2026-11-27 12:00:01", true},
		{"over", &policy.Wish{Rate: 5, Until: now}, 1, "2026-11-27 18:00:00", false},
	} {
		rate, until, wished := table.Effective(now, c.wish)
		var want time.Time
		if c.until != "" {
			want = moment(t, c.until)
		}
		if rate != c.rate || !until.Equal(want) || wished != c.wished {
			t.Errorf("%s: got %d until %v, wished %t; want %d until %v, %t", c.name, rate, until, wished, c.rate, want, c.wished)
		}
	}
}
