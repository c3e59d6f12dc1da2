//go:build zfs

package crossing

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"antipode/daemon/control"
	"antipode/daemon/status"
	"antipode/integration/node"
	"antipode/integration/sample"
)

// TestStandbyIsIdenticalThenPrimary is the whole story, for a filesystem, a volume
// and an encrypted filesystem in one job: copies, increments, retention on both
// sides, the loss of the primary, and its return.
func TestStandbyIsIdenticalThenPrimary(t *testing.T) {
	p := newPair(t)
	files, vol, enc := p.filesystem("files"), p.volume("vol"), p.encrypted("enc")
	all := []string{enc, files, vol}
	sample.Furnish(t, dir(files), 20, 3*mib)
	sample.Random(t, dir(enc)+"/secret", 300<<10)
	p.sin.Configure(accept(p.into(), "keep = { last = 1 }"))
	p.fra.Configure(job("db", p.from+"/**", "may_promote = true", "keep = { last = 1 }"))
	for i := range 3 {
		if r := p.fra.Trigger("db"); r.Steps != len(all) || r.Snapshots != len(all) {
			t.Fatalf("run %d: %d snapshots and %d steps, want %d each", i, r.Snapshots, r.Steps, len(all))
		}
		if i == 0 {
			p.atomic(all)
		}
		for _, ds := range all {
			p.same(ds)
		}
		if i == 0 { // and in the last run nothing has changed
			for _, change := range sample.Changes() {
				change(t, dir(files))
			}
			p.scribble(vol, mib, 64<<10)
			sample.Overwrite(t, dir(enc)+"/secret", 1<<10, 1000)
		}
	}
	p.retention(all)
	if status := p.property(p.replica(enc), "keystatus"); status != "unavailable" {
		t.Errorf("the key of %s is %s on the standby, want unavailable", enc, status)
	}
	if mounted := p.property(p.replica(files), "mounted"); mounted != "no" {
		t.Error("the standby is mounted")
	}
	live := p.lose(all)
	p.back(all)
	p.wayBack(live[enc])
}

// wayBack sends what was written on the new primary, raw, to where the old one is,
// and reads it there with the key that it always had.
func (p *pair) wayBack(live string) {
	p.t.Helper()
	into := p.from + " back"
	p.fra.Configure(p.fra.Sections + fmt.Sprintf("[[accept]]\nfrom = \"sin1\"\ndriver = \"zfs\"\ninto = %q\n", into))
	p.sin.Configure(p.sin.Sections + fmt.Sprintf("[[job]]\nid = \"back\"\ndriver = \"zfs\"\nencryption = \"raw\"\ndatasets = [%q]\nreplicate_to = [\"fra1\"]\n", live))
	for range 2 { // in full, then an increment
		sample.Overwrite(p.t, dir(live)+"/secret", 5, 1000)
		if r := p.sin.Trigger("back"); r.Steps != 1 {
			p.t.Errorf("the way back took %d steps, want 1", r.Steps)
		}
	}
	replica := into + "/" + live
	if status := p.property(replica, "keystatus"); status != "unavailable" {
		p.t.Errorf("the key of %s is %s, want unavailable", replica, status)
	}
	p.zfs("load-key", "-L", "file://"+p.key, replica)
	names := p.snapshots(replica)
	got, done := p.look(replica + "@" + names[len(names)-1])
	defer done()
	p.sameTree(dir(live), got)
	if _, err := os.Stat(got + "/written here"); err != nil {
		p.t.Errorf("what was written on the new primary: %v", err)
	}
}

// atomic fails unless the newest snapshots of all were made in one transaction.
func (p *pair) atomic(all []string) {
	p.t.Helper()
	var first string
	for _, ds := range all {
		names := p.snapshots(ds)
		txg := p.property(ds+"@"+names[len(names)-1], "createtxg")
		if first == "" {
			first = txg
		}
		if txg != first {
			p.t.Errorf("the snapshot of %s is of transaction %s, the first of %s", ds, txg, first)
		}
	}
}

// retention waits until both sides keep the newest point alone. The source prunes
// before it sends: what is the base then lives on as a bookmark.
func (p *pair) retention(all []string) {
	p.t.Helper()
	for _, ds := range all {
		p.fra.Eventually(ds+" is pruned", func() bool {
			made, there := p.both(ds)
			return len(made) == 1 && len(there) == 1
		})
		if marks := p.zfs("list", "-H", "-d", "1", "-t", "bookmark", "-o", "name", ds); !strings.Contains(marks, ds+"#") {
			p.t.Errorf("the base of %s left no bookmark: %q", ds, marks)
		}
		if !p.isUpToDate(ds) {
			p.t.Errorf("%s keeps %v, its replica %v", ds, p.snapshots(ds), p.snapshots(p.replica(ds)))
		}
	}
}

// lose kills the primary and promotes what the standby has of it.
func (p *pair) lose(all []string) (live map[string]string) {
	p.t.Helper()
	p.fra.Kill()
	for _, ds := range all {
		if p.property(ds, "type") == "filesystem" {
			sample.Write(p.t, dir(ds)+"/never arrives", "written after the last point")
		}
	}
	live = make(map[string]string)
	for _, ds := range all {
		if p.property(p.replica(ds), "keystatus") == "unavailable" {
			text := p.sin.Refused("promote", ds, "--yes")
			node.Says(p.t, text, ds, "zfs load-key "+p.replica(ds))
			p.zfs("load-key", "-L", "file://"+p.key, p.replica(ds))
		}
		var r control.PromoteResponse
		p.sin.Ask(&r, "promote", ds, "--yes")
		if r.Generation != 1 {
			p.t.Errorf("%s is of generation %d, want 1", ds, r.Generation)
		}
		live[ds] = r.Live
		p.isLive(ds+"@"+r.Point, r.Live)
	}
	return live
}

// isLive compares a live copy with the snapshot that it came from, and writes to it.
func (p *pair) isLive(snapshot, live string) {
	p.t.Helper()
	if p.property(live, "type") == "volume" {
		if p.digest(snapshot) != p.digestOf(live) {
			p.t.Errorf("%s is not what %s holds", live, snapshot)
		}
		p.scribble(live, 0, 4096)
		return
	}
	want, done := p.look(snapshot)
	defer done()
	p.sameTree(want, dir(live))
	sample.Write(p.t, dir(live)+"/written here", "the live copy takes writes")
}

// back starts the old primary: it steps down by itself, and loses nothing.
func (p *pair) back(all []string) {
	p.t.Helper()
	p.fra.Start()
	for _, ds := range all {
		st := p.fra.Await(ds+" is fenced", func(s status.Status) bool {
			l := node.Line(s, ds)
			return l.State == status.StateFenced && l.LastError != nil
		})
		node.Says(p.t, node.ProblemOf(node.Line(st, ds).LastError), ds, "sin1 is primary in generation 1")
		p.fra.Eventually(ds+" is read-only", func() bool { return p.property(ds, "readonly") == "on" })
		if p.property(ds, "type") == "filesystem" {
			if err := os.WriteFile(dir(ds)+"/x", nil, 0o600); !errors.Is(err, unix.EROFS) {
				p.t.Errorf("write to the fenced %s: %v, want a read-only file system", ds, err)
			}
			if _, err := os.Stat(dir(ds) + "/never arrives"); err != nil {
				p.t.Errorf("what had diverged: %v", err)
			}
		}
	}
}
