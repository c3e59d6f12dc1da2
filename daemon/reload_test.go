package daemon_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"antipode/daemon/policy"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
)

// A receive may take weeks; what an operator changes meanwhile is for it too.
func TestAReloadChangesThePolicyOfWhatIsBeingReceived(t *testing.T) {
	runPair(t, func(p *pair) {
		if err := p.fra1.disk.Grow(db, 64<<20); err != nil {
			t.Fatal(err)
		}
		accept := &p.sin1.config.Accepts[0]
		accept.MinFree, accept.Keep = policy.Amount{Percent: 100}, policy.Keep{Last: 1}
		p.startBoth()
		after(time.Minute)
		if line := p.pairLine(db); line.Moving == nil || line.Moving.Waiting != status.WaitingSpace {
			t.Fatalf("with min_free = 100 %% %+v, want a step that waits for space", line.Moving)
		}
		p.sin1.reconfigure(t, func(a *policy.Accept) { a.MinFree, a.Keep = policy.Amount{Percent: 5}, policy.Keep{Last: 9} })
		after(time.Minute)
		p.wantSame(db)
		p.fra1.disk.SetRate(1 << 20)
		if err := p.fra1.disk.Grow(db, 16<<20); err != nil {
			t.Fatal(err)
		}
		after(time.Hour)
		p.write("log", "more")
		after(3 * time.Hour)
		if got := len(p.points(db)); got != 5 {
			t.Errorf("sin1 holds %d points, want all 5 that the newer policy keeps", got)
		}
	})
}

func TestAReloadToAnotherIntoEndsWhatComesIntoTheFormer(t *testing.T) {
	runPair(t, func(p *pair) {
		if err := p.fra1.disk.Grow(db, 64<<20); err != nil {
			t.Fatal(err)
		}
		p.fra1.disk.SetRate(1 << 20)
		p.startBoth()
		after(10 * time.Second)
		p.sin1.reconfigure(t, func(a *policy.Accept) { a.Into = "/backup/elsewhere" })
		after(10 * time.Minute)
		if got := len(p.points(db)); got != 0 {
			t.Errorf("the former into holds %d points, want none", got)
		}
		points, err := p.sin1.disk.Target("/backup/elsewhere", time.Now).Snapshots(t.Context(), db)
		if err != nil || len(points) != 1 {
			t.Errorf("the new into holds %d points, %v; want the first copy", len(points), err)
		}
	})
}

// reconfigure changes what sin1 accepts, as an operator who edits its file.
func (n *node) reconfigure(t *testing.T, change func(*policy.Accept)) {
	t.Helper()
	accept := n.config.Accepts[0]
	change(&accept)
	n.config.Accepts = []policy.Accept{accept}
	if _, err := n.daemon.ReloadConfig(); err != nil {
		t.Fatal(err)
	}
}

func TestPausesAtOnceAreAllRemembered(t *testing.T) {
	runPair(t, func(p *pair) {
		p.fra1.config.Jobs = nil
		for i := range 8 {
			path := dataset.Path(fmt.Sprintf("/data/d%d", i))
			p.fra1.disk.Make(path)
			p.fra1.config.Jobs = append(p.fra1.config.Jobs, hourly(fmt.Sprintf("job%d", i), path))
		}
		p.startBoth()
		var wishes sync.WaitGroup
		for _, j := range p.fra1.config.Jobs {
			wishes.Go(func() {
				if _, err := p.fra1.daemon.SetPaused(j.ID, true); err != nil {
					t.Error(err)
				}
			})
		}
		wishes.Wait()
		p.fra1.stop()
		p.start(p.fra1)
		for _, j := range p.fra1.daemon.Status().Jobs {
			if !j.Paused {
				t.Errorf("job %s is not paused after a restart", j.ID)
			}
		}
	})
}

// What the last run of a job said stands until the next, also when the daemon looks
// for datasets in between and finds them.
func TestTheErrorOfARunStandsUntilTheNextRun(t *testing.T) {
	runPair(t, func(p *pair) {
		p.startBoth()
		after(90 * time.Minute)
		p.fra1.disk.Fill()
		after(50 * time.Minute)
		if jobs := p.fra1.daemon.Status().Jobs; len(jobs) != 1 || jobs[0].Problem == nil {
			t.Errorf("20 minutes after a run without room status says %+v, want its problem", jobs)
		}
	})
}
