package schedule_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"antipode/daemon/policy"
	"antipode/daemon/schedule"
)

// The bubble's clock starts at 2000-01-01 00:00:00 UTC, a Saturday.

// recorder is the work of jobs: it notes what ran, and can make a run last.
type recorder struct {
	mu      sync.Mutex
	runs    []run
	lasting map[string]time.Duration
	now     func() time.Time
	current map[string]int
	overlap string // a job that ran twice at once
	most    int    // runs side by side
	ended   map[string]error
}

type run struct {
	job, cause string
	at         time.Time
}

func (r run) String() string { return r.at.UTC().Format("02T15:04:05") + " " + r.job + " " + r.cause }

func (r *recorder) run(ctx context.Context, job, cause string) error {
	r.mu.Lock()
	r.runs = append(r.runs, run{job, cause, r.now()})
	r.current[job]++
	if r.current[job] > 1 {
		r.overlap = job
	}
	total := 0
	for _, n := range r.current {
		total += n
	}
	r.most = max(r.most, total)
	long := r.lasting[job]
	r.mu.Unlock()

	select {
	case <-time.After(long):
	case <-ctx.Done():
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.current[job]--
	r.ended[job] = ctx.Err()
	return nil
}

func (r *recorder) strings() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []string
	for _, x := range r.runs {
		all = append(all, x.String())
	}
	return all
}

func (r *recorder) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.runs = nil
}

// bench is a scheduler that serves inside a bubble.
type bench struct {
	*schedule.Scheduler
	*recorder
	stop func() error
}

func newBench(t *testing.T, concurrency int, now func() time.Time) *bench {
	t.Helper()
	r := &recorder{lasting: map[string]time.Duration{}, current: map[string]int{}, ended: map[string]error{}, now: now}
	s := schedule.New(schedule.Options{Run: r.run, Now: now, Log: zerolog.Nop(), Concurrency: concurrency})
	return &bench{Scheduler: s, recorder: r}
}

func (b *bench) serve(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Serve(ctx) }()
	b.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() {
		if err := b.stop(); err != nil {
			t.Errorf("Serve: got %v, want nil", err)
		}
	})
	synctest.Wait()
}

// pass lets virtual time go by.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func every(id string, d time.Duration) policy.Job {
	return policy.Job{ID: id, Schedule: policy.Schedule{Every: d}}
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Fatalf("runs:\ngot  %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

// justNow says that a job is not behind.
func justNow(ids ...string) map[string]time.Time {
	last := map[string]time.Time{}
	for _, id := range ids {
		last[id] = time.Now()
	}
	return last
}

func TestDaysOfSchedule(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 0, time.Now)
		pass(84 * policy.Day) // to 25 March; clocks in Berlin go forward on the 26th
		b.Set([]policy.Job{
			every("ten", 10*time.Second),
			every("hour", time.Hour),
			{ID: "night", Schedule: policy.Schedule{Cron: "30 2 * * *"}, Location: berlin},
		}, justNow("ten", "hour", "night"))
		b.serve(t)
		pass(3 * policy.Day)
		count := map[string]int{}
		var nights []string
		for _, r := range b.runs {
			count[r.job]++
			if r.job == "hour" && r.at.Minute() != 0 {
				t.Errorf("hour ran at %s, want full hours", r)
			}
			if r.job == "night" {
				nights = append(nights, r.at.UTC().Format("02T15:04"))
			}
		}
		if count["ten"] != 3*8640 || count["hour"] != 72 {
			t.Errorf("got %v, want 25920 of ten and 72 of hour", count)
		}
		if want := []string{"25T01:30", "26T01:00", "27T00:30"}; !slices.Equal(nights, want) {
			t.Errorf("nights: got %v, want %v", nights, want)
		}
	})
}

func TestChangeOfClocks(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		start time.Time
		cron  string
		want  []string
	}{
		{"forward, left-out time runs at the jump", time.Date(2000, 3, 25, 12, 0, 0, 0, time.UTC), "30 2 * * *", []string{"26T01:00:00 j due", "27T00:30:00 j due"}},
		{"back, repeated time runs once", time.Date(2000, 10, 28, 12, 0, 0, 0, time.UTC), "30 2 * * *", []string{"29T00:30:00 j due", "30T01:30:00 j due"}},
		{"back, every second hour of the night in real time", time.Date(2000, 10, 29, 0, 10, 0, 0, time.UTC), "0 * * * *", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pass(time.Until(c.start))
				b := newBench(t, 0, time.Now)
				b.Set([]policy.Job{{ID: "j", Schedule: policy.Schedule{Cron: c.cron}, Location: berlin}}, justNow("j"))
				b.serve(t)
				pass(2 * policy.Day)
				if c.want == nil {
					if n := len(b.strings()); n != 48 {
						t.Errorf("got %d runs in 48 hours, want 48", n)
					}
					return
				}
				expect(t, b.strings(), c.want...)
			})
		})
	}
}

func TestCatchUp(t *testing.T) {
	for _, c := range []struct {
		name string
		ago  time.Duration // of the last run, at 00:30; 0 is never
		want []string
	}{
		{"in time", 20 * time.Minute, nil},
		{"one missed", 40 * time.Minute, []string{"01T00:30:00 j missed"}},
		{"a week missed runs once", policy.Week, []string{"01T00:30:00 j missed"}},
		{"never ran", 0, []string{"01T00:30:00 j missed"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pass(30 * time.Minute)
				b := newBench(t, 0, time.Now)
				last := map[string]time.Time{}
				if c.ago > 0 {
					last["j"] = time.Now().Add(-c.ago)
				}
				b.Set([]policy.Job{every("j", time.Hour)}, last)
				b.serve(t)
				pass(10 * time.Minute)
				expect(t, b.strings(), c.want...)
			})
		})
	}
}

// TestARunThatIsDueSoonMakesUpForTheMissed: when such a job began last may have been
// lost to a power cut, so that it would run twice within its period.
func TestARunThatIsDueSoonMakesUpForTheMissed(t *testing.T) {
	for _, c := range []struct {
		name  string
		every time.Duration
		ago   time.Duration // of the last run, at 00:30:10; 0 is never
		want  []string
	}{
		{"every minute", time.Minute, time.Hour, []string{"01T00:31:00 j due", "01T00:32:00 j due"}},
		{"never ran", time.Minute, 0, []string{"01T00:30:10 j missed", "01T00:31:00 j due", "01T00:32:00 j due"}},
		{"every two minutes", 2 * time.Minute, time.Hour, []string{"01T00:30:10 j missed", "01T00:32:00 j due"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pass(30*time.Minute + 10*time.Second)
				b := newBench(t, 0, time.Now)
				last := map[string]time.Time{}
				if c.ago > 0 {
					last["j"] = time.Now().Add(-c.ago)
				}
				b.Set([]policy.Job{every("j", c.every)}, last)
				b.serve(t)
				pass(2 * time.Minute)
				expect(t, b.strings(), c.want...)
			})
		})
	}
}

// TestWhatFallsDueBeforeServeIsMadeUpFor: a daemon looks at its disks first.
func TestWhatFallsDueBeforeServeIsMadeUpFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 0, time.Now)
		pass(59*time.Minute + 30*time.Second)
		b.Set([]policy.Job{every("due", time.Hour), every("missed", time.Hour)},
			map[string]time.Time{"due": time.Now(), "missed": time.Now().Add(-policy.Day)})
		pass(time.Minute)
		b.serve(t)
		got := b.strings()
		slices.Sort(got)
		expect(t, got, "01T01:00:30 due missed", "01T01:00:30 missed missed")
	})
}

func TestRunsNeverOverlapAndATickIsRememberedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 0, time.Now)
		b.lasting["j"] = 35 * time.Second
		b.Set([]policy.Job{every("j", 10*time.Second)}, justNow("j"))
		b.serve(t)
		pass(50 * time.Second)
		// Ticks at 20, 30 and 40 fall into the first run; one is remembered.
		expect(t, b.strings(), "01T00:00:10 j due", "01T00:00:45 j due")
		pass(time.Hour)
		if b.overlap != "" {
			t.Errorf("job %q ran twice at once", b.overlap)
		}
	})
}

func TestConcurrencyIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 2, time.Now)
		var jobs []policy.Job
		for i := range 5 {
			id := fmt.Sprint("j", i)
			jobs = append(jobs, every(id, time.Hour))
			b.lasting[id] = time.Minute
		}
		b.Set(jobs, nil)
		b.serve(t)
		pass(10 * time.Minute)
		if len(b.runs) != 5 || b.most != 2 {
			t.Errorf("got %d runs with %d side by side, want 5 with 2", len(b.runs), b.most)
		}
	})
}

func TestTriggerAndPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 0, time.Now)
		b.Set([]policy.Job{every("j", time.Hour), {ID: "hand"}}, justNow("j"))
		b.serve(t)
		must := func(err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		must(b.Trigger("hand"))
		expect(t, b.strings(), "01T00:00:00 hand trigger")
		b.reset()

		must(b.Pause("j"))
		if !b.IsPaused("j") || !b.Next("j").IsZero() {
			t.Errorf("paused: got %v, next %v; want true and none", b.IsPaused("j"), b.Next("j"))
		}
		pass(90 * time.Minute)
		expect(t, b.strings())
		must(b.Trigger("j"))
		expect(t, b.strings(), "01T01:30:00 j trigger")
		must(b.Unpause("j"))
		expect(t, b.strings(), "01T01:30:00 j trigger", "01T01:30:00 j missed")
		if got, want := b.Next("j"), time.Date(2000, 1, 1, 2, 0, 0, 0, time.UTC); !got.Equal(want) {
			t.Errorf("Next: got %v, want %v", got, want)
		}
		if err := b.Trigger("nobody"); !errors.Is(err, schedule.ErrUnknown) {
			t.Errorf("Trigger of an unknown job: got %v, want ErrUnknown", err)
		}
	})
}

func TestTriggerWhileRunningRunsOnceMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 0, time.Now)
		b.lasting["j"] = time.Minute
		b.Set([]policy.Job{{ID: "j"}}, nil)
		b.serve(t)
		for range 4 {
			if err := b.Trigger("j"); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		pass(time.Hour)
		expect(t, b.strings(), "01T00:00:00 j trigger", "01T00:01:00 j trigger")
	})
}

func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 0, time.Now)
		b.lasting["gone"] = policy.Day
		b.Set([]policy.Job{every("same", time.Hour), every("other", time.Hour), every("gone", 40*time.Minute)}, justNow("same", "other", "gone"))
		b.serve(t)
		pass(50 * time.Minute) // gone is running
		b.Set([]policy.Job{every("same", time.Hour), every("other", 25*time.Minute)}, nil)
		pass(20 * time.Minute)
		expect(t, b.strings(), "01T00:40:00 gone due", "01T01:00:00 same due", b.first("other"))
		if !errors.Is(b.ended["gone"], context.Canceled) {
			t.Errorf("run of a dropped job: got %v, want it cancelled", b.ended["gone"])
		}
		if err := b.Trigger("gone"); !errors.Is(err, schedule.ErrUnknown) {
			t.Errorf("Trigger of a dropped job: got %v, want ErrUnknown", err)
		}
	})
}

// first is the first run of a job after 00:50 on its 25-minute schedule.
func (b *bench) first(job string) string {
	from := time.Date(2000, 1, 1, 0, 50, 0, 0, time.UTC)
	at := policy.Schedule{Every: 25 * time.Minute}.Next(from, nil)
	return run{job, schedule.CauseDue, at}.String()
}

func TestDroppedAndPutBackWhileItsRunWindsDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		winding := make(chan struct{})
		var mu sync.Mutex
		var causes []string
		s := schedule.New(schedule.Options{Now: time.Now, Log: zerolog.Nop(), Run: func(ctx context.Context, _, cause string) error {
			mu.Lock()
			causes = append(causes, cause)
			mu.Unlock()
			<-ctx.Done()
			<-winding
			return nil
		}})
		jobs := []policy.Job{every("j", time.Hour)}
		s.Set(jobs, nil)
		b := &bench{Scheduler: s}
		b.serve(t)
		s.Set(nil, nil)
		s.Set(jobs, nil)
		synctest.Wait()
		if len(causes) != 1 {
			t.Errorf("got %v, want one run while the first winds down", causes)
		}
		close(winding)
		synctest.Wait()
		if len(causes) != 2 {
			t.Errorf("got %v, want the second after the first", causes)
		}
	})
}

func TestClockJumps(t *testing.T) {
	for _, c := range []struct {
		name string
		step time.Duration
		want []string
	}{
		{"forward past a due time", 3 * time.Hour, []string{"01T03:10:30 j missed", "01T04:00:00 j due"}},
		{"a year ahead", 365 * policy.Day, []string{"31T00:10:30 j missed", "31T01:00:00 j due"}},
		{"back", -2 * time.Hour, []string{"31T23:00:00 j due", "01T00:00:00 j due"}},
		{"slewed", time.Second, []string{"01T01:00:01 j due"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				offset := time.Duration(0)
				now := func() time.Time {
					mu.Lock()
					defer mu.Unlock()
					return time.Now().Round(0).Add(offset)
				}
				b := newBench(t, 0, now)
				b.Set([]policy.Job{every("j", time.Hour)}, justNow("j"))
				b.serve(t)
				pass(10*time.Minute + time.Second)
				mu.Lock()
				offset = c.step
				mu.Unlock()
				pass(115 * time.Minute)
				got := b.strings()
				if len(got) < len(c.want) {
					t.Fatalf("got %q, want it to start with %q", got, c.want)
				}
				expect(t, got[:len(c.want)], c.want...)
			})
		})
	}
}

func TestServeEndsRunsAndWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 0, time.Now)
		b.lasting["j"] = policy.Day
		b.Set([]policy.Job{every("j", time.Hour)}, nil)
		b.serve(t)
		start := time.Now()
		if err := b.stop(); err != nil {
			t.Fatalf("Serve: got %v, want nil", err)
		}
		if !errors.Is(b.ended["j"], context.Canceled) || time.Since(start) > time.Second {
			t.Errorf("run ended with %v after %v, want cancelled at once", b.ended["j"], time.Since(start))
		}
		if err := b.Trigger("j"); err != nil {
			t.Errorf("Trigger after Serve: got %v, want it remembered", err)
		}
	})
}

func TestAwaitReturnsWhenWhatIsDueIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, 1, time.Now)
		b.lasting["slow"], b.lasting["db"] = time.Minute, time.Minute
		began := time.Now()
		b.Set([]policy.Job{{ID: "slow", Schedule: policy.Schedule{Every: policy.Day}}, {ID: "db", Schedule: policy.Schedule{Every: policy.Day}}}, nil)
		b.serve(t)
		for _, id := range []string{"slow", "db", "nobody's"} { // one waits for the other's place
			b.Await(t.Context(), id)
		}
		if waited := time.Since(began); waited != 2*time.Minute {
			t.Errorf("waited %v for two runs of a minute, one after the other", waited)
		}
		if err := b.Trigger("db"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		before := time.Now()
		if b.Await(ctx, "db"); time.Since(before) != time.Second {
			t.Errorf("waited %v with a second to wait", time.Since(before))
		}
	})
}
