package crossing

import (
	"syscall"
	"testing"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/status"
)

const (
	slow   = `rate_limit = "8MiB/s"`
	window = mib // of both sides in these tests
	narrow = "[transport]\nlanes = 4\nwindow = \"1MiB\"\nwait_for_link = \"1h\"\n"
)

// cutInTheMiddle begins a first copy of 24 MiB and cuts the link once a third of
// it is there. Both sides then wait for the link.
func cutInTheMiddle(t *testing.T) (p *pair, db string) {
	t.Helper()
	p = newStrangers(t, roomy)
	p.introduce()
	db = p.dataset("db")
	random(t, db+"/data", 24*mib)
	p.fra.Sections = narrow + job("db", db, slow)
	p.sin.Sections = narrow + accept(p.into())
	p.fra.write()
	p.sin.write()
	p.fra.start()
	p.sin.start()
	p.fra.ask(nil, "trigger", "db")
	p.fra.eventually("a third has passed", func() bool { return p.there.There() > 8*mib })
	p.cut()
	p.fra.await("the source waits for the link", func(s status.Status) bool {
		m := line(s, db).Moving
		return m != nil && m.Waiting == status.WaitingLink
	})
	p.sin.await("the target waits for the link", func(s status.Status) bool {
		m := replicaLine(s, db).Receiving
		return m != nil && m.Waiting == status.WaitingLink
	})
	return p, db
}

// answersSoon runs something that must not be held up by a receive that waits.
func answersSoon(t *testing.T, what string, do func()) {
	t.Helper()
	began := time.Now()
	do()
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("%s took %s while a receive waits for the link, want at most 5 s", what, took)
	}
}

func TestCutLinkCostsOnlyWhatWasInFlight(t *testing.T) {
	p, db := cutInTheMiddle(t)
	fra, sin := p.fra.Pid(), p.sin.Pid()
	kept := replicaLine(p.sin.status(), db).Receiving.Bytes
	if kept < 4*mib {
		t.Errorf("%d bytes had arrived when the link was cut after 8 MiB", kept)
	}
	p.restore()
	p.fra.await("the copy is complete", func(s status.Status) bool { return !line(s, db).LastPoint.IsZero() })
	const content, chunk = 24 * mib, mib
	most := int64(content + content/50 + window + 2*4*chunk) // framing and TLS, the window, what lay in the lanes
	if passed := p.there.There(); passed > most {
		t.Errorf("%d bytes passed the link for %d of content, want at most %d", passed, content, most)
	}
	if p.fra.Pid() != fra || p.sin.Pid() != sin || !p.fra.isUp() || !p.sin.isUp() {
		t.Error("a daemon was restarted")
	}
	if n := p.sin.logged("receive begins"); n != 1 {
		t.Errorf("%d receives, want the one that was begun", n)
	}
	p.same(db)
	p.tidy(db)
}

func TestPromoteIsNotHeldUpByReceiveThatWaitsForTheLink(t *testing.T) {
	p := newStrangers(t, roomy)
	p.introduce()
	db := p.dataset("db")
	random(t, db+"/data", mib)
	p.fra.Sections = narrow + job("db", db, slow, "may_promote = true")
	p.sin.Sections = narrow + accept(p.into())
	p.fra.write()
	p.sin.write()
	p.fra.start()
	p.sin.start()
	p.fra.trigger("db")
	first := p.same(db)
	random(t, db+"/data", 24*mib)
	before := p.there.There()
	p.fra.ask(nil, "trigger", "db")
	p.fra.eventually("a third has passed", func() bool { return p.there.There() > before+8*mib })
	p.cut()
	p.sin.await("the target waits for the link", func(s status.Status) bool {
		m := replicaLine(s, db).Receiving
		return m != nil && m.Waiting == status.WaitingLink
	})
	var r control.PromoteResponse
	answersSoon(t, "promote", func() { p.sin.ask(&r, "promote", db, "--yes") })
	if r.Point != first {
		t.Errorf("promoted %s, want %s", r.Point, first)
	}
	p.sameTree(p.snapshot(db, first), r.Live)
	p.sin.await("nothing is received any more", func(s status.Status) bool { return replicaLine(s, db).Receiving == nil })
	p.restore()
	p.fra.await("the old primary steps down", func(s status.Status) bool { return line(s, db).State == status.StateFenced })
}

func TestAbortReloadAndStopEndTransferThatWaitsForTheLink(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(t *testing.T, p *pair)
	}{
		{"abort", func(t *testing.T, p *pair) {
			var r control.AbortResponse
			answersSoon(t, "abort", func() { p.fra.ask(&r, "abort", "db") })
			if len(r.Aborted) != 1 || r.Aborted[0].Bytes == 0 {
				t.Errorf("aborted %+v, want the one transfer with its bytes", r.Aborted)
			}
			answersSoon(t, "reload", func() { p.sin.configure(narrow) })
		}},
		{"reload", func(t *testing.T, p *pair) {
			answersSoon(t, "reload of the source", func() { p.fra.configure(narrow) })
			answersSoon(t, "reload of the target", func() { p.sin.configure(narrow) })
		}},
		{"stop", func(t *testing.T, p *pair) {
			for _, s := range []*site{p.fra, p.sin} {
				answersSoon(t, "SIGTERM of "+s.Name, func() { s.stop() })
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, _ := cutInTheMiddle(t)
			tc.end(t, p)
			for _, s := range []*site{p.fra, p.sin} {
				if !within(5*time.Second, func() bool { return len(s.children()) == 0 }) {
					t.Errorf("on %s the children %v still run", s.Name, s.children())
				}
			}
		})
	}
}

// A reload that changes something else drops no transfer, and a bad file changes
// nothing at all.
func TestReloadKeepsTransferUnderWayAndBadFileKeepsTheOld(t *testing.T) {
	p := newPair(t)
	db, www := p.dataset("db"), p.dataset("www")
	random(t, db+"/data", 16*mib)
	random(t, www+"/data", mib)
	p.sin.configure(accept(p.into()))
	p.fra.configure(job("db", db, slow))
	p.fra.ask(nil, "trigger", "db")
	p.fra.eventually("it moves", func() bool { return p.there.There() > 2*mib })

	good := p.fra.Sections
	p.fra.Sections = good + "[[job]]\nid = \"db\"\n"
	p.fra.write()
	p.fra.signal(syscall.SIGHUP)
	p.fra.eventually("the log says why", func() bool { return p.fra.logged("the new configuration is refused", "the old one goes on") > 0 })
	says(t, p.fra.refused("reload"), "antipode.toml:", `"db"`, "the old configuration goes on")
	if jobs := p.fra.status().Jobs; len(jobs) != 1 || jobs[0].ID != "db" {
		t.Errorf("after a bad file the jobs are %+v, want db as before", jobs)
	}

	p.fra.Sections = good + job("www", www)
	p.fra.write()
	p.fra.signal(syscall.SIGHUP)
	p.fra.await("the new job is there", func(s status.Status) bool { return len(s.Jobs) == 2 })
	p.sin.Sections += "protect = \"1h\"\n"
	p.sin.write()
	p.sin.signal(syscall.SIGHUP)
	p.sin.eventually("the target has reloaded", func() bool { return p.sin.logged("configuration is in force", "accept from fra1") > 1 })
	p.fra.trigger("www")
	p.same(www)
	if moving := line(p.fra.status(), db).Moving; moving == nil {
		t.Error("the first copy is over already, so that this test shows nothing; make it slower")
	}
	p.fra.await("the copy is complete", func(s status.Status) bool { return !line(s, db).LastPoint.IsZero() })
	if n := p.sin.logged("receive begins", db); n != 1 {
		t.Errorf("%d receives, want the one that was begun", n)
	}
	p.same(db)
}

// An operator who waits for the last run to arrive, before a planned promotion,
// must not be told that it has while an earlier one is still on its way.
func TestTriggerThatWaitsReturnsWhenTheNewestSnapshotHasArrived(t *testing.T) {
	p := newPair(t)
	db := p.dataset("db")
	random(t, db+"/data", 8*mib)
	p.sin.configure(accept(p.into()))
	p.fra.configure(narrow + job("db", db, slow))
	p.fra.ask(nil, "trigger", "db")
	p.fra.eventually("it moves", func() bool { return p.there.There() > mib })
	write(t, db+"/last words", "written while the first copy was on its way")
	p.fra.trigger("db")
	if !p.upToDate(db) {
		t.Errorf("the target has %v, the source %v", p.points(db), p.snapshots(db))
	}
	p.same(db)
}

func TestStopEndsWithinItsBoundAndLeavesNoChildren(t *testing.T) {
	p := newPair(t)
	db := p.dataset("db")
	random(t, db+"/data", 24*mib)
	p.sin.configure(accept(p.into()))
	p.fra.configure(narrow + job("db", db, slow))
	for _, first := range []*site{p.fra, p.sin} {
		p.fra.ask(nil, "trigger", "db")
		before := p.there.There()
		p.fra.eventually("it moves", func() bool { return p.there.There() > before+2*mib })
		if len(first.children()) == 0 {
			t.Fatalf("no child runs on %s, so that this test shows nothing", first.Name)
		}
		if took := first.stop(); took > 10*time.Second {
			t.Errorf("%s took %s to stop", first.Name, took)
		}
		if left := first.children(); len(left) > 0 {
			t.Errorf("the daemon of %s left the children %v", first.Name, left)
		}
		first.start()
	}
	p.fra.configure(job("db", db))
	p.fra.eventually("a run gets through", func() bool { return p.fra.try(nil, "trigger", "db", "--wait") == nil })
	p.same(db)
	p.tidy(db)
}
