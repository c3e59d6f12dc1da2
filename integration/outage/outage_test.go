// Package outage holds Antipode to what it promises of a link that goes dark: two
// daemons on two Btrfs file systems, at the ends of an emulated link
// (integration/wan) that is switched off in the middle of a transfer. Unlike one
// that is cut (integration/crossing), nobody is told: connections stay open and
// nothing comes, for as long as wait_for_link allows.
package outage

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/status"
	"antipode/integration/loopfs"
	"antipode/integration/node"
	"antipode/integration/sample"
	"antipode/integration/wan"
)

const (
	mib = 1 << 20
	// soon is what must not wait for the link may take on a busy machine. It is less
	// than the 30 s after which lanes on which nothing comes are ended.
	soon = 20 * time.Second
	// patient makes who waits for the link outlast every test.
	patient = "[transport]\nwait_for_link = \"1h\"\n"
)

// pair is two daemons and the link between them.
type pair struct {
	t         *testing.T
	near, far *node.Node
	way       *wan.WAN
	db, into  string
}

// halfway begins a copy over a fresh link and switches that off in the middle of it.
// Before that the target has one complete point.
func halfway(t *testing.T) *pair {
	t.Helper()
	if why := wan.Missing(); why != "" {
		if os.Getenv("CI") != "" {
			t.Fatalf("CI must run this test, but %s", why)
		}
		t.Skip(why)
	}
	source, target := loopfs.New(t, 512*mib), loopfs.New(t, 512*mib)
	way, err := wan.Open(wan.Shape{Rate: wan.Mbit(200), Delay: 20 * time.Millisecond}, 1)
	node.Must(t, err)
	t.Cleanup(func() {
		if err := way.Close(); err != nil {
			t.Error(err)
		}
	})
	binary, err := node.FindBinary(t.TempDir())
	node.Must(t, err)
	p := &pair{
		t: t, way: way, db: filepath.Join(source, "db"), into: filepath.Join(target, "in"),
		near: node.New(t, binary, "near", way.A.Address.String()+":8771"),
		far:  node.New(t, binary, "far", way.B.Address.String()+":8771"),
	}
	p.near.Prefix, p.far.Prefix = way.A.Prefix(), way.B.Prefix()
	p.near.IsChild, p.far.IsChild = worksOn(source), worksOn(target)
	p.near.Knows("far", p.far.Key(), p.far.Address)
	p.far.Knows("near", p.near.Key(), p.near.Address)
	if out, err := exec.Command("btrfs", "subvolume", "create", p.db).CombinedOutput(); err != nil {
		t.Fatalf("make the dataset: %v: %s", err, out)
	}
	sample.Random(t, filepath.Join(p.db, "data"), mib)
	p.near.Configure(patient + fmt.Sprintf("[[job]]\nid = \"db\"\ndriver = \"btrfs\"\ndatasets = [%q]\nreplicate_to = [\"far\"]\nmay_promote = true\nrate_limit = \"8MiB/s\"\n", p.db))
	p.far.Configure(patient + fmt.Sprintf("[[accept]]\nfrom = \"near\"\ndriver = \"btrfs\"\ninto = %q\n", p.into))
	p.far.Start()
	p.near.Start()
	p.near.Trigger("db")
	sample.Random(t, filepath.Join(p.db, "data"), 64*mib)
	p.near.Ask(nil, "trigger", "db")
	p.far.Await("a part of the copy is there", func(s status.Status) bool {
		m := node.ReplicaLine(s, p.db).Receiving
		return m != nil && m.Bytes > 8*mib
	})
	way.Cut()
	return p
}

// worksOn knows a btrfs that works on a file system by its command line.
func worksOn(root string) func([]byte) bool {
	return func(line []byte) bool {
		return bytes.Contains(line, []byte(root+"/")) && bytes.Contains(line, []byte("btrfs\x00"))
	}
}

// ends runs what must not be held up, and waits until nobody receives, or sends, at
// the node any more.
func (p *pair) ends(what string, at *node.Node, do func()) {
	p.t.Helper()
	began := time.Now()
	do()
	node.Within(soon, func() bool { return len(at.Children()) == 0 })
	if left := at.Children(); len(left) > 0 {
		p.t.Errorf("%s: the children %v still run", what, left)
	}
	if took := time.Since(began); took > soon {
		p.t.Errorf("%s took %s while the link is dark, want at most %s", what, took, soon)
	}
}

func TestDarkLinkHoldsUpNobody(t *testing.T) {
	for _, tc := range []struct {
		name string
		end  func(p *pair)
	}{
		{"promote", func(p *pair) {
			var r control.PromoteResponse
			// Until it has been silent for longer than on any link that is there, the old
			// primary counts as speaking.
			p.ends("promote", p.far, func() {
				p.far.Eventually("promote", func() bool { return p.far.Try(&r, "promote", p.db, "--yes") == nil })
			})
			if info, err := os.Stat(filepath.Join(r.Live, "data")); err != nil || info.Size() != mib {
				p.t.Errorf("promoted %q: %v, %v; want the point that was complete", r.Live, info, err)
			}
		}},
		{"abort", func(p *pair) {
			var r control.AbortResponse
			p.ends("abort", p.near, func() { p.near.Ask(&r, "abort", "db") })
			if len(r.Aborted) != 1 {
				p.t.Errorf("aborted %+v, want the one transfer", r.Aborted)
			}
		}},
		{"reload that drops the job", func(p *pair) {
			p.ends("reload of the source", p.near, func() { p.near.Configure(patient) })
			p.ends("reload of the target", p.far, func() { p.far.Configure(patient) })
		}},
		{"SIGTERM", func(p *pair) {
			p.ends("SIGTERM of the target", p.far, func() { p.far.Stop() })
			p.ends("SIGTERM of the source", p.near, func() { p.near.Stop() })
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := halfway(t)
			for _, n := range []*node.Node{p.near, p.far} {
				if !node.Within(soon, func() bool { return len(n.Children()) > 0 }) {
					t.Fatalf("no child runs on %s, so that this test shows nothing", n.Name)
				}
			}
			tc.end(p)
		})
	}
}

// The link comes back after both sides have given up each connection: the transfer
// goes on, with the receive that was begun.
func TestTransferGoesOnWhenTheLinkIsLightAgain(t *testing.T) {
	p := halfway(t)
	p.near.Patience, p.far.Patience = 2*time.Minute, 2*time.Minute
	p.near.Await("the source waits for the link", func(s status.Status) bool {
		m := node.Line(s, p.db).Moving
		return m != nil && m.Waiting == status.WaitingLink
	})
	p.far.Await("the target waits for the link", func(s status.Status) bool {
		m := node.ReplicaLine(s, p.db).Receiving
		return m != nil && m.Waiting == status.WaitingLink
	})
	p.way.Restore()
	p.near.Await("the copy is complete", func(s status.Status) bool { return node.Line(s, p.db).Moving == nil })
	if n := p.far.Logged("receive begins"); n != 2 {
		t.Errorf("%d receives, want the first copy's and the one that was begun", n)
	}
	p.near.Trigger("db")
}
