package crossing

import (
	"os"
	"path/filepath"
	"testing"
)

// What the accept strips is in no place on the target, also when the standby goes
// live; a dataset that is not below it stays out, and its source is told why.
func TestAnAcceptLeavesOutWhatItStrips(t *testing.T) {
	p := newStrangers(t, roomy)
	p.introduce()
	db, other := p.dataset("db"), p.dataset("other")
	random(t, db+"/data", mib)
	p.fra.Sections = job("db", db) + job("other", other)
	p.sin.Sections = accept(p.into(), "strip = \""+db+"\"", "live = \""+p.sin.at("live")+"\"")
	must(t, os.Mkdir(p.sin.at("live"), 0o755))
	p.fra.write()
	p.sin.write()
	p.fra.start()
	p.sin.start()
	says(t, p.fra.triggerFails("other"), "is not below "+db)
	if exists(p.replica(other)) {
		t.Errorf("%s was received", other)
	}

	p.sin.configure(accept(p.into(), "strip = \""+p.fra.fs.Dir+"\"", "live = \""+p.sin.at("live")+"\""))
	p.fra.trigger("db")
	names := p.snapshots(db)
	newest := names[len(names)-1]
	p.sameTree(p.snapshot(db, newest), filepath.Join(p.into(), "db", newest))
	p.sin.ask(nil, "promote", db, "--yes", "--force")
	p.sameTree(p.snapshot(db, newest), filepath.Join(p.sin.at("live"), "db"))

	p.sin.Sections = accept(p.into())
	p.sin.write()
	says(t, p.sin.refused("reload"), "received with strip", "set it back")
}
