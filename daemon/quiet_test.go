package daemon_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"antipode/daemon/policy"
)

// hooked is a pair whose job has hooks; they note what they were told.
type hooked struct {
	*pair
	calls []string
	env   []map[string]string
	do    func(argv []string) error // nil: both succeed
}

func runHooked(t *testing.T, onFail policy.OnFail, test func(h *hooked)) {
	runPair(t, func(p *pair) {
		h := &hooked{pair: p}
		p.fra1.config.Jobs[0].Hooks = policy.Hooks{
			Before: []string{"/bin/quiet"}, After: []string{"/bin/loud"}, Timeout: time.Minute, OnFail: onFail,
		}
		p.fra1.hook = func(_ context.Context, argv []string, env map[string]string) error {
			h.calls = append(h.calls, strings.TrimSpace(env["EVENT"]+" "+env["RESULT"]))
			h.env = append(h.env, env)
			if h.do == nil {
				return nil
			}
			return h.do(argv)
		}
		test(h)
	})
}

func TestHooksRunAroundTheSnapshotAndTheTimeBetweenIsShown(t *testing.T) {
	runHooked(t, policy.OnFailSkip, func(h *hooked) {
		h.do = func([]string) error {
			time.Sleep(2 * time.Second)
			return nil
		}
		h.startBoth()
		after(time.Minute)
		if want := []string{"before-snapshot", "after-snapshot ok"}; !slices.Equal(h.calls, want) {
			t.Fatalf("got %v, want %v", h.calls, want)
		}
		last := h.env[1]
		if last["JOB"] != "db" || last["NODE"] != "fra1" || last["DATASETS"] != "/data/db" || !strings.HasPrefix(last["SNAPSHOT"], "antipode_db_") {
			t.Errorf("after was told %v", last)
		}
		if held := h.fra1.daemon.Status().Jobs[0].Held; held != 4*time.Second {
			t.Errorf("status says that it was held for %s, want 4s", held)
		}
		runs, err := h.fra1.daemon.Ledger.Runs(1)
		if err != nil || len(runs) != 1 || runs[0].Held != 4*time.Second {
			t.Errorf("history: got %+v, %v, want 4s held", runs, err)
		}
		// The name is of the moment at which it was quiet.
		if list, _ := h.fra1.disk.Source().Snapshots(t.Context(), db); list[0].Created.Second() != 2 {
			t.Errorf("snapshot of %v, want the time after the before hook", list[0].Created)
		}
	})
}

func TestNothingIsHeldForADatasetInWhichNothingWasWritten(t *testing.T) {
	runHooked(t, policy.OnFailSkip, func(h *hooked) {
		restful(h.pair, time.Hour)
		h.startBoth()
		after(time.Hour)
		if len(h.calls) != 2 {
			t.Errorf("got %v, want the hooks once", h.calls)
		}
	})
}

func TestWhenTheBeforeHookFailsTheAfterHookRunsAllTheSame(t *testing.T) {
	for _, c := range []struct {
		onFail    policy.OnFail
		snapshots int
		next      string
	}{{policy.OnFailSkip, 0, `until then no snapshot is made, unless on_fail = "continue" is set in job db`}, {policy.OnFailContinue, 1, "until then snapshots are made of what is not quiet"}} {
		t.Run(string(c.onFail), func(t *testing.T) {
			runHooked(t, c.onFail, func(h *hooked) {
				h.do = func(argv []string) error {
					if argv[0] == "/bin/quiet" {
						return errors.New("the database does not listen")
					}
					return nil
				}
				h.startBoth()
				after(time.Minute)
				if want := []string{"before-snapshot", "after-snapshot failed"}; !slices.Equal(h.calls, want) {
					t.Errorf("got %v, want %v", h.calls, want)
				}
				if n := h.snapshots(); n != c.snapshots {
					t.Errorf("got %d snapshots, want %d", n, c.snapshots)
				}
				problem := h.fra1.daemon.Status().Jobs[0].Problem
				if problem == nil || !strings.Contains(problem.Text, "the database does not listen") {
					t.Errorf("status shows %+v, want what the hook said", problem)
				} else if !strings.HasPrefix(problem.Next, "mend the before hook") || !strings.HasSuffix(problem.Next, c.next) {
					t.Errorf("status tells as the next step %q, want ... %q", problem.Next, c.next)
				}
			})
		})
	}
}

func TestAnAfterHookThatFailsIsAProblemOfTheJob(t *testing.T) {
	runHooked(t, policy.OnFailSkip, func(h *hooked) {
		h.do = func(argv []string) error {
			if argv[0] == "/bin/loud" {
				return errors.New("no")
			}
			return nil
		}
		h.startBoth()
		after(time.Minute)
		problem := h.fra1.daemon.Status().Jobs[0].Problem
		if problem == nil || !strings.Contains(problem.Text, "may still be quiet") {
			t.Errorf("status shows %+v, want that something may still be quiet", problem)
		} else if !strings.Contains(problem.Next, "mend the after hook") {
			t.Errorf("status tells as the next step %q, want to mend the after hook", problem.Next)
		}
		if n := h.snapshots(); n != 1 {
			t.Errorf("got %d snapshots, want the one that was made", n)
		}
	})
}

// TestADaemonThatDiesDuringASnapshotMakesItLoudWhenItStartsAgain: the before hook
// never comes back.
func TestADaemonThatDiesDuringASnapshotMakesItLoudWhenItStartsAgain(t *testing.T) {
	runHooked(t, policy.OnFailSkip, func(h *hooked) {
		file := filepath.Join(h.fra1.config.StateDir, "quiet-db")
		var left []byte
		h.do = func(argv []string) error {
			if argv[0] == "/bin/quiet" {
				left, _ = os.ReadFile(file) // as it is when the daemon is killed now
			}
			return nil
		}
		h.startBoth()
		after(time.Minute)
		h.fra1.stop()
		if _, err := os.Stat(file); err == nil {
			t.Error("the file is still there after the after hook")
		}
		if err := os.WriteFile(file, left, 0o600); err != nil {
			t.Fatal(err)
		}
		h.calls, h.do = nil, nil
		h.start(h.fra1)
		after(time.Minute)
		if want := []string{"after-snapshot interrupted"}; len(h.calls) == 0 || !slices.Equal(h.calls[:1], want) {
			t.Errorf("at its start got %v, want first %v", h.calls, want)
		}
		if _, err := os.Stat(file); err == nil {
			t.Error("the file is still there, so that the hook would run at every start")
		}
		events, err := h.fra1.daemon.Ledger.Events(10)
		if err != nil || len(events) == 0 || events[0].Kind != "made-loud" {
			t.Errorf("history: got %+v, %v, want the made-loud", events, err)
		}
	})
}
