package policy_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"antipode/daemon/policy"
	"antipode/integration/golden"
)

// story is a year of one timetable.
type story struct {
	name, text string
	schedule   policy.Schedule
	zone       string
}

var stories = []story{
	{
		"hourly-through-a-year",
		"Hourly by cron in Berlin. Real time has 8760 hours in 2026 whatever clocks do: none is left out in March,\nnone comes twice in October, and no name in UTC is ever equal to another.",
		policy.Schedule{Cron: "0 * * * *"},
		"Europe/Berlin",
	},
	{
		"nightly-through-a-year",
		"Half past two every night in Berlin. In March that time does not exist, and the run is made as soon as clocks\nhave passed it; in October it exists twice, and the first counts. 365 nights, 365 runs.",
		policy.Schedule{Cron: "30 2 * * *"},
		"Europe/Berlin",
	},
	{
		"every-six-hours-through-a-year",
		"Every six hours, which is counted in UTC: clocks in Berlin go forward and back, and the runs stay where they are.",
		policy.Schedule{Every: 6 * time.Hour},
		"Europe/Berlin",
	},
	{
		"hourly-at-night-through-a-year",
		"Hourly within a window from ten in the evening to six in the morning in Berlin, on the nights that begin on\nMonday to Friday. The night in March has no run less than others, since it is a Saturday's; the window follows the wall clock.",
		policy.Schedule{
			Cron:   "0 * * * *",
			Window: policy.Opening{Days: 0b0111110, From: 22 * 60, To: 6 * 60},
		},
		"Europe/Berlin",
	},
	{
		"two-o-clock-window-through-a-year",
		"Every quarter of an hour within a window from two to three at night in Berlin. The window of 29 March is left out\nby the clock, and that of 25 October is there twice: both are the window.",
		policy.Schedule{
			Cron:   "*/15 * * * *",
			Window: policy.Opening{From: 2 * 60, To: 3 * 60},
		},
		"Europe/Berlin",
	},
}

// TestStories are golden files: a year of each timetable, month by month, and the
// days on which clocks change run by run.
func TestStories(t *testing.T) {
	var all []golden.Story
	for _, s := range stories {
		all = append(all, golden.Story{Name: s.name, Tells: s.text, Text: s.tell})
	}
	golden.Stories(t, all)
}

func (s story) tell(t *testing.T) string {
	loc := zone(t, s.zone)
	table := s.schedule.At("fra1/db", loc)
	var b strings.Builder
	fmt.Fprintf(&b, "%s, window %s, %s, 2026\n\n", s.schedule, s.schedule.Window, s.zone)
	months := map[time.Month]int{}
	changes := map[string][]time.Time{"2026-03-29": nil, "2026-10-25": nil}
	var last time.Time
	longest, shortest := time.Duration(0), 10*policy.Day
	for at := table.Next(time.Date(2026, 1, 1, 0, 0, 0, -1, loc)); at.In(loc).Year() == 2026; at = table.Next(at) {
		wall := at.In(loc)
		months[wall.Month()]++
		if day := wall.Format(time.DateOnly); day == "2026-03-29" || day == "2026-10-25" {
			changes[day] = append(changes[day], at)
		}
		if !last.IsZero() {
			longest, shortest = max(longest, at.Sub(last)), min(shortest, at.Sub(last))
		}
		last = at
	}
	total := 0
	for m := time.January; m <= time.December; m++ {
		fmt.Fprintf(&b, "%-9s %5d runs\n", m, months[m])
		total += months[m]
	}
	fmt.Fprintf(&b, "in all    %5d runs, %s to %s apart\n", total, policy.FormatDuration(shortest), policy.FormatDuration(longest))
	for _, day := range []string{"2026-03-29", "2026-10-25"} {
		fmt.Fprintf(&b, "\n%s, a day of %s hours\n", day, map[string]string{"2026-03-29": "23", "2026-10-25": "25"}[day])
		for _, at := range changes[day] {
			fmt.Fprintf(&b, "  %s  %s\n", policy.SnapshotName("db", at), at.In(loc).Format("15:04 MST"))
		}
		if len(changes[day]) == 0 {
			b.WriteString("  no run\n")
		}
	}
	return b.String()
}
