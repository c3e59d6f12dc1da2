package crossing

import (
	"os"
	"strings"
	"testing"

	"antipode/daemon/status"
)

const small = 400 * mib // of a target that will be full

// tight makes a pair whose target has a file that takes most of its room.
func tight(t *testing.T, filler int64, more string) (p *pair, db string) {
	t.Helper()
	p = newStrangers(t, small)
	p.introduce()
	db = p.dataset("db")
	random(t, db+"/first", mib)
	p.fra.Sections, p.sin.Sections = job("db", db), accept(p.into(), more)
	p.fra.write()
	p.sin.write()
	p.fra.start()
	p.sin.start()
	p.fra.trigger("db")
	random(t, p.sin.at("filler"), filler)
	tool(t, "sync", "-f", p.sin.fs.Dir)
	random(t, db+"/second", 80*mib)
	return p, db
}

func (p *pair) makeRoom() {
	p.t.Helper()
	must(p.t, os.Remove(p.sin.at("filler")))
	tool(p.t, "btrfs", "filesystem", "sync", p.sin.fs.Dir)
}

func TestBelowMinFreeTheTransferWaitsAndSaysForWhat(t *testing.T) {
	p, db := tight(t, 200*mib, `min_free = "45%"`)
	points := p.points(db)
	p.fra.ask(nil, "trigger", "db")
	for _, s := range []*site{p.fra, p.sin} {
		s.await("it waits for space", func(st status.Status) bool {
			moving := line(st, db).Moving
			if s == p.sin {
				moving = replicaLine(st, db).Receiving
			}
			return moving != nil && moving.Waiting == status.WaitingSpace
		})
		text, _, _ := s.call("status")
		says(t, text, "space")
		if !strings.Contains(text, p.sin.fs.Dir) {
			t.Errorf("status of %s does not name the file system %s:\n%s", s.Name, p.sin.fs.Dir, text)
		}
	}
	says(t, check(t, p.sin, "accept from fra1", "fatal"), "min_free")
	p.keeps(db, points)
	p.makeRoom()
	p.fra.await("it goes on by itself", func(st status.Status) bool { return p.upToDate(db) })
	if n := p.sin.logged("receive begins"); n != 2 {
		t.Errorf("%d receives, want the first copy and the one that waited", n)
	}
	p.same(db)
	p.tidy(db)
}

func TestFullDiskIsNamedOnBothSidesAndTheNextTryGetsThrough(t *testing.T) {
	p, db := tight(t, 250*mib, `min_free = "1MiB"`)
	points := p.points(db)
	says(t, p.fra.triggerFails("db"), "space", p.sin.fs.Dir)
	says(t, problemOf(line(p.fra.status(), db).LastError), "space", p.sin.fs.Dir)
	says(t, problemOf(replicaLine(p.sin.status(), db).LastError), "space", p.sin.fs.Dir)
	p.keeps(db, points)
	p.makeRoom()
	p.fra.await("it is tried again by itself", func(st status.Status) bool { return p.upToDate(db) })
	st := p.fra.await("the error is gone", func(st status.Status) bool { return line(st, db).LastError == nil })
	if line(st, db).State == status.StateConflict {
		t.Errorf("state = %s", line(st, db).State)
	}
	p.same(db)
	p.tidy(db)
}

// keeps fails the test if a point that was there is not.
func (p *pair) keeps(db string, points []string) {
	p.t.Helper()
	for _, name := range points {
		if !exists(p.replica(db) + "/" + name) {
			p.t.Errorf("point %s was deleted", name)
		}
	}
}
