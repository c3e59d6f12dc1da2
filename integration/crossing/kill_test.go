package crossing

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"antipode/daemon/status"
)

// The stream has arrived, `btrfs receive` has read it all and not ended: what it
// made must not count, and the child must not outlive the next start.
func TestKillBetweenLastByteAndEndOfReceive(t *testing.T) {
	p := newStrangers(t, roomy)
	p.introduce()
	hold := shimmed(t, p.sin)
	db := p.dataset("db")
	furnish(t, db)
	p.fra.Sections, p.sin.Sections = job("db", db), accept(p.into())
	p.fra.write()
	p.sin.write()
	p.fra.start()
	p.sin.start()

	hold.hold("receive")
	p.fra.ask(nil, "trigger", "db")
	p.sin.eventually("btrfs receive is at its end", func() bool { return hold.held("receive") > 0 })
	orphan := hold.held("receive")
	p.sin.kill()
	if points := p.points(db); len(points) > 0 {
		t.Fatalf("published %v before the receive had ended", points)
	}
	if unix.Kill(orphan, 0) != nil {
		t.Fatal("the child did not outlive its daemon, so that this test shows nothing")
	}
	hold.letGo("receive")
	p.sin.start()
	p.sin.eventually("the orphan is ended", func() bool { return unix.Kill(orphan, 0) != nil })
	p.sin.eventually("what it made is gone", func() bool {
		left, err := os.ReadDir(p.into() + "/.antipode/incoming")
		return err == nil && len(left) == 0
	})
	p.fra.trigger("db")
	p.same(db)
	p.tidy(db)
}

// A child that heeds no SIGTERM: it is stopped, as one that hangs would be.
func TestChildThatOutlivedItsDaemonIsEndedAtTheNextStart(t *testing.T) {
	p := newPair(t)
	db := p.dataset("db")
	random(t, db+"/data", 24*mib)
	p.sin.configure(accept(p.into()))
	p.fra.configure(narrow + job("db", db, `rate_limit = "2MiB/s"`))
	p.fra.ask(nil, "trigger", "db")
	p.sin.eventually("a child runs on both sides", func() bool { return len(p.fra.children()) > 0 && len(p.sin.children()) > 0 })
	var orphans []int
	for _, s := range []*site{p.fra, p.sin} {
		for _, pid := range s.children() {
			must(t, unix.Kill(pid, unix.SIGSTOP))
			orphans = append(orphans, pid)
		}
	}
	p.fra.kill()
	p.sin.kill()
	for _, pid := range orphans {
		if unix.Kill(pid, 0) != nil {
			t.Fatalf("child %d did not outlive its daemon, so that this test shows nothing", pid)
		}
	}
	p.fra.Sections = job("db", db)
	p.fra.write()
	p.fra.start()
	p.sin.start()
	for _, pid := range orphans {
		p.sin.eventually("the orphans are ended", func() bool { return unix.Kill(pid, 0) != nil })
	}
	p.fra.trigger("db")
	p.same(db)
	p.tidy(db)
}

// Eight kills at random moments of one first copy, of the target, the source, and
// both. Whatever was cut off is gone in the end, and the copy is right.
func TestFirstCopySurvivesKillsAtRandomMoments(t *testing.T) {
	p := newPair(t)
	db := p.dataset("db")
	furnish(t, db)
	random(t, db+"/big/more", 16*mib)
	p.sin.configure(accept(p.into()))
	p.fra.configure(job("db", db, `rate_limit = "20MiB/s"`, `keep = { last = 100 }`))
	const stream = 25 * mib // about
	for i := range 8 {
		before := p.there.There()
		p.fra.ask(nil, "trigger", "db")
		moment := before + 1 + rand.Int64N(stream)
		what := fmt.Sprintf("kill %d, after %d bytes", i, moment-before)
		p.fra.eventually(what, func() bool {
			return p.there.There() >= moment || len(p.points(db)) > 0 && p.upToDate(db)
		})
		if i%3 != 1 {
			p.sin.kill()
		}
		if i%3 != 0 {
			p.fra.kill()
		}
		for _, s := range []*site{p.sin, p.fra} {
			if !s.isUp() {
				s.start()
			}
		}
	}
	p.fra.eventually("a run gets through", func() bool { return p.fra.try(nil, "trigger", "db", "--wait") == nil })
	p.fra.await("the pair is up to date", func(s status.Status) bool { return line(s, db).LastError == nil && p.upToDate(db) })
	for _, name := range p.points(db) {
		p.sameTree(p.snapshot(db, name), p.replica(db)+"/"+name)
	}
	p.tidy(db)
}

// upToDate reports whether the newest snapshot is published on the target.
func (p *pair) upToDate(path string) bool {
	names, points := p.snapshots(path), p.points(path)
	return len(names) > 0 && len(points) > 0 && names[len(names)-1] == points[len(points)-1]
}
