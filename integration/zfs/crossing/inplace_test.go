//go:build zfs

package crossing

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"antipode/daemon/control"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs"
	"antipode/integration/node"
	"antipode/integration/sample"
)

// TestTheReplicaItselfGoesLive: the primary is lost, and the standby's own replicas go
// live, by a daemon that is killed between its intention and the deed; the old primary
// steps down; then it is to be the primary after all, and gets its standby back.
func TestTheReplicaItselfGoesLive(t *testing.T) {
	p := newPair(t)
	killer := p.killer()
	files, vol := p.filesystem("files"), p.volume("vol")
	sample.Furnish(t, dir(files), 10, mib)
	p.sin.Configure(accept(p.into()))
	p.fra.Configure(job("db", p.from+"/**", "may_promote = true"))
	for range 2 {
		if r := p.fra.Trigger("db"); r.Steps != 2 {
			t.Fatalf("%d steps, want one for each of two datasets", r.Steps)
		}
		sample.Write(t, dir(files)+"/changed", "between two points")
	}
	point := p.same(files)
	p.fra.Kill()
	sample.Write(t, dir(files)+"/never arrives", "written after the last point")

	killer.at("org.antipode:live=on") // the mark is written, and nothing is live
	text := p.sin.Refused("promote", files, "--in-place", "--yes")
	killer.wantDead(text)
	p.wantHalf(files, "-")
	killer.at("canmount=on") // it is half live
	p.sin.Launch()
	killer.wantDead("")
	p.wantHalf(files, "on")
	p.sin.Start()
	mounted := func() bool { return p.property(p.replica(files), "mounted") == "yes" }
	p.sin.Eventually(files+" is live by itself", mounted)

	var r control.PromoteResponse
	p.sin.Ask(&r, "promote", files, "--yes")
	if !r.InPlace || r.Live != p.replica(files) || r.Generation != 1 {
		t.Errorf("promoted %+v, want the replica itself, in generation 1", r)
	}
	at := p.property(p.replica(files), "mountpoint")
	want, done := p.look(p.replica(files) + "@" + point)
	p.sameTree(want, at)
	done()
	sample.Write(t, at+"/written here", "the replica itself takes writes")
	p.sin.Ask(&r, "promote", vol, "--in-place", "--yes")
	if p.digest(p.replica(vol)+"@"+p.same(vol)) != p.digestOf(r.Live) {
		t.Errorf("%s is not what the newest point holds", r.Live)
	}
	p.scribble(r.Live, 0, 4096)

	p.back([]string{files, vol})
	if got := p.snapshots(p.replica(files)); got[len(got)-1] != point {
		t.Errorf("the replica has %v, want that nothing came after %s", got, point)
	}
	p.giveBack(files, point, at)
}

// wantHalf fails unless the mark says that the replica goes live, which it did not yet.
func (p *pair) wantHalf(ds, live string) {
	p.t.Helper()
	replica := p.replica(ds)
	if mark, is, m := p.property(replica, "org.antipode:mark"), p.property(replica, "org.antipode:live"), p.property(replica, "mounted"); mark == "-" || is != live || m != "no" {
		p.t.Errorf("mark %.20q, live %q, mounted %q; want a mark, %q and no", mark, is, m, live)
	}
}

// giveBack makes fra1 primary of what both were made primary of, and sin1 its standby.
func (p *pair) giveBack(files, point, at string) {
	p.t.Helper()
	source, path := zfs.NewSource(zfs.Options{Log: zerolog.Nop()}), dataset.Path(files)
	have, err := source.Mark(p.t.Context(), path)
	node.Must(p.t, err)
	ours := dataset.Mark{Activation: dataset.Activation{Generation: 1, ID: dataset.NewActivationID(), Node: "fra1"}}
	node.Must(p.t, source.SwapMark(p.t.Context(), path, have, ours))
	p.zfs("set", "readonly=off", files)
	p.sin.Eventually("sin1 hears of it", func() bool {
		p.fra.Call("trigger", "db", "--wait")
		_, _, code := p.sin.Call("resolve", files)
		return code != 0
	})
	node.Says(p.t, p.sin.Refused("resolve", files, "--with", "give-way", "--yes"), files, "zfs rollback")
	if _, err := os.Stat(at + "/written here"); err != nil {
		p.t.Errorf("what was refused to be given up: %v", err)
	}
	sample.Write(p.t, at+"/more", "it takes writes still")
	p.zfs("rollback", p.replica(files)+"@"+point)
	if out, errOut, code := p.sin.Call("resolve", files, "--with", "give-way", "--yes"); code != 0 {
		p.t.Fatalf("give way: %s%s", out, errOut)
	}
	if ro, m := p.property(p.replica(files), "readonly"), p.property(p.replica(files), "mounted"); ro != "on" || m != "no" {
		p.t.Errorf("after it the replica is readonly=%s, mounted=%s", ro, m)
	}
	sample.Write(p.t, dir(files)+"/again", "the old primary is the primary")
	p.fra.Call("trigger", "db", "--wait") // vol stays fenced
	p.fra.Await(files+" is replicated again", func(s status.Status) bool { return p.isUpToDate(files) })
	p.same(files)
}

// killer runs between sin1's daemon and zfs, and kills the daemon where it is told to.
type killer struct {
	p    *pair
	file string
}

// killer restarts sin1 with one.
func (p *pair) killer() killer {
	p.t.Helper()
	bin, err := exec.LookPath("zfs")
	node.Must(p.t, err)
	own := p.t.TempDir()
	k := killer{p, filepath.Join(own, "at")}
	script := fmt.Sprintf("#!/bin/sh\nif [ -s %[1]s ]; then case \"$*\" in *\"$(cat %[1]s)\"*) rm %[1]s; kill -9 $PPID; exit 1;; esac; fi\nexec %[2]s \"$@\"\n", k.file, bin)
	node.Must(p.t, os.WriteFile(filepath.Join(own, "zfs"), []byte(script), 0o700))
	p.sin.Stop()
	p.sin.Env = append(p.sin.Env, "PATH="+own+":"+os.Getenv("PATH"))
	p.sin.Start()
	return k
}

// at has the daemon killed when zfs would be run with that among its arguments.
func (k killer) at(argument string) {
	k.p.t.Helper()
	node.Must(k.p.t, os.WriteFile(k.file, []byte(argument), 0o600))
}

// wantDead waits for it.
func (k killer) wantDead(said string) {
	k.p.t.Helper()
	select {
	case <-k.p.sin.Ended():
	case <-time.After(patience):
		k.p.t.Fatalf("the daemon was not killed; it said %s", said)
	}
	if _, err := os.Stat(k.file); err == nil {
		k.p.t.Errorf("the daemon ended by itself:\n%s", k.p.sin.Tail(10))
	}
}
