package crossing

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"antipode/daemon/control"
	"antipode/daemon/status"
)

// Three daemons in a row: what fra1 sends to sin1 reaches syd1 with its identity, also
// after the one in the middle was killed while it sent, and although the one in the
// middle keeps one point only.
func TestAChainOfThreeCarriesPointsWithTheirIdentity(t *testing.T) {
	p := newStrangers(t, roomy)
	p.introduce()
	syd := newSiteOf(t, binary, "syd1", roomy)
	syd.knows("sin1", p.sin.key(), p.sin.Address)
	p.sin.knows("syd1", syd.key(), syd.Address)
	db := p.dataset("db")
	random(t, db+"/data", 24*mib)
	onward := fmt.Sprintf("[[job]]\nid = \"onward\"\ndriver = \"btrfs\"\nforward = \"fra1\"\ndatasets = [%q]\nreplicate_to = [\"syd1\"]\n", db)
	p.fra.Sections = job("db", db)
	p.sin.Sections = accept(p.into(), "keep = { last = 1 }") + onward + slow + "\n"
	syd.Sections = fmt.Sprintf("[[accept]]\nfrom = \"sin1\"\ndriver = \"btrfs\"\ninto = %q\n", syd.at("in"))
	for _, s := range []*site{p.fra, p.sin, syd} {
		s.write()
		s.start()
	}
	points := func() (names []string) {
		entries, err := os.ReadDir(filepath.Join(syd.at("in"), db))
		if os.IsNotExist(err) {
			return nil
		}
		must(t, err)
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return names
	}
	arrived := func(name string) {
		t.Helper()
		syd.awaitWithin(2*patience, name+" arrives at the end of the chain", func(status.Status) bool { return slices.Contains(points(), name) })
		p.sameTree(p.snapshot(db, name), filepath.Join(syd.at("in"), db, name))
	}

	p.fra.trigger("db")
	syd.eventually("the first copy is on its way to syd1", func() bool {
		r := replicaLine(syd.status(), db).Receiving
		return r != nil && r.Bytes > 4*mib
	})
	p.sin.kill()
	p.sin.EndChildren()
	p.sin.start()
	first := p.same(db)
	arrived(first)

	syd.stop()
	for i := range 3 {
		random(t, fmt.Sprintf("%s/more-%d", db, i), mib)
		p.fra.trigger("db")
	}
	last := p.same(db)
	p.sin.eventually("retention of sin1 leaves what syd1 needs and what is newest", func() bool {
		return slices.Equal(p.points(db), []string{first, last})
	})
	syd.start()
	arrived(last)
	if got := points(); !slices.Contains(got, first) {
		t.Errorf("syd1 holds %v, want that it went on from %s", got, first)
	}
	id, _ := receivedUUID(t, filepath.Join(syd.at("in"), db, last))
	if own := tool(t, "btrfs", "subvolume", "show", "--", p.snapshot(db, last)); id == "" || !strings.Contains(own, "UUID: \t\t\t"+id) {
		t.Errorf("the point on syd1 was received as %s, want the snapshot's own UUID on fra1:\n%s", id, own)
	}
	check(t, p.sin, "job onward", control.Good)
}
