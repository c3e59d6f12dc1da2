package policy_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"antipode/daemon/policy"
)

// night is open from ten in the evening to six in the morning.
var night = policy.Opening{From: 22 * 60, To: 6 * 60}

func TestOpening(t *testing.T) {
	weekend := policy.Opening{Days: 1<<time.Saturday | 1<<time.Sunday, To: policy.DayEnd}
	friday := policy.Opening{Days: 1 << time.Friday, From: 22 * 60, To: 6 * 60}
	for _, c := range []struct {
		name   string
		window policy.Opening
		zone   string
		at     string // UTC
		opens  string // UTC, "" for open
	}{
		{"no window is always open", policy.Opening{}, "UTC", "2026-03-01 12:00:00", ""},
		{"closed by day", night, "UTC", "2026-03-01 12:00:00", "2026-03-01 22:00:00"},
		{"open from its first second", night, "UTC", "2026-03-01 22:00:00", ""},
		{"open across midnight", night, "UTC", "2026-03-02 05:59:59", ""},
		{"closed from its last", night, "UTC", "2026-03-02 06:00:00", "2026-03-02 22:00:00"},
		{"in its zone", night, "Asia/Tokyo", "2026-03-01 12:00:00", "2026-03-01 13:00:00"},
		{"whole days", weekend, "UTC", "2026-03-01 23:59:59", ""},
		{"and none between", weekend, "UTC", "2026-03-02 00:00:00", "2026-03-07 00:00:00"},
		{"a night belongs to the day on which it began", friday, "UTC", "2026-03-07 05:00:00", ""},
		{"and not to the one on which it ends", friday, "UTC", "2026-03-06 05:00:00", "2026-03-06 22:00:00"},
		{"an hour that clocks leave out opens when they have passed it", policy.Opening{From: 150, To: 5 * 60}, "Europe/Berlin", "2026-03-29 00:00:00", "2026-03-29 01:00:00"},
		{"a window that clocks leave out does not open that day", policy.Opening{From: 2 * 60, To: 3 * 60}, "Europe/Berlin", "2026-03-29 00:00:00", "2026-03-30 00:00:00"},
		{"clocks that go back open it again", policy.Opening{From: 2 * 60, To: 150}, "Europe/Berlin", "2026-10-25 00:45:00", "2026-10-25 01:00:00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			at, loc := moment(t, c.at), zone(t, c.zone)
			want := at
			if c.opens != "" {
				want = moment(t, c.opens)
			}
			if got := c.window.Contains(at, loc); got != (c.opens == "") {
				t.Errorf("open: got %t", got)
			}
			if got := c.window.Opens(at, loc); !got.Equal(want) {
				t.Errorf("opens: got %v, want %v", got.UTC(), want)
			}
		})
	}
}

func TestOpeningText(t *testing.T) {
	w := policy.Opening{Days: 1<<time.Sunday | 1<<time.Friday, From: 22 * 60, To: 6 * 60}
	if got := w.String(); got != "fri,sun 22:00-06:00" {
		t.Errorf("got %q", got)
	}
	if got := (policy.Opening{}).String(); got != "always" {
		t.Errorf("got %q", got)
	}
}

func TestTimesValidate(t *testing.T) {
	for _, c := range []struct {
		name, says string
		schedule   policy.Schedule
	}{
		{"jitter", "", policy.Schedule{Every: time.Hour, Jitter: time.Minute}},
		{"jitter below a second", "whole number of seconds", policy.Schedule{Every: time.Hour, Jitter: time.Millisecond}},
		{"jitter longer than every", "longer than every", policy.Schedule{Every: time.Minute, Jitter: time.Hour}},
		{"jitter of days", "longer than a day", policy.Schedule{Cron: "0 0 * * *", Jitter: 2 * policy.Day}},
		{"jitter of nothing", "jitter means nothing without every or cron", policy.Schedule{Jitter: time.Minute}},
		{"window of nothing", "window means nothing without every or cron", policy.Schedule{Window: night}},
		{"window", "", policy.Schedule{Cron: "30 2 * * *", Window: night}},
		{"window without time", "begins and ends at 22:00", policy.Schedule{Every: time.Hour, Window: policy.Opening{From: 22 * 60, To: 22 * 60}}},
		{"never in the window", "never comes to pass within the window mon-sun 22:00-06:00", policy.Schedule{Cron: "30 12 * * *", Window: night}},
		{"jitter out of the window", "late by its whole jitter", policy.Schedule{Cron: "50 5 * * *", Window: night, Jitter: 20 * time.Minute}},
	} {
		t.Run(c.name, func(t *testing.T) { says(t, c.schedule.Validate("", nil), c.says) })
	}
}

// TestAFleetSpreads: delays depend on the key alone and fill the jitter evenly.
func TestAFleetSpreads(t *testing.T) {
	s := policy.Schedule{Every: time.Hour, Jitter: 9 * time.Second}
	count := map[time.Duration]int{}
	for i := range 10_000 {
		key := fmt.Sprintf("node%d/db", i)
		delay := s.At(key, nil).Delay
		if again := s.At(key, time.UTC).Delay; again != delay {
			t.Fatalf("%s: got %v and %v, want always the same", key, delay, again)
		}
		count[delay]++
	}
	for i := range time.Duration(10) {
		if n := count[i*time.Second]; n < 850 || n > 1150 {
			t.Errorf("%d of 10,000 nodes start %v late, want about 1,000", n, i*time.Second)
		}
	}
}

// timetables draws one whose window the schedule comes to pass in.
func calendars(t *rapid.T) policy.Calendar {
	s, loc := schedules(t)
	s.Jitter = time.Duration(rapid.IntRange(0, 10).Draw(t, "jitter")) * time.Second
	if rapid.Bool().Draw(t, "windowed") {
		s.Window = policy.Opening{
			Days: policy.Weekdays(rapid.IntRange(0, 127).Draw(t, "days")),
			From: policy.Clock(rapid.IntRange(0, 95).Draw(t, "from") * 15),
			To:   policy.Clock(rapid.IntRange(1, 96).Draw(t, "to") * 15),
		}
	}
	if s.Validate("", loc) != nil {
		t.Skip("it never comes to pass")
	}
	return s.At(rapid.StringN(1, 10, 40).Draw(t, "key"), loc)
}

// TestACalendarHoldsItsWindow: every run is due, late by the delay, and in the
// window; none is left out that would be; and Previous turns Next round.
func TestACalendarHoldsItsWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := calendars(t)
		now := time.Unix(rapid.Int64Range(1_300_000_000, 2_000_000_000).Draw(t, "now"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
		next := table.Next(now)
		if next.IsZero() {
			return // five years were not enough for one day of the week on a leap day
		}
		due := next.Add(-table.Delay)
		if !next.After(now) || !table.IsOpen(next) || !table.Schedule.Previous(due, table.Location).Equal(due) {
			t.Fatalf("%v late %v, window %s: %v after %v is not due or not in the window", table, table.Delay, table.Window, next, now)
		}
		if opens := table.Opens(now); opens.After(next) || opens.Before(now) {
			t.Fatalf("the window opens at %v, and a run is at %v", opens, next)
		}
		for due, looks := now.Add(-table.Delay), 0; looks < 500; looks++ {
			due = table.Schedule.Next(due, table.Location)
			if at := due.Add(table.Delay); !at.Before(next) {
				break
			} else if table.IsOpen(at) {
				t.Fatalf("%v is due and in the window, and left out before %v", at, next)
			}
		}
		if got := table.Previous(next); !got.Equal(next) {
			t.Fatalf("previous at %v is %v, want itself", next, got)
		}
		if got := table.Previous(next.Add(-time.Second)); !got.IsZero() && !got.Before(next) || got.After(now) && got.Before(next) {
			t.Fatalf("previous before %v is %v, after %v", next, got, now)
		}
	})
}

func TestGap(t *testing.T) {
	const hour = time.Hour
	berlin := zone(t, "Europe/Berlin")
	for _, c := range []struct {
		name     string
		schedule policy.Schedule
		least    time.Duration
		want     time.Duration
	}{
		{"every", policy.Schedule{Every: hour}, hour, hour},
		{"every, often enough", policy.Schedule{Every: hour}, hour + 1, 0},
		{"a cron of every day", policy.Schedule{Cron: "0 3 * * *"}, hour, policy.Day},
		{"a cron of every day, often enough", policy.Schedule{Cron: "0 3 * * *"}, 26 * hour, 0},
		{"a cron of every month", policy.Schedule{Cron: "0 3 1 * *"}, hour, 28 * policy.Day},
		{"a weekend", policy.Schedule{Cron: "*/10 8-17 * * 1-5"}, hour, 62*hour + 10*time.Minute},
		{"nights, looked for by the minute", policy.Schedule{Cron: "* 8-17 * * *"}, 2 * time.Minute, 14*hour + time.Minute},
		{"a window", policy.Schedule{Every: hour, Window: night}, 2 * hour, 17 * hour},
		{"a window that is long enough", policy.Schedule{Every: hour, Window: night}, 18 * hour, 0},
		{"no schedule", policy.Schedule{}, hour, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := c.schedule.At("", berlin).Gap(c.least); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// TestGapIsTheFirstThatThereIs: as a walk from run to run finds it.
func TestGapIsTheFirstThatThereIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		table := calendars(t)
		least := time.Duration(rapid.IntRange(1, 5000).Draw(t, "least")) * time.Minute
		got := table.Gap(least)
		if got != 0 && got < least {
			t.Fatalf("got a gap of %v, want %v at least", got, least)
		}
		noon := time.Date(2026, 1, 2, 12, 0, 0, 0, table.Location)
		if table.Every > 0 && table.Window.IsZero() {
			return
		}
		for last, runs := table.Next(noon), 0; runs < 500 && !last.IsZero(); runs++ {
			next := table.Next(last)
			if gap := next.Sub(last); !next.IsZero() && gap >= least {
				if gap != got {
					t.Fatalf("got %v, want the gap of %v after %v", got, gap, last)
				}
				return
			}
			last = next
		}
	})
}
