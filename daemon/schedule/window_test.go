package schedule_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"antipode/daemon/policy"
)

// atNight is due every hour and runs from ten to six.
func atNight(id string) policy.Job {
	return policy.Job{ID: id, Schedule: policy.Schedule{
		Every: time.Hour, Window: policy.Opening{From: 22 * 60, To: 6 * 60},
	}}
}

func TestRunsStartWithinTheWindowOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 0, time.Now)
		pass(4 * time.Hour)
		b.Set([]policy.Job{atNight("j")}, justNow("j"))
		b.serve(t)
		if got, want := b.Next("j"), time.Date(2000, 1, 1, 5, 0, 0, 0, time.UTC); !got.Equal(want) {
			t.Errorf("next: got %v, want %v", got, want)
		}
		pass(20 * time.Hour)
		expect(t, b.strings(), "01T05:00:00 j due", "01T22:00:00 j due", "01T23:00:00 j due", "02T00:00:00 j due")
	})
}

// TestAMissedRunWaitsForItsWindow: the daemon was down in the night and comes up at
// eight: one run makes up for all, when the window opens.
func TestAMissedRunWaitsForItsWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 0, time.Now)
		daily := atNight("j")
		daily.Schedule.Every, daily.Schedule.Cron = 0, "30 2 * * *"
		pass(8 * time.Hour)
		b.Set([]policy.Job{daily}, map[string]time.Time{"j": time.Now().Add(-20 * time.Hour)})
		b.serve(t)
		if got, want := b.Next("j"), time.Date(2000, 1, 1, 22, 0, 0, 0, time.UTC); !got.Equal(want) {
			t.Errorf("next: got %v, want %v", got, want)
		}
		pass(2 * policy.Day)
		expect(t, b.strings(), "01T22:00:00 j missed", "02T02:30:00 j due", "03T02:30:00 j due")
	})
}

// TestAReloadKeepsWhatWaitsForItsWindow: a run was missed in the night, and somebody
// edits the job before the window opens.
func TestAReloadKeepsWhatWaitsForItsWindow(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*policy.Schedule)
		want   []string
	}{
		{"other jitter", func(s *policy.Schedule) { s.Jitter = time.Minute }, []string{"01T22:00:00 j missed"}},
		{"another window", func(s *policy.Schedule) { s.Window.From = 23 * 60 }, []string{"01T23:00:00 j missed"}},
		{"a window that is open", func(s *policy.Schedule) { s.Window.From = 8 * 60 }, []string{"01T09:00:00 j missed"}},
		{"no window", func(s *policy.Schedule) { s.Window = policy.Opening{} }, []string{"01T09:00:00 j missed"}},
		{"no times at all", func(s *policy.Schedule) { *s = policy.Schedule{} }, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t, 0, time.Now)
				daily := atNight("j")
				daily.Schedule.Every, daily.Schedule.Cron = 0, "30 2 * * *"
				pass(8 * time.Hour)
				b.Set([]policy.Job{daily}, map[string]time.Time{"j": time.Now().Add(-20 * time.Hour)})
				b.serve(t)
				pass(time.Hour)
				c.change(&daily.Schedule)
				b.Set([]policy.Job{daily}, nil)
				pass(15 * time.Hour)
				expect(t, b.strings(), c.want...)
			})
		})
	}
}

func TestWhatWasMissedWhilePausedWaitsForItsWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 0, time.Now)
		pass(4*time.Hour + time.Minute)
		b.Set([]policy.Job{atNight("j")}, justNow("j"))
		b.serve(t)
		if err := b.Pause("j"); err != nil {
			t.Fatal(err)
		}
		pass(6 * time.Hour)
		if err := b.Unpause("j"); err != nil {
			t.Fatal(err)
		}
		pass(12*time.Hour + 30*time.Minute)
		expect(t, b.strings(), "01T22:00:00 j missed")
	})
}

func TestATriggerDoesNotWaitForTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 0, time.Now)
		pass(12 * time.Hour)
		b.Set([]policy.Job{atNight("j")}, justNow("j"))
		b.serve(t)
		if err := b.Trigger("j"); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		expect(t, b.strings(), "01T12:00:00 j trigger")
	})
}

// TestJitterIsTheSameAfterARestart, and no part of the interval.
func TestJitterIsTheSameAfterARestart(t *testing.T) {
	job := every("j", time.Hour)
	job.Schedule.Jitter = 10 * time.Minute
	delay := job.Schedule.At("/j", nil).Delay
	if delay == 0 {
		t.Fatal("this job has no delay; the test needs another id")
	}
	for range 2 {
		synctest.Test(t, func(t *testing.T) {
			b := newBench(t, 0, time.Now)
			b.Set([]policy.Job{job}, justNow("j"))
			b.serve(t)
			pass(3 * time.Hour)
			if len(b.runs) != 3 {
				t.Fatalf("got %s, want three runs", strings.Join(b.strings(), ", "))
			}
			for i, r := range b.runs {
				if want := time.Date(2000, 1, 1, i, 0, 0, 0, time.UTC).Add(delay); !r.at.Equal(want) {
					t.Errorf("run %d: got %v, want %v", i, r.at, want)
				}
			}
		})
	}
}

// TestOneRunMakesUpForAMonth of a job that is due every two minutes.
func TestOneRunMakesUpForAMonth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 0, time.Now)
		pass(30*policy.Day + time.Second)
		b.Set([]policy.Job{every("j", 2*time.Minute)}, map[string]time.Time{"j": time.Now().Add(-30 * policy.Day)})
		b.serve(t)
		pass(time.Second)
		expect(t, b.strings(), "31T00:00:01 j missed")
	})
}
