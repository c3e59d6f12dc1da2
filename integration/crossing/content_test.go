package crossing

import (
	"path/filepath"
	"testing"

	"antipode/daemon/control"
	"antipode/integration/sample"
)

func TestStandbyIsIdenticalAfterFullAndIncrementals(t *testing.T) {
	p := newPair(t)
	db := p.dataset("db")
	furnish(t, db)
	p.fra.configure(job("db", db, `keep = { last = 10 }`))
	p.sin.configure(accept(p.into(), `keep = { last = 10 }`))

	p.fra.trigger("db")
	p.same(db)
	for i, change := range sample.Changes() {
		change(t, db)
		if r := p.fra.trigger("db"); r.Steps != 1 {
			t.Errorf("run %d brought %d steps, want 1", i, r.Steps)
		}
		p.same(db)
	}
	if got, want := len(p.points(db)), len(sample.Changes())+1; got != want {
		t.Fatalf("%d points, want %d", got, want)
	}
	for _, name := range p.points(db) { // the earlier ones did not change either
		p.sameTree(p.snapshot(db, name), filepath.Join(p.replica(db), name))
	}
	p.tidy(db)

	newest := p.same(db)
	p.fra.kill()
	var promoted control.PromoteResponse
	p.sin.ask(&promoted, "promote", db, "--yes")
	if promoted.Point != newest {
		t.Errorf("promoted %s, want the newest, %s", promoted.Point, newest)
	}
	p.sameTree(p.snapshot(db, newest), promoted.Live)
	p.sameTree(db, promoted.Live)
}
