package daemon_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"antipode/daemon/config"
	"antipode/daemon/control"
	"antipode/daemon/policy"
	"antipode/transport/transporttest"
)

// askedFor has a first copy of some ten minutes under way that the job forbids.
func (p *pair) askedFor() {
	p.t.Helper()
	p.level = zerolog.Disabled
	p.fra1.config.Jobs[0].Initial = policy.InitialFail
	p.fra1.config.Jobs[0].Rate = policy.Timetable{Base: 256 << 10}
	if err := p.fra1.disk.Grow(db, 128<<20); err != nil {
		p.t.Fatal(err)
	}
	p.startBoth()
	p.hours(1)
	p.fra1.resolve(p.t, control.ResolveRequest{With: "first-copy"})
	after(2 * time.Minute)
	if p.moved(0) == 0 {
		p.t.Fatal("nothing of the first copy has arrived")
	}
}

// wishes is the file of the first copies that were asked for.
func (p *pair) wishes() string {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(p.fra1.config.StateDir, "first-copies.json"))
	if err != nil {
		p.t.Fatal(err)
	}
	return string(text)
}

func TestAFirstCopyThatWasAskedForGoesOnByItself(t *testing.T) {
	for name, breaks := range map[string]func(p *pair){
		"after a crash of the source": func(p *pair) { p.fra1.crash(); p.start(p.fra1) },
		"after a restart of both":     func(p *pair) { p.fra1.stop(); p.sin1.stop(); p.startBoth() },
		"after a cut of a day": func(p *pair) {
			p.net.Down(transporttest.Outage{Refuse: true, Reset: true})
			after(24 * time.Hour)
			p.net.Up()
		},
	} {
		t.Run(name, func(t *testing.T) {
			runPair(t, func(p *pair) {
				p.askedFor()
				breaks(p)
				after(20 * time.Minute)
				if len(p.points(db)) == 0 {
					p.t.Fatal("sin1 has no point, want the copy that was asked for")
				}
				p.wantSame(db)
				if got := p.wishes(); got != "[]" {
					t.Errorf("the wishes are %s, want that it is fulfilled", got)
				}
			})
		})
	}
}

// A wish is for one copy: where the replica is gone again later, the job's word holds.
func TestAFirstCopyIsAskedForOnce(t *testing.T) {
	runPair(t, func(p *pair) {
		p.askedFor()
		after(time.Hour)
		if len(p.points(db)) == 0 {
			p.t.Fatal("sin1 has no points")
		}
		p.sin1.resolve(p.t, control.ResolveRequest{With: "set-aside"})
		p.fra1.crash()
		p.start(p.fra1)
		p.hours(2)
		if got := p.conflict(); !strings.Contains(got, "--with first-copy") || len(p.points(db)) != 0 {
			t.Errorf("%s, %d points; want that nothing is sent unasked", got, len(p.points(db)))
		}
	})
}

func TestAFirstCopyThatIsGivenUpDoesNotBeginAgain(t *testing.T) {
	for name, giveUp := range map[string]func(p *pair) error{
		"aborted": func(p *pair) error {
			_, err := p.fra1.daemon.Abort(p.t.Context(), control.AbortRequest{Job: "db"})
			return err
		},
		"abandoned": func(p *pair) error {
			_, err := p.fra1.daemon.Abandon(p.t.Context(), control.AbandonRequest{Job: "db", Dataset: db, Peer: "sin1"})
			return err
		},
		"not configured any more": func(p *pair) error {
			p.reload(p.fra1, func(c *config.Config) { c.Jobs = nil })
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			runPair(t, func(p *pair) {
				p.askedFor()
				jobs := p.fra1.config.Jobs
				if err := giveUp(p); err != nil {
					p.t.Fatal(err)
				}
				p.fra1.config.Jobs = jobs
				p.fra1.crash()
				p.start(p.fra1)
				after(30 * time.Minute)
				if got := p.conflict(); !strings.Contains(got, "--with first-copy") || len(p.points(db)) != 0 || p.wishes() != "[]" {
					t.Errorf("%s, %d points, wishes %s; want that nothing is sent", got, len(p.points(db)), p.wishes())
				}
			})
		})
	}
}
