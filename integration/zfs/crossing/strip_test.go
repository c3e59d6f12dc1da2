//go:build zfs

package crossing

import (
	"slices"
	"strings"
	"testing"

	"antipode/daemon/control"
	"antipode/integration/node"
	"antipode/integration/sample"
)

// What the accept strips is in no name on the target, where into is a pool itself, also
// when the standby goes live and when its dataset was renamed; what is not below it stays
// out, and its source is told why; another strip is refused while there are replicas.
func TestAnAcceptLeavesOutWhatItStrips(t *testing.T) {
	own := newPool(t, "own", 128<<20)
	p := newPair(t)
	db, other := p.filesystem("db"), p.from+" other"
	p.zfs("create", other)
	sample.Random(t, dir(db)+"/data", 300<<10)
	sample.Random(t, dir(other)+"/data", 100<<10)
	p.sin.Configure(accept(own.name, `strip = "`+p.from+`"`, `min_free = "1MiB"`))
	p.fra.Configure(job("db", p.from+"/**") + job("other", other) + job("above", p.from))

	for id, out := range map[string][]string{"other": {other, "is not below " + p.from}, "above": {p.from, "is itself what strip leaves out"}} {
		text := p.fra.TriggerFails(id)
		t.Logf("what the operator reads:\n%s", text)
		node.Says(t, text, out...)
		node.Says(t, p.fra.Check("job "+id, control.Fatal), "takes only what is below "+p.from, "the first is "+out[0])
	}
	p.fra.Trigger("db")
	newest := p.snapshots(db)[len(p.snapshots(db))-1]
	p.sameSnapshot(db+"@"+newest, own.name+"/db@"+newest)

	p.zfs("rename", db, p.from+"/renamed")
	db = p.from + "/renamed"
	p.fra.Trigger("db")
	newest = p.snapshots(db)[len(p.snapshots(db))-1]
	p.sameSnapshot(db+"@"+newest, own.name+"/renamed@"+newest)
	all := splitLines(p.zfs("list", "-H", "-r", "-o", "name", own.name))
	if want := []string{own.name, own.name + "/.antipode", own.name + "/renamed"}; !slices.Equal(all, want) {
		t.Errorf("the pool holds %v, want %v", all, want)
	}

	var r control.PromoteResponse
	p.sin.Ask(&r, "promote", db, "--yes", "--force")
	if !strings.HasSuffix(r.Live, "/antipode_live/renamed") || strings.Contains(r.Live, p.from) {
		t.Errorf("it is live at %s, want the path that it has on its source, without %s", r.Live, p.from)
	}
	p.sameTree(dir(db), dir(r.Live))

	p.sin.Sections = accept(own.name)
	p.sin.Write()
	node.Says(t, p.sin.Refused("reload"), "received with strip", "set it back")
}

// sameSnapshot compares two snapshots of filesystems by content.
func (p *pair) sameSnapshot(want, got string) {
	p.t.Helper()
	a, done := p.look(want)
	defer done()
	b, done := p.look(got)
	defer done()
	p.sameTree(a, b)
}
