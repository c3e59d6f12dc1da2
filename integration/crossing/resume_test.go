package crossing

import (
	"testing"

	"antipode/daemon/status"
)

// Nobody triggers anything, and the next run is an hour away.
func TestDaemonThatWasKilledGoesOnByItself(t *testing.T) {
	p := newPair(t)
	db := p.dataset("db")
	random(t, db+"/data", 24*mib)
	p.sin.configure(accept(p.into()))
	p.fra.configure(narrow + job("db", db, slow, `every = "1000h"`))
	for _, killed := range [][]*site{{p.fra}, {p.sin}, {p.fra, p.sin}} {
		before := p.there.There()
		p.fra.eventually("it moves", func() bool { return p.there.There() > before+3*mib })
		for _, s := range killed {
			s.kill()
		}
		for _, s := range killed {
			s.start()
		}
	}
	p.fra.await("the copy is complete", func(s status.Status) bool { return !line(s, db).LastPoint.IsZero() })
	p.same(db)
	p.tidy(db)
}
