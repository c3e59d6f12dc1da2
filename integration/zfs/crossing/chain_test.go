//go:build zfs

package crossing

import (
	"fmt"
	"slices"
	"testing"

	"antipode/daemon/control"
	"antipode/daemon/status"
	"antipode/integration/node"
	"antipode/integration/sample"
)

// Three daemons in a row: what fra1 sends to sin1 reaches syd1 with its identity, raw where
// it is encrypted, also after the one in the middle was killed while it sent, and although
// the one in the middle keeps one point only. The last one leaves out what it strips.
func TestAChainOfThreeCarriesPointsWithTheirIdentity(t *testing.T) {
	p := newPair(t)
	db := p.encrypted("db")
	sample.Random(t, dir(db)+"/data", 6*mib)
	into := p.from + " syd1"
	syd := node.New(t, binary, "syd1", p.wan.addr[0]+":8772")
	syd.Prefix, syd.Patience, syd.Poll, syd.IsChild = p.fra.Prefix, p.fra.Patience, p.fra.Poll, runs("receive", into)
	syd.Knows("sin1", p.sin.Key(), p.sin.Address)
	p.sin.Knows("syd1", syd.Key(), syd.Address)
	syd.Configure(fmt.Sprintf("[[accept]]\nfrom = \"sin1\"\ndriver = \"zfs\"\ninto = %q\nstrip = %q\n", into, p.from))
	syd.Start()
	p.sin.Stop() // it does not know syd1 yet
	p.sin.Sections = narrow + accept(p.into(), "keep = { last = 1 }") +
		fmt.Sprintf("[[job]]\nid = \"onward\"\ndriver = \"zfs\"\nforward = \"fra1\"\ndatasets = [%q]\nreplicate_to = [\"syd1\"]\nrate_limit = \"1MiB/s\"\n", p.from+"/**")
	p.sin.Write()
	p.sin.Start()
	p.fra.Configure(narrow + job("db", db))
	at := into + "/db"
	arrived := func(name string) {
		t.Helper()
		syd.Eventually(name+" arrives at the end of the chain", func() bool { return slices.Contains(p.snapshots(at), name) })
		if own, got := p.property(db+"@"+name, "guid"), p.property(at+"@"+name, "guid"); own != got {
			t.Errorf("%s has the GUID %s at the end, want %s", name, got, own)
		}
	}

	p.fra.Trigger("db")
	syd.Await("the first copy is on its way to syd1", func(s status.Status) bool {
		r := node.ReplicaLine(s, db).Receiving
		return r != nil && r.Bytes > 2*mib
	})
	p.sin.Kill()
	p.sin.EndChildren()
	p.sin.Start()
	first := p.snapshots(db)[0]
	arrived(first)

	syd.Stop()
	for i := range 2 {
		sample.Random(t, fmt.Sprintf("%s/more-%d", dir(db), i), 100<<10)
		p.fra.Trigger("db")
	}
	names := p.snapshots(db)
	last := names[len(names)-1]
	p.sin.Eventually("retention of sin1 leaves what syd1 needs and what is newest", func() bool {
		return slices.Equal(p.snapshots(p.replica(db)), []string{first, last})
	})
	syd.Start()
	arrived(last)
	if got := p.snapshots(at); !slices.Contains(got, first) {
		t.Errorf("syd1 holds %v, want that it went on from %s", got, first)
	}
	for _, ds := range []string{p.replica(db), at} {
		if got := p.property(ds, "keystatus"); got != "unavailable" {
			t.Errorf("the key of %s is %s, want that nobody has it there", ds, got)
		}
	}
	p.zfs("load-key", "-L", "file://"+p.key, at)
	p.sameSnapshot(db+"@"+last, at+"@"+last)
	p.zfs("unload-key", at)
	p.sin.Check("job onward", control.Good)
}
