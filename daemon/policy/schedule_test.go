package policy_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"antipode/daemon/policy"
)

func zone(t interface{ Fatal(...any) }, name string) *time.Location {
	loc, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// moment reads "2006-01-02 15:04:05" in UTC.
func moment(t interface{ Fatal(...any) }, s string) time.Time {
	at, err := time.Parse(time.DateTime, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestNext(t *testing.T) {
	for _, c := range []struct {
		name        string
		schedule    policy.Schedule
		zone        string
		after, want string // UTC
	}{
		{"every hour", policy.Schedule{Every: time.Hour}, "UTC", "2026-03-01 10:20:30", "2026-03-01 11:00:00"},
		{"after a due time comes the next", policy.Schedule{Every: time.Hour}, "UTC", "2026-03-01 11:00:00", "2026-03-01 12:00:00"},
		{"every is the same in every zone", policy.Schedule{Every: 24 * time.Hour}, "Asia/Tokyo", "2026-03-01 10:20:30", "2026-03-02 00:00:00"},
		{"a week begins on a Thursday, like the epoch", policy.Schedule{Every: policy.Week}, "UTC", "2026-03-01 00:00:00", "2026-03-05 00:00:00"},
		{"before the epoch", policy.Schedule{Every: time.Hour}, "UTC", "1969-12-31 22:30:00", "1969-12-31 23:00:00"},
		{"seven seconds do not divide a minute", policy.Schedule{Every: 7 * time.Second}, "UTC", "1970-01-01 00:01:00", "1970-01-01 00:01:03"},
		{"cron", policy.Schedule{Cron: "30 2 * * *"}, "UTC", "2026-03-01 10:00:00", "2026-03-02 02:30:00"},
		{"cron with seconds", policy.Schedule{Cron: "*/15 * * * * *"}, "UTC", "2026-03-01 10:00:01", "2026-03-01 10:00:15"},
		{"cron in a zone", policy.Schedule{Cron: "0 6 * * *"}, "Asia/Tokyo", "2026-03-01 10:00:00", "2026-03-01 21:00:00"},
		{"cron on a leap day", policy.Schedule{Cron: "0 0 29 2 *"}, "UTC", "2026-03-01 00:00:00", "2028-02-29 00:00:00"},

		{"forward: a left-out time runs when it is passed", policy.Schedule{Cron: "30 2 * * *"}, "Europe/Berlin", "2026-03-28 12:00:00", "2026-03-29 01:00:00"},
		{"forward: and once only", policy.Schedule{Cron: "30 2 * * *"}, "Europe/Berlin", "2026-03-29 01:00:00", "2026-03-30 00:30:00"},
		{"forward: several left-out times run once", policy.Schedule{Cron: "*/10 2 * * *"}, "Europe/Berlin", "2026-03-29 01:00:00", "2026-03-30 00:00:00"},
		{"forward: hourly goes on", policy.Schedule{Cron: "0 * * * *"}, "Europe/Berlin", "2026-03-29 00:00:00", "2026-03-29 01:00:00"},
		{"back: the first of two", policy.Schedule{Cron: "30 2 * * *"}, "Europe/Berlin", "2026-10-24 12:00:00", "2026-10-25 00:30:00"},
		{"back: not the second", policy.Schedule{Cron: "30 2 * * *"}, "Europe/Berlin", "2026-10-25 00:30:00", "2026-10-26 01:30:00"},
		{"back: asked between the two", policy.Schedule{Cron: "30 2 * * *"}, "Europe/Berlin", "2026-10-25 01:10:00", "2026-10-26 01:30:00"},
		{"back: hourly runs in both hours", policy.Schedule{Cron: "0 * * * *"}, "Europe/Berlin", "2026-10-25 00:00:00", "2026-10-25 01:00:00"},
		{"back: quarter hours in both hours", policy.Schedule{Cron: "*/15 * * * *"}, "Europe/Berlin", "2026-10-25 00:45:00", "2026-10-25 01:00:00"},
		{"midnight that is left out", policy.Schedule{Cron: "0 0 * * *"}, "America/Sao_Paulo", "2018-11-03 12:00:00", "2018-11-04 03:00:00"},
		{"a change of half an hour", policy.Schedule{Cron: "0 * * * *"}, "Australia/Lord_Howe", "2026-10-03 15:10:00", "2026-10-03 16:00:00"},
		{"a day that a zone left out", policy.Schedule{Cron: "0 12 30 12 *"}, "Pacific/Apia", "2011-12-29 12:00:00", "2011-12-30 10:00:00"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := c.schedule.Next(moment(t, c.after), zone(t, c.zone))
			if want := moment(t, c.want); !got.Equal(want) {
				t.Errorf("got %v, want %v", got.UTC(), want)
			}
		})
	}
}

func TestScheduleValidate(t *testing.T) {
	for _, c := range []struct {
		name, says string
		schedule   policy.Schedule
	}{
		{"none", "", policy.Schedule{}},
		{"every", "", policy.Schedule{Every: 10 * time.Second}},
		{"five fields", "", policy.Schedule{Cron: "0 * * * *"}},
		{"six fields", "", policy.Schedule{Cron: "0 0 * * * *"}},
		{"names", "", policy.Schedule{Cron: "0 3 * jan-mar mon,fri"}},
		{"both", "keep one", policy.Schedule{Every: time.Hour, Cron: "0 * * * *"}},
		{"below a second", "whole number of seconds", policy.Schedule{Every: 1500 * time.Millisecond}},
		{"negative", "out of range", policy.Schedule{Every: -time.Hour}},
		{"decades", "out of range", policy.Schedule{Every: 5000 * policy.Day}},
		{"four fields", "has 4 fields", policy.Schedule{Cron: "* * * *"}},
		{"a minute too many", "want five fields", policy.Schedule{Cron: "60 * * * *"}},
		{"words", "has 2 fields", policy.Schedule{Cron: "every hour"}},
		{"descriptor", "want five fields", policy.Schedule{Cron: "@every 5m"}},
		{"zone inside", "set timezone", policy.Schedule{Cron: "TZ=UTC * * * * *"}},
		{"broken zone inside", "want five fields", policy.Schedule{Cron: "TZ=0"}},
		{"never", "never comes", policy.Schedule{Cron: "0 0 30 2 *"}},
	} {
		t.Run(c.name, func(t *testing.T) { says(t, c.schedule.Validate("", nil), c.says) })
	}
}

// schedules draws a valid schedule and a zone with its own idea of time.
func schedules(t *rapid.T) (policy.Schedule, *time.Location) {
	s := rapid.SampledFrom([]policy.Schedule{
		{Every: 10 * time.Second},
		{Every: time.Hour},
		{Every: policy.Week},
		{Every: 7 * time.Minute},
		{Cron: "0 * * * *"},
		{Cron: "*/7 * * * *"},
		{Cron: "30 2 * * *"},
		{Cron: "0 0 * * 1"},
		{Cron: "15,45 1-3 * * *"},
		{Cron: "0 0 1 1 *"},
		{Cron: "*/20 * * * * *"},
		{Cron: "59 23 31 12 *"},
		{Cron: "0 0 29 2 *"},
	}).Draw(t, "schedule")
	loc := zone(t, rapid.SampledFrom([]string{"UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu", "Pacific/Apia"}).Draw(t, "zone"))
	return s, loc
}

// TestNextAndPreviousAgree: time only goes on, nothing lies between two due times,
// and Previous finds what Next says.
func TestNextAndPreviousAgree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, loc := schedules(t)
		now := time.Unix(rapid.Int64Range(1_300_000_000, 2_000_000_000).Draw(t, "now"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
		next := s.Next(now, loc)
		if !next.After(now) {
			t.Fatalf("%v in %v: next after %v is %v", s, loc, now, next)
		}
		between := now.Add(time.Duration(rapid.Int64Range(0, int64(next.Sub(now))-1).Draw(t, "between")))
		if got := s.Next(between, loc); !got.Equal(next) {
			t.Fatalf("%v in %v: next after %v is %v, but after %v it is %v", s, loc, now, next, between, got)
		}
		previous := s.Previous(now, loc)
		if previous.After(now) || !s.Next(previous.Add(-time.Second), loc).Equal(previous) || !s.Next(previous, loc).Equal(next) {
			t.Fatalf("%v in %v: %v is not right before %v and %v", s, loc, previous, now, next)
		}
		if got := s.Previous(next, loc); !got.Equal(next) {
			t.Fatalf("%v in %v: previous at a due time %v is %v, want itself", s, loc, next, got)
		}
	})
}

// TestEveryRealHourIsServed: an hourly cron never leaves more than an hour, not
// even when clocks change.
func TestEveryRealHourIsServed(t *testing.T) {
	for _, name := range []string{"Europe/Berlin", "America/Sao_Paulo", "America/New_York"} {
		s, loc := policy.Schedule{Cron: "0 * * * *"}, zone(t, name)
		at := moment(t, "2018-01-01 00:00:00")
		for range 366 * 24 {
			next := s.Next(at, loc)
			if next.Sub(at) != time.Hour {
				t.Fatalf("%s: %v follows %v, want one hour", name, next, at)
			}
			at = next
		}
	}
}

// TestADailyTimeRunsOnEveryDay of a year, whatever clocks do.
func TestADailyTimeRunsOnEveryDay(t *testing.T) {
	for _, name := range []string{"Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe"} {
		for _, cron := range []string{"30 2 * * *", "0 0 * * *", "15 1 * * *"} {
			s, loc := policy.Schedule{Cron: cron}, zone(t, name)
			at := time.Date(2018, 1, 1, 12, 0, 0, 0, loc)
			for range 365 {
				next := s.Next(at, loc)
				if want := at.AddDate(0, 0, 1).Day(); next.Day() != want {
					t.Fatalf("%s %q: %v follows %v, want one on every day", name, cron, next, at)
				}
				at = time.Date(next.Year(), next.Month(), next.Day(), 12, 0, 0, 0, loc)
			}
		}
	}
}

func TestPreviousOfWhatNeverWas(t *testing.T) {
	if got := (policy.Schedule{}).Previous(time.Now(), nil); !got.IsZero() {
		t.Errorf("got %v, want none", got)
	}
}
