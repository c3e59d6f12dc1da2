package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"antipode/daemon/config"
	"antipode/daemon/control"
	"antipode/daemon/policy"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
	"antipode/transport/client"
	"antipode/transport/transporttest"
	"antipode/transport/wire"
)

// pulling has sin1 decide when fra1's job runs.
func (p *pair) pulling(every time.Duration) {
	job := &p.fra1.config.Jobs[0]
	job.Schedule, job.Pulled = policy.Schedule{}, true
	p.sin1.config.Accepts[0].Pull = policy.Schedule{Every: every}
}

// asSin1 is a way to ask fra1 with sin1's key, beside its daemon.
func (p *pair) asSin1() *client.Client {
	c := client.New(client.Options{
		Identity: p.identity["sin1"], Key: p.identity["fra1"].Fingerprint(), Address: "fra1:8771", Log: zerolog.Nop(),
		Dial: func(ctx context.Context, a string) (net.Conn, error) { return p.net.DialContext(ctx, "tcp", a) },
	})
	p.t.Cleanup(c.Close)
	return c
}

// The whole of it: a backup server that nobody can dial pulls from a host that has
// no schedule of its own.
func TestATargetThatPullsSaysWhen(t *testing.T) {
	runPair(t, func(p *pair) {
		p.reversed()
		p.pulling(time.Hour)
		p.startBoth()
		after(time.Minute)
		first := len(p.points(db))
		if first != 1 {
			t.Fatalf("a minute after the start %d points, want what was behind: 1", first)
		}
		for hour := range 10 {
			p.write("log", fmt.Sprint("hour ", hour))
			after(time.Hour)
			if line := p.pairLine(db); line.State != status.StateOK || line.Lag > time.Hour+time.Minute {
				t.Fatalf("hour %d: state %s, lag %s, error %v; want ok within an hour", hour, line.State, line.Lag, line.LastError)
			}
		}
		p.wantSame(db)
		if got := len(p.points(db)); got != 11 || len(p.own()) != got {
			t.Errorf("after ten hours %d points of %d snapshots, want 11 of as many: one for each time that sin1 asked", got, len(p.own()))
		}
		if by := p.fra1.daemon.Status().Jobs[0].PulledBy; len(by) != 1 || by[0].Peer != "sin1" || by[0].When != "every 1h" || by[0].Last.IsZero() {
			t.Errorf("fra1 shows %+v, want that sin1 pulls every hour", by)
		}
		if pulls := p.sin1.daemon.Status().Pulls; len(pulls) != 1 || pulls[0].Peer != "fra1" || pulls[0].Last.IsZero() || pulls[0].Next.IsZero() || pulls[0].Problem != "" {
			t.Errorf("sin1 shows %+v, want that it pulls from fra1", pulls)
		}
		x, err := p.fra1.daemon.Explain(p.t.Context(), control.ExplainRequest{Snapshot: p.own()[0].Name})
		if err != nil || len(x.Snapshots) != 1 || !slices.Equal(x.Snapshots[0].Targets, []control.Presence{{Peer: "sin1", State: "has it", Pulls: true, When: "every 1h"}}) {
			t.Errorf("explain: %+v, %v; want that sin1 has it and pulls", x, err)
		}
		if far := p.planned().Sends[0].Far; !slices.Contains(far, "sin1 pulls: it is sent when it asks, every 1h") {
			t.Errorf("plan says %q, want that sin1 pulls", far)
		}
		p.wantFinding(p.fra1, "job db", control.Good, "is pulled by sin1, every 1h")
		p.wantFinding(p.sin1, "accept from fra1", control.Good, "pulls db, every 1h")
	})
}

// wantFinding fails unless check says it.
func (p *pair) wantFinding(n *node, object string, severity control.Severity, text string) {
	p.t.Helper()
	found := n.findings(p.t, object)
	if !slices.ContainsFunc(found, func(f control.Finding) bool {
		return f.Severity == severity && strings.Contains(f.What, text) && (severity == control.Good || f.Cure != "")
	}) {
		p.t.Errorf("check on %s: %+v, want %s: %q", n.name, found, severity, text)
	}
}

// With times of its own a pulled job snapshots by them; what is sent, and when, is
// still the target's affair, also after a restart.
func TestAPulledJobWithTimesOfItsOwnSendsNothingByItself(t *testing.T) {
	runPair(t, func(p *pair) {
		p.pulling(6 * time.Hour)
		p.fra1.config.Jobs[0].Schedule = policy.Schedule{Every: time.Hour}
		p.startBoth()
		after(5*time.Hour + 30*time.Minute)
		if own, got := len(p.own()), len(p.points(db)); own < 5 || got != 1 {
			t.Errorf("after five hours %d snapshots and %d points, want 5 or more and that of the start", own, got)
		}
		p.fra1.crash()
		p.start(p.fra1)
		after(10 * time.Minute)
		if got := len(p.points(db)); got != 1 {
			t.Errorf("%d points after a restart of the source, want still 1", got)
		}
		after(time.Hour)
		if own, got := len(p.own()), len(p.points(db)); got < own-1 || got < 6 {
			t.Errorf("after sin1 asked %d points of %d snapshots, want all", got, own)
		}
		for _, s := range p.own() {
			if !strings.HasSuffix(s.Name, "0000Z") {
				t.Errorf("snapshot %s was taken, want those of full hours alone", s.Name)
			}
		}
	})
}

func TestAPullThatReachesNobodyIsMadeUpForSoon(t *testing.T) {
	runPair(t, func(p *pair) {
		p.pulling(24 * time.Hour)
		p.startBoth()
		after(time.Hour)
		p.net.Down(transporttest.Outage{Refuse: true, Reset: true})
		after(26 * time.Hour)
		if got := p.sin1.daemon.Status().Pulls[0].Problem; !strings.Contains(got, "pull from fra1:8771") {
			t.Errorf("sin1 shows the problem %q, want that it cannot pull", got)
		}
		p.net.Up()
		after(11 * time.Minute)
		if got := len(p.points(db)); got != 2 {
			t.Errorf("%d points eleven minutes after the link is back, want that of the pull that was due too", got)
		}
		if pull := p.sin1.daemon.Status().Pulls[0]; pull.Problem != "" || time.Since(pull.Last) > 11*time.Minute {
			t.Errorf("sin1 shows %+v, want that it was heard", pull)
		}
	})
}

// What a target may ask is bounded by the source: how often, and for what.
func TestATargetThatAsksWithoutEndMakesNoMoreOfIt(t *testing.T) {
	runPair(t, func(p *pair) {
		p.pulling(24 * time.Hour)
		p.fra1.config.Jobs[0].Keep = policy.Keep{Last: 1000}
		p.startBoth()
		after(time.Minute)
		before := len(p.own())
		c := p.asSin1()
		for range 200 {
			answer, err := c.Pull(p.t.Context(), wire.PullRequest{Driver: "btrfs"})
			if err != nil || !slices.Equal(answer.Jobs, []string{"db"}) {
				t.Fatalf("Pull: %+v, %v; want that db runs", answer, err)
			}
			after(time.Second / 2)
		}
		if got := len(p.own()) - before; got < 3 || got > 5 {
			t.Errorf("%d snapshots in 100 s of asking, want one for each half minute", got)
		}
	})
}

func TestWhatMayNotBePulled(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(p *pair)
		driver string
		want   string
	}{
		"a job that decides itself": {func(p *pair) { p.fra1.config.Jobs[0].Pulled = false }, "btrfs", "job db is not pulled"},
		"another target's job": {func(p *pair) {
			p.fra1.config.Peers = append(p.fra1.config.Peers, policy.Peer{Name: "ams1", Address: "ams1:8771", Key: p.newIdentity().Fingerprint().String()})
			p.fra1.config.Jobs[0].ReplicateTo = []string{"ams1"}
		}, "btrfs", "no job here replicates btrfs datasets to sin1"},
		"a job of another driver": {func(*pair) {}, "zfs", "no job here replicates zfs datasets to sin1"},
		"a paused job": {func(p *pair) {
			if _, err := p.fra1.daemon.SetPaused("db", true); err != nil {
				p.t.Fatal(err)
			}
		}, "btrfs", "job db is paused"},
	} {
		t.Run(name, func(t *testing.T) {
			runPair(t, func(p *pair) {
				p.level = zerolog.Disabled
				p.pulling(24 * time.Hour)
				p.sin1.config.Accepts[0].Pull = policy.Schedule{}
				p.start(p.fra1)
				tc.change(p)
				if _, err := p.fra1.daemon.ReloadConfig(); err != nil {
					t.Fatal(err)
				}
				after(time.Minute)
				_, err := p.asSin1().Pull(p.t.Context(), wire.PullRequest{Driver: tc.driver})
				if !errors.Is(err, dataset.ErrRefused) || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("Pull: %v, want a refusal that says %q", err, tc.want)
				}
				after(time.Minute)
				if got := len(p.own()); got != 0 {
					t.Errorf("%d snapshots, want none", got)
				}
			})
		})
	}
}

// Each half that is missing is told on both sides.
func TestCheckSaysWhichHalfOfAPullIsMissing(t *testing.T) {
	t.Run("nobody pulls", func(t *testing.T) {
		runPair(t, func(p *pair) {
			p.pulling(time.Hour)
			p.sin1.config.Accepts[0].Pull = policy.Schedule{}
			p.startBoth()
			after(time.Minute)
			p.wantFinding(p.fra1, "job db", control.Warning, "sin1 does not pull")
		})
	})
	t.Run("the job decides itself", func(t *testing.T) {
		runPair(t, func(p *pair) {
			p.level = zerolog.Disabled
			p.pulling(time.Hour)
			p.fra1.config.Jobs[0].Pulled = false
			p.startBoth()
			after(time.Minute)
			p.wantFinding(p.fra1, "job db", control.Warning, "sin1 pulls every 1h")
			p.wantFinding(p.sin1, "accept from fra1", control.Fatal, "fra1 has no btrfs job that sin1 may pull")
			if got := p.sin1.daemon.Status().Pulls[0].Problem; !strings.Contains(got, "set pulled = true") {
				t.Errorf("sin1 shows the problem %q, want what to do on fra1", got)
			}
		})
	})
}

func TestAReloadTurnsAPullIntoAPush(t *testing.T) {
	runPair(t, func(p *pair) {
		p.pulling(time.Hour)
		p.startBoth()
		after(2*time.Hour + time.Minute)
		p.sin1.reconfigure(t, func(a *policy.Accept) { a.Pull = policy.Schedule{} })
		after(5 * time.Hour)
		if got := len(p.points(db)); got != 3 || len(p.sin1.daemon.Status().Pulls) != 0 {
			t.Errorf("%d points five hours after the last pull, want 3, and that sin1 shows no pulls", got)
		}
		p.reload(p.fra1, func(c *config.Config) {
			jobs := slices.Clone(c.Jobs)
			jobs[0].Pulled, jobs[0].Schedule = false, policy.Schedule{Every: time.Hour}
			c.Jobs = jobs
		})
		after(2 * time.Hour)
		if line := p.pairLine(db); line.State != status.StateOK {
			t.Errorf("two hours after the source decides itself: %+v, want ok", line)
		}
	})
}
