//go:build zfs

package crossing

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"antipode/daemon/control"
	"antipode/daemon/status"
	"antipode/integration/node"
	"antipode/integration/sample"
)

// TestWhatIsWrongWithOneDatasetIsNamedAndTheOthersGoOn: in one job, datasets that
// were renamed, or destroyed and made again, which are followed and set aside; and
// some whose standby was written to, or has somebody's snapshot. Each error names its
// dataset and the next step, nothing is rolled back or overwritten, and the cure that
// it names is one.
func TestWhatIsWrongWithOneDatasetIsNamedAndTheOthersGoOn(t *testing.T) {
	p := newPair(t)
	good, renamed, anew, written, foreign := p.filesystem("good"), p.filesystem("renamed"), p.filesystem("made anew"), p.filesystem("written"), p.filesystem("foreign")
	for _, ds := range []string{good, renamed, anew, written, foreign} {
		sample.Random(t, dir(ds)+"/data", 100<<10)
	}
	p.sin.Configure(accept(p.into()))
	p.fra.Configure(job("db", p.from+"/**"))
	p.fra.Trigger("db")

	p.zfs("rename", renamed, renamed+" 2")
	p.zfs("destroy", "-r", released(p, anew))
	p.filesystem("made anew")
	sample.Random(t, dir(anew)+"/data", 50<<10)
	p.zfs("set", "readonly=off", p.replica(written))
	p.zfs("set", "mountpoint=/written", p.replica(written))
	p.zfs("mount", p.replica(written))
	sample.Write(t, "/written/mine", "written on the standby")
	p.zfs("unmount", p.replica(written))
	p.zfs("snapshot", p.replica(foreign)+"@daily")

	text := p.fra.TriggerFails("db")
	t.Logf("what the operator reads:\n%s", text)
	for _, says := range [][]string{
		{p.replica(written), "has been modified", "nothing is rolled back"},
		{p.replica(foreign) + "@daily", "nothing is rolled back"},
	} {
		node.Says(t, text, says...)
	}
	for _, ds := range []string{written, foreign} {
		if problem := node.Line(p.fra.Status(), ds).LastError; problem == nil {
			t.Errorf("status says nothing of %s", ds)
		}
	}
	p.same(good)
	p.same(renamed + " 2")
	if n := len(p.snapshots(p.replica(renamed + " 2"))); n != 2 {
		t.Errorf("the replica under the new name has %d points, want the one from before and the new one", n)
	}
	p.same(anew)
	all := p.zfs("list", "-H", "-r", "-o", "name", p.to)
	if strings.Contains(all, p.replica(renamed)+"\n") {
		t.Errorf("a replica is left under the old name: %s", all)
	}
	aside := ""
	for line := range strings.Lines(all) {
		if strings.HasPrefix(line, p.replica(anew)+".was-") {
			aside = strings.TrimSuffix(line, "\n")
		}
	}
	if aside == "" || len(p.snapshots(aside)) != 1 {
		t.Errorf("the points of the former dataset are gone: %s", all)
	}

	// The ways out that were named.
	p.zfs("rollback", p.replica(written)+"@"+p.snapshots(p.replica(written))[0])
	p.zfs("destroy", p.replica(foreign)+"@daily")
	p.fra.Eventually("all is well", func() bool { return p.fra.Try(nil, "trigger", "db", "--wait") == nil })
	for _, ds := range []string{good, anew, written, foreign} {
		p.same(ds)
	}
	if len(p.snapshots(aside)) != 1 {
		t.Error("the points of the former dataset went later")
	}
}

// released lets go of what holds the snapshots of a dataset, as somebody does who
// wants it gone.
func released(p *pair, ds string) string {
	p.t.Helper()
	for _, name := range p.snapshots(ds) {
		for _, line := range splitLines(p.zfs("holds", "-H", ds+"@"+name)) {
			if f := strings.Split(line, "\t"); len(f) > 1 {
				p.zfs("release", f[1], ds+"@"+name)
			}
		}
	}
	return ds
}

// TestSnapshotDestroyedDuringItsSendIsPlannedAgain: the target holds part of a step
// whose snapshot is gone; that is dropped once, and the newest is sent.
func TestSnapshotDestroyedDuringItsSendIsPlannedAgain(t *testing.T) {
	p := newPair(t)
	db := p.filesystem("db")
	sample.Random(t, dir(db)+"/data", 8*mib)
	p.sin.Configure(narrow + accept(p.into()))
	p.fra.Configure(narrow + job("db", db, `rate_limit = "1MiB/s"`))
	p.fra.Ask(nil, "trigger", "db")
	before := p.wan.sent()
	p.fra.Eventually("it moves", func() bool { return p.wan.sent() > before+3*mib })
	p.fra.Kill()
	p.sin.Kill()
	p.fra.EndChildren()
	p.sin.Eventually("the receive ends", func() bool { return len(p.sin.Children()) == 0 })
	doomed := p.snapshots(db)[0]
	released(p, db)
	p.zfs("destroy", db+"@"+doomed)
	p.fra.Sections = job("db", db)
	p.fra.Write()
	p.fra.Start()
	p.sin.Start()
	p.fra.Eventually("a run gets through", func() bool { return p.fra.Try(nil, "trigger", "db", "--wait") == nil })
	if p.same(db) == doomed || slices.Contains(p.snapshots(p.replica(db)), doomed) {
		t.Errorf("%s, which is gone, was sent", doomed)
	}
	p.tidy()
}

// TestFullAndLimitedPoolsAreNamedAndTheCopyGoesOn: a quota, then no space at all.
func TestFullAndLimitedPoolsAreNamedAndTheCopyGoesOn(t *testing.T) {
	small := newPool(t, "full", 96<<20)
	p := newPair(t)
	into := small.name + "/in"
	db := p.filesystem("db")
	sample.Random(t, dir(db)+"/data", mib)
	p.sin.Configure(accept(into, `min_free = "1MiB"`))
	p.fra.Configure(job("db", db))
	p.fra.Trigger("db")

	p.zfs("set", "quota=4M", into)
	sample.Random(t, dir(db)+"/more", 6*mib)
	text := p.fra.TriggerFails("db")
	t.Logf("what the operator reads:\n%s", text)
	node.Says(t, text, into, "quota")
	node.Says(t, node.ProblemOf(node.ReplicaLine(p.sin.Status(), db).LastError), into, "quota")

	p.zfs("set", "quota=none", into)
	p.fra.Eventually("a run gets through", func() bool { return p.fra.Try(nil, "trigger", "db", "--wait") == nil })
	points := p.snapshots(into + "/" + db)
	var free int64
	_, err := fmt.Sscan(p.property(into, "available"), &free)
	node.Must(t, err)
	filler := small.name + "/filler" // what others take
	p.zfs("create", "-o", fmt.Sprintf("reservation=%d", free-2*mib), filler)
	sample.Random(t, dir(db)+"/more", 6*mib)
	text = p.fra.TriggerFails("db")
	t.Logf("what the operator reads:\n%s", text)
	node.Says(t, text, "space", into)
	node.Says(t, node.ProblemOf(node.ReplicaLine(p.sin.Status(), db).LastError), "space", into)
	if got := p.snapshots(into + "/" + db); !slices.Equal(got, points) {
		t.Errorf("the points are %v, want the %v from before", got, points)
	}
	p.zfs("destroy", filler)
	p.fra.Await("it goes on by itself", func(s status.Status) bool {
		return len(p.snapshots(into+"/"+db)) > len(points) && node.Line(s, db).LastError == nil
	})
}

// TestPoolsThatGoAway: a target's pool read-only, exported under a running
// transfer, and imported under another name; the source's imported under another
// name. Errors name the pool and the way out, other datasets go on.
func TestPoolsThatGoAway(t *testing.T) {
	near, away := newPool(t, "near", 96<<20), newPool(t, "away", 96<<20)
	p := newPair(t)
	into := away.name + "/in"
	db, other := p.filesystem("db"), near.name+"/other"
	p.zfs("create", "-o", "mountpoint=/"+other, other)
	sample.Random(t, dir(db)+"/data", 256<<10)
	sample.Random(t, dir(other)+"/data", 256<<10)
	p.sin.Configure(narrow + accept(into))
	slow := `rate_limit = "1MiB/s"`
	p.fra.Configure(narrow + job("db", db, slow) + job("other", other))
	p.fra.Trigger("db")
	p.fra.Trigger("other")

	// Read-only.
	away.export()
	away.imports(away.name, "-o", "readonly=on")
	text := p.fra.TriggerFails("db")
	t.Logf("read-only:\n%s", text)
	node.Says(t, text, db, "read-only")
	node.Says(t, p.sin.Check(away.name, control.Fatal), "read-only")
	away.export()

	// Away, then under another name.
	text = p.fra.TriggerFails("db")
	t.Logf("exported:\n%s", text)
	node.Says(t, text, into, "pool exported")
	node.Says(t, p.sin.Check(into, control.Fatal), "import its pool")
	name := away.name
	away.imports(name + "-x")
	node.Says(t, p.fra.TriggerFails("db"), into, "pool exported")
	away.export()
	away.imports(name)
	p.fra.Eventually("it is there again", func() bool { return p.fra.Try(nil, "trigger", "db", "--wait") == nil })

	// Exported under a running transfer: ZFS refuses while it is used.
	sample.Random(t, dir(db)+"/more", 5*mib)
	p.fra.Ask(nil, "trigger", "db")
	before := p.wan.sent()
	p.fra.Eventually("it moves", func() bool { return p.wan.sent() > before+2*mib })
	out := node.Tool(t, "bash", "-c", `zpool export -f "$1" 2>&1 || true`, "export", away.name)
	t.Logf("zpool export under a running receive: %q", out)
	if out == "" {
		away.imports(name)
	}
	p.fra.AwaitWithin(patience, "the transfer ends well", func(s status.Status) bool {
		all := p.points(db, into+"/"+db)
		made, there := all[db], all[into+"/"+db]
		return node.Line(s, db).LastError == nil && len(there) > 0 && made[len(made)-1] == there[len(there)-1]
	})

	// The source's, under another name.
	name = near.name
	near.export()
	near.imports(name + "-x")
	text = p.fra.TriggerFails("other")
	t.Logf("under another name:\n%s", text)
	node.Says(t, text, other, "not found", "import its pool")
	near.export()
	near.imports(name)
	p.fra.Trigger("other")
}
