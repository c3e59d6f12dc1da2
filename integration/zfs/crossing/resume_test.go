//go:build zfs

package crossing

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"antipode/daemon/status"
	"antipode/integration/node"
	"antipode/integration/sample"
)

// What one interruption may cost beyond the stream: the window, the two pipes
// between the daemons and their zfs, what sockets hold, and a block begun anew.
const perCut = (1 + 1 + 1 + 2) * mib

// TestCopyGoesOnByTokenAfterCutsAndKills: a link that goes black for a while costs
// nothing; a daemon that dies, or both, what was on the way. Nobody triggers
// anything, and the next run is far away.
func TestCopyGoesOnByTokenAfterCutsAndKills(t *testing.T) {
	const size = 16 * mib
	p := newPair(t)
	db := p.filesystem("db")
	sample.Random(t, dir(db)+"/data", size)
	p.sin.Configure(narrow + accept(p.into()))
	p.fra.Configure(narrow + job("db", db, `rate_limit = "3MiB/s"`, `every = "1000h"`))
	begun := p.wan.sent()
	moves := func(by int64) {
		t.Helper()
		before := p.wan.sent()
		p.fra.Eventually("it moves", func() bool { return p.wan.sent() > before+by })
	}
	p.fra.Ask(nil, "trigger", "db")
	moves(2 * mib)

	p.wan.cut()
	p.fra.Await("it waits for the link", func(s status.Status) bool {
		m := node.Line(s, db).Moving
		return m != nil && m.Waiting == status.WaitingLink
	})
	p.wan.restore()
	moves(2 * mib)
	if n := p.sin.Logged("receive begins"); n != 1 {
		t.Errorf("%d receives after a cut link, want the one that waited", n)
	}

	kills := [][]*node.Node{{p.sin}, {p.fra}, {p.fra, p.sin}}
	for _, killed := range kills {
		for _, n := range killed {
			n.Kill()
		}
		for _, n := range killed {
			n.Start()
		}
		moves(2 * mib)
	}
	p.fra.Await("the copy is complete", func(s status.Status) bool { return !node.Line(s, db).LastPoint.IsZero() })
	p.same(db)
	if extra := p.wan.sent() - begun - size; extra > int64(1+len(kills))*perCut {
		t.Errorf("%d bytes were sent beyond the %d of the copy, in %d interruptions", extra, size, 1+len(kills))
	} else {
		t.Logf("bench: zfs_resent_bytes %d bytes in %d interruptions of %d", extra, 1+len(kills), size)
	}
	if n := p.fra.Logged("step begins", "was begun"); n < len(kills) {
		t.Errorf("%d steps went on from a token, want at least %d:\n%s", n, len(kills), p.fra.Tail(30))
	}
	p.tidy()
}

// budget is how many interruptions the next test makes; ANTIPODE_KILLS asks for more.
func budget(t *testing.T) int {
	t.Helper()
	text := os.Getenv("ANTIPODE_KILLS")
	if text == "" {
		return 8
	}
	n, err := strconv.Atoi(text)
	node.Must(t, err)
	return n
}

// TestCopySurvivesKillsAndCutsAtRandomMoments: kill -9 of either daemon or of both,
// and links that go black, at random moments of one copy. It ends identical without
// help.
func TestCopySurvivesKillsAndCutsAtRandomMoments(t *testing.T) {
	p := newPair(t)
	db := p.filesystem("db")
	n := budget(t)
	size := int64(n) * 2 * mib
	sample.Random(t, dir(db)+"/data", size)
	p.sin.Configure(narrow + accept(p.into()))
	p.fra.Configure(narrow + job("db", db, `rate_limit = "4MiB/s"`, `every = "1000h"`))
	p.fra.Ask(nil, "trigger", "db")
	for i := range n {
		moment := p.wan.sent() + 1 + rand.Int64N(2*mib)
		what := fmt.Sprintf("interruption %d", i)
		p.fra.Eventually(what, func() bool { return p.wan.sent() >= moment || p.isUpToDate(db) })
		if p.isUpToDate(db) {
			t.Logf("the copy was complete after %d interruptions", i)
			break
		}
		p.interrupt(rand.IntN(4))
	}
	p.fra.Await("the copy is complete", func(s status.Status) bool {
		return !node.Line(s, db).LastPoint.IsZero() && node.Line(s, db).LastError == nil
	})
	p.same(db)
	p.tidy()
}

// interrupt kills sin1, fra1 or both, or cuts the link for a moment.
func (p *pair) interrupt(how int) {
	p.t.Helper()
	killed := [][]*node.Node{{p.sin}, {p.fra}, {p.fra, p.sin}, nil}[how]
	if killed == nil {
		p.wan.cut()
		<-time.After(500 * time.Millisecond) // the length of the outage
		p.wan.restore()
	}
	for _, n := range killed {
		n.Kill()
	}
	for _, n := range killed {
		n.Start()
	}
}

// tidy fails the test if partial state or a child is left.
func (p *pair) tidy() {
	p.t.Helper()
	left := p.zfs("get", "-Hp", "-r", "-t", "filesystem,volume", "-o", "value", "receive_resume_token,inconsistent", p.into())
	node.Must(p.t, partial(left))
	for _, n := range []*node.Node{p.fra, p.sin} {
		n.Eventually("no child is left", func() bool { return len(n.Children()) == 0 })
	}
}

// partial finds state that is not complete among the values of receive_resume_token
// and inconsistent.
func partial(values string) error {
	for i, v := range splitLines(values) {
		if v != "-" && v != "0" {
			return fmt.Errorf("value %d is %s: a receive is not finished", i, v)
		}
	}
	return nil
}
