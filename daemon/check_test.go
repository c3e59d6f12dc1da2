package daemon_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/policy"
)

// A command that cannot be started is found before the moment when it counts.
func TestCheckFindsCommandsThatCannotBeRun(t *testing.T) {
	dir := t.TempDir()
	plain, runs := filepath.Join(dir, "plain"), filepath.Join(dir, "runs")
	for path, mode := range map[string]os.FileMode{plain: 0o600, runs: 0o700} {
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	runPair(t, func(p *pair) {
		p.fra1.config.Jobs[0].Hooks = policy.Hooks{Before: []string{plain}, After: []string{runs, "/none"}, Timeout: time.Minute}
		p.fra1.config.Alert.Exec = []string{filepath.Join(dir, "none")}
		p.startBoth()
		after(time.Minute)
		p.wantFinding(p.fra1, "job db", control.Fatal, "before cannot be run: it cannot be executed, try `chmod +x`")
		p.wantFinding(p.fra1, "alert", control.Fatal, "exec cannot be run: it, or the interpreter that it names, does not exist")
		for _, f := range p.fra1.findings(p.t, "job db") {
			if strings.Contains(f.What, "after cannot be run") {
				t.Errorf("a program that can be run is told as %+v", f)
			}
		}
	})
}

// A target tells what its own rules come to, by how often points came.
func TestCheckDeepOnATarget(t *testing.T) {
	for name, tc := range map[string]struct {
		accept func(*policy.Accept)
		hours  time.Duration
		want   string
	}{
		"by its keep":    {func(a *policy.Accept) { a.Keep = policy.Keep{Last: 4, Daily: 10} }, 12, "points came every 1h lately, where most often: with that a replica settles at 14 points, the oldest 9 days old"},
		"by its protect": {func(a *policy.Accept) { a.Protect = policy.Week }, 12, "settles at 222 points, the oldest 59 days old"},
		"too early":      {func(*policy.Accept) {}, 0, "has no replica with two points yet"},
		"for ever":       {func(a *policy.Accept) { a.Keep = policy.Keep{} }, 2, "keeps every point: their number grows for ever"},
	} {
		t.Run(name, func(t *testing.T) {
			runPair(t, func(p *pair) {
				tc.accept(&p.sin1.config.Accepts[0])
				p.startBoth()
				after(tc.hours*time.Hour + time.Minute)
				r, err := p.sin1.daemon.CheckDeep(p.t.Context())
				if err != nil {
					t.Fatal(err)
				}
				var told []string
				for _, f := range r.Findings {
					if f.Object == "accept from fra1" {
						told = append(told, f.What)
					}
				}
				if !strings.Contains(strings.Join(told, "\n"), tc.want) {
					t.Errorf("got %q, want %q", told, tc.want)
				}
			})
		})
	}
}

// Sizes are told as everywhere else, and not by their bytes.
func TestCheckTellsThatFirstCopiesDoNotFit(t *testing.T) {
	runPair(t, func(p *pair) {
		p.fra1.config.Jobs[0].Initial = policy.InitialFail // nothing is sent, so that the room stays as it is
		if err := p.fra1.disk.Grow(db, 4<<30); err != nil {
			t.Fatal(err)
		}
		p.sin1.disk.FillBut(8 << 30)
		p.startBoth()
		after(time.Minute)
		p.wantFinding(p.fra1, "job db", control.Warning, "first copies may need up to 4.00 GiB, and sin1 has 3.00 GiB above its min_free")
	})
}
