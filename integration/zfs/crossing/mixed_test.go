//go:build zfs

package crossing

import (
	"fmt"
	"path/filepath"
	"testing"

	"antipode/daemon/control"
	"antipode/integration/loopfs"
	"antipode/integration/node"
	"antipode/integration/sample"
)

// TestJobsOfBothFileSystemsOnOneNode: a job on ZFS and one on Btrfs, to one peer that
// takes both in.
func TestJobsOfBothFileSystemsOnOneNode(t *testing.T) {
	here, there := loopfs.Make(t, 256*mib), loopfs.Make(t, 256*mib)
	p := newPair(t)
	db, www := p.filesystem("db"), filepath.Join(here.Dir, "www")
	node.Tool(t, "btrfs", "subvolume", "create", www)
	sample.Random(t, dir(db)+"/data", 200<<10)
	sample.Random(t, www+"/data", 200<<10)
	into := filepath.Join(there.Dir, "in")
	p.sin.Configure(accept(p.into()) + fmt.Sprintf("[[accept]]\nfrom = \"fra1\"\ndriver = \"btrfs\"\ninto = %q\n", into))
	p.fra.Configure(job("db", db) + fmt.Sprintf("[[job]]\nid = \"www\"\ndriver = \"btrfs\"\ndatasets = [%q]\nreplicate_to = [\"sin1\"]\n", www))
	for _, id := range []string{"db", "www"} {
		if r := p.fra.Trigger(id); r.Steps != 1 {
			t.Errorf("job %s brought %d steps, want 1", id, r.Steps)
		}
	}
	p.same(db)
	for _, ds := range []string{db, www} {
		if r := node.ReplicaLine(p.sin.Status(), ds); r.Points != 1 || r.Role != "standby" {
			t.Errorf("the replica of %s has %d points and is %q", ds, r.Points, r.Role)
		}
	}
	node.Says(t, p.sin.Check("accept from fra1", control.Good), "zfs datasets into "+p.into(), "btrfs datasets into "+into)
	p.fra.Kill()
	var r control.PromoteResponse
	p.sin.Ask(&r, "promote", www, "--yes")
	p.sameTree(www, r.Live)
	p.sin.Ask(&r, "promote", db, "--yes")
	p.sameTree(dir(db), dir(r.Live))
}
