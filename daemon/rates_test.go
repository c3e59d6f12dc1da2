package daemon_test

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"antipode/daemon"
	"antipode/daemon/control"
	"antipode/daemon/ledger"
	"antipode/daemon/policy"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
	"antipode/transport/wire"
)

// moved is how many bytes of a first copy have arrived.
func (p *pair) moved(job int) int64 {
	p.t.Helper()
	m := p.fra1.daemon.Status().Jobs[job].Datasets[0].Peers[0].Moving
	if m == nil {
		p.t.Fatal("nothing moves")
	}
	return m.Bytes
}

// wantRate lets time pass and holds what arrives in it to a rate, within 3 % and a
// chunk: what arrives is told in whole ones.
func (p *pair) wantRate(what string, over time.Duration, jobs ...float64) {
	p.t.Helper()
	before := make([]int64, len(jobs))
	for i := range jobs {
		before[i] = p.moved(i)
	}
	after(over)
	for i, want := range jobs {
		got, want := float64(p.moved(i)-before[i]), want*over.Seconds()
		if math.Abs(got-want) > want*0.03+wire.MaxChunk {
			p.t.Errorf("%s, job %d: got %.0f bytes in %v, want %.0f", what, i, got, over, want)
		}
	}
}

// The bubble begins at midnight, a Saturday in UTC.
func TestRatesFollowTheTimetable(t *testing.T) {
	runPair(t, func(p *pair) {
		grow(p, db)
		p.fra1.config.RateLimit = policy.Timetable{Base: 200_000, Windows: []policy.Window{
			{Days: 1 << time.Saturday, From: 10, To: 20, Rate: 400_000},
		}}
		p.fra1.config.Jobs[0].Rate = policy.Timetable{Windows: []policy.Window{{From: 15, To: 30, Rate: 100_000}}}
		p.startBoth()
		began := time.Now()
		after(30 * time.Second)
		p.wantRate("outside of the windows", 9*time.Minute, 200_000)
		p.wantLimits(status.Limit{Rate: 200_000, Until: began.Add(10 * time.Minute)}, status.Limit{Until: began.Add(15 * time.Minute)})
		after(time.Minute)
		p.wantRate("in the host's window", 4*time.Minute, 400_000)
		after(time.Minute)
		p.wantRate("in the job's window", 4*time.Minute, 100_000)
		after(time.Minute)
		p.wantRate("in the job's window alone", 4*time.Minute, 100_000)
		after(6 * time.Minute)
		p.wantRate("outside again", 4*time.Minute, 200_000)
		p.wantLimits(status.Limit{Rate: 200_000, Until: began.Add(7*24*time.Hour + 10*time.Minute)}, status.Limit{Until: began.Add(24*time.Hour + 15*time.Minute)})
	})
}

func grow(p *pair, path dataset.Path) {
	p.t.Helper()
	if err := p.fra1.disk.Grow(path, 2<<30); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pair) wantLimits(host, job status.Limit) {
	p.t.Helper()
	s := p.fra1.daemon.Status()
	for what, l := range map[string][2]status.Limit{"host": {s.Limit, host}, "job": {s.Jobs[0].Limit, job}} {
		got, want := l[0], l[1]
		if got.Rate != want.Rate || !got.Until.Equal(want.Until) || got.ByCommand != want.ByCommand {
			p.t.Errorf("%s: got %+v, want %+v", what, got, want)
		}
	}
}

// What runs shares the host's rate evenly, and a reload changes it under way.
func TestAReloadChangesTheRateOfWhatRuns(t *testing.T) {
	runPair(t, func(p *pair) {
		p.fra1.disk.Make("/data/mail")
		grow(p, db)
		grow(p, "/data/mail")
		p.fra1.config.Jobs = append(p.fra1.config.Jobs, hourly("mail", "/data/mail"))
		p.fra1.config.RateLimit = policy.Timetable{Base: 400_000}
		p.startBoth()
		after(30 * time.Second)
		p.wantRate("evenly", 4*time.Minute, 200_000, 200_000)
		jobs := []policy.Job{p.fra1.config.Jobs[0], p.fra1.config.Jobs[1]}
		jobs[0].Rate = policy.Timetable{Base: 100_000}
		p.fra1.config.Jobs = jobs
		if _, err := p.fra1.daemon.ReloadConfig(); err != nil {
			t.Fatal(err)
		}
		after(10 * time.Second)
		p.wantRate("what one may not use the other gets", 4*time.Minute, 100_000, 300_000)
	})
}

func TestARateByCommandStandsBeforeTheFile(t *testing.T) {
	runPair(t, func(p *pair) {
		grow(p, db)
		p.fra1.config.RateLimit = policy.Timetable{Base: 200_000}
		p.startBoth()
		after(30 * time.Second)
		until := time.Now().Add(10 * time.Minute)
		p.setRate(control.RateRequest{Job: "db", Rate: new(int64(100_000)), Until: until})
		p.wantRate("by command", 9*time.Minute, 100_000)
		p.wantLimits(status.Limit{Rate: 200_000}, status.Limit{Rate: 100_000, Until: until, ByCommand: true})
		after(2 * time.Minute)
		p.wantRate("once that is over", 4*time.Minute, 200_000)
		p.wantLimits(status.Limit{Rate: 200_000}, status.Limit{})

		p.setRate(control.RateRequest{Rate: new(int64(400_000))})
		p.wantRate("of the host", 4*time.Minute, 400_000)
		answer, err := p.fra1.daemon.ReloadConfig()
		if err != nil || !strings.Contains(strings.Join(answer.Changes, "\n"), "antipode rate --clear") {
			t.Errorf("reload: got %q, %v; want that the file's rate is not in force", answer.Changes, err)
		}
		p.fra1.stop()
		p.start(p.fra1)
		after(time.Minute)
		p.wantLimits(status.Limit{Rate: 400_000, ByCommand: true}, status.Limit{})
		p.wantRate("after a restart", 4*time.Minute, 400_000)
		r := p.setRate(control.RateRequest{Clear: true})
		if len(r.Budgets) != 2 || r.Budgets[0].Rate != 200_000 || r.Budgets[0].ByCommand {
			t.Errorf("cleared: got %+v, want the file's rate of the host and the job's", r.Budgets)
		}
		p.wantRate("cleared", 4*time.Minute, 200_000)
	})
}

func (p *pair) setRate(r control.RateRequest) control.RateResponse {
	p.t.Helper()
	answer, err := p.fra1.daemon.Rate(p.t.Context(), r)
	if err != nil {
		p.t.Fatal(err)
	}
	return answer
}

func TestRatesThatAreRefused(t *testing.T) {
	runPair(t, func(p *pair) {
		p.startBoth()
		after(time.Minute)
		for name, r := range map[string]control.RateRequest{
			"an unknown job":          {Job: "nosuch", Rate: new(int64(1000))},
			"to show an unknown job":  {Job: "nosuch"},
			"to clear an unknown job": {Job: "nosuch", Clear: true},
			"an end in the past":      {Rate: new(int64(1000)), Until: time.Now()},
		} {
			var refused *control.Error
			if _, err := p.fra1.daemon.Rate(t.Context(), r); !errors.As(err, &refused) || refused.Next == "" {
				t.Errorf("%s: got %v, want a refusal with the next step", name, err)
			}
		}
		p.wantLimits(status.Limit{}, status.Limit{})
	})
}

// A file that was damaged says how to go on, as that of the pauses does.
func TestADamagedRatesFileIsNamed(t *testing.T) {
	runPair(t, func(p *pair) {
		mkdir(t, p.fra1.config.StateDir)
		path := filepath.Join(p.fra1.config.StateDir, "rates.json")
		if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
		history, err := ledger.Open(ledger.Path(p.fra1.config.StateDir), time.Now)
		if err != nil {
			t.Fatal(err)
		}
		defer history.Close()
		_, err = daemon.New(daemon.Options{Config: &p.fra1.config, Identity: p.identity["fra1"], Ledger: history, Now: time.Now})
		if err == nil || !strings.Contains(err.Error(), "remove "+path) {
			t.Errorf("New = %v, want an error that names the file", err)
		}
	})
}
