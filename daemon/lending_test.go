package daemon_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"antipode/daemon/config"
	"antipode/daemon/control"
	"antipode/daemon/policy"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
	"antipode/transport/transporttest"
)

// reversed makes sin1 a node that nobody can dial, and that dials fra1.
func (p *pair) reversed() {
	p.fra1.config.Peers[0].Address = ""
	p.sin1.config.Peers[0].Reverse = true
	p.sin1.config.Listen = config.ListenNone
}

// line is what a node's status says of its peer.
func (n *node) line() status.Peer { return n.daemon.Status().Peers[0] }

func (n *node) findings(t *testing.T, object string) []control.Finding {
	t.Helper()
	r, err := n.daemon.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(r.Findings, func(f control.Finding) bool { return f.Object != object })
}

func TestAStandbyThatCannotBeDialedIsKeptCurrent(t *testing.T) {
	runPair(t, func(p *pair) {
		p.reversed()
		if err := p.fra1.disk.Grow(db, 16<<20); err != nil {
			t.Fatal(err)
		}
		p.startBoth()
		for hour := range 30 {
			p.write("log", fmt.Sprint("hour ", hour))
			after(time.Hour)
			if line := p.pairLine(db); line.State != status.StateOK || line.Lag > time.Hour+time.Minute {
				t.Fatalf("hour %d: state %s, lag %s, error %v; want ok within an hour", hour, line.State, line.Lag, line.LastError)
			}
		}
		p.wantSame(db)
		if notes := p.told.since(0); len(notes) != 0 {
			t.Errorf("somebody was told %v, want nothing", notes)
		}
		if line := p.fra1.line(); !line.Reachable || line.Inbound || line.Lent < 8 {
			t.Errorf("fra1 says of sin1 %+v, want it reachable, with connections that lie here", line)
		}
		if line := p.sin1.line(); line.Lends < 8 || line.Problem != "" {
			t.Errorf("sin1 says of fra1 %+v, want that it keeps connections open", line)
		}
		for who, n := range map[string]*node{"peer sin1": p.fra1, "peer fra1": p.sin1} {
			for _, f := range n.findings(p.t, who) {
				if f.Severity != control.Good {
					t.Errorf("check: %+v, want nothing to mend", f)
				}
			}
		}
	})
}

func TestAStandbyThatCannotBeDialedComesBackAfterAnOutageAndARestartOfEither(t *testing.T) {
	runPair(t, func(p *pair) {
		p.reversed()
		p.startBoth()
		after(2 * time.Hour)
		p.net.Down(transporttest.Outage{Refuse: true, Reset: true})
		after(5 * time.Hour)
		if line := p.fra1.line(); line.Reachable || line.Lent != 0 {
			t.Errorf("fra1 says of sin1 %+v while the link is down, want it unreachable", line)
		}
		if line := p.sin1.line(); line.Lends != 0 || !strings.Contains(line.Problem, "cannot keep a connection open") {
			t.Errorf("sin1 says of fra1 %+v, want why it keeps no connection open", line)
		}
		p.net.Up()
		after(10 * time.Minute)
		if line := p.pairLine(db); line.State != status.StateOK {
			t.Errorf("ten minutes after the link is back %+v, want ok", line)
		}
		if line := p.sin1.line(); line.Problem != "" {
			t.Errorf("the problem stays: %q", line.Problem)
		}
		for _, n := range []*node{p.fra1, p.sin1} {
			n.crash()
			p.write("log", n.name)
			after(10 * time.Second)
			p.start(n)
			after(2 * time.Hour)
			if line := p.pairLine(db); line.State != status.StateOK {
				t.Errorf("after a restart of %s: %+v, want ok", n.name, line)
			}
		}
		p.wantSame(db)
	})
}

// Each half that is missing is named, with what to do, on the side that can see it.
func TestCheckSaysWhichHalfOfAReversedPeerIsMissing(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(p *pair)
		at     string // the node that tells
		want   string
	}{
		"nobody dials":     {func(p *pair) { p.sin1.config.Peers[0].Reverse = false }, "fra1", "keeps no connection open to us"},
		"an address there": {func(p *pair) { p.fra1.config.Peers[0].Address = "sin1:8771" }, "sin1", "the peer does not call us over connections of ours"},
		"no job there":     {func(p *pair) { p.fra1.config.Jobs[0].ReplicateTo = nil }, "sin1", "the peer does not call us over connections of ours"},
		"not there":        {func(p *pair) { p.sin1.config.Peers[0].Address = "elsewhere:1" }, "sin1", "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			runPair(t, func(p *pair) {
				p.reversed()
				tc.change(p)
				p.startBoth()
				after(time.Minute)
				n, other := p.fra1, "sin1"
				if tc.at == "sin1" {
					n, other = p.sin1, "fra1"
				}
				found := n.findings(p.t, "peer "+other)
				if !slices.ContainsFunc(found, func(f control.Finding) bool {
					return f.Severity == control.Fatal && strings.Contains(f.What, tc.want) && f.Cure != ""
				}) {
					t.Errorf("check on %s: %+v, want %q and a cure", tc.at, found, tc.want)
				}
			})
		})
	}
}

func TestAReloadTurnsConnectionsRoundAndBack(t *testing.T) {
	runPair(t, func(p *pair) {
		p.startBoth()
		after(2 * time.Hour)
		listen := p.sin1.config.Listen
		p.reload(p.sin1, func(c *config.Config) { c.Peers = peers(c, func(x *policy.Peer) { x.Reverse = true }) })
		after(time.Minute)
		if line := p.sin1.line(); !strings.Contains(line.Problem, "has our address") {
			t.Errorf("sin1 alone was turned round: %q, want that fra1 does not call so", line.Problem)
		}
		p.reload(p.fra1, func(c *config.Config) { c.Peers = peers(c, func(x *policy.Peer) { x.Address = "" }) })
		after(2 * time.Hour)
		if line := p.pairLine(db); line.State != status.StateOK || p.sin1.line().Problem != "" || p.sin1.line().Lends == 0 {
			t.Errorf("turned round: %+v, %+v; want ok", line, p.sin1.line())
		}
		p.reload(p.sin1, func(c *config.Config) { c.Peers = peers(c, func(x *policy.Peer) { x.Reverse = false }) })
		p.reload(p.fra1, func(c *config.Config) { c.Peers = peers(c, func(x *policy.Peer) { x.Address = listen }) })
		after(2 * time.Hour)
		if line := p.pairLine(db); line.State != status.StateOK || p.fra1.line().Lent != 0 || p.sin1.line().Lends != 0 {
			t.Errorf("turned back: %+v, %+v, %+v; want ok, and nothing kept open", line, p.fra1.line(), p.sin1.line())
		}
		p.wantSame(db)
	})
}

// reload puts a changed configuration of a node in force.
func (p *pair) reload(n *node, change func(*config.Config)) {
	p.t.Helper()
	change(&n.config)
	if _, err := n.daemon.ReloadConfig(); err != nil {
		p.t.Fatal(err)
	}
}

// peers is a changed copy of a configuration's peers.
func peers(c *config.Config, change func(*policy.Peer)) []policy.Peer {
	all := slices.Clone(c.Peers)
	for i := range all {
		change(&all[i])
	}
	return all
}

// A stop waits for nothing that lies in the pool; and what the target is told at the
// end, long after the last question, still finds a connection.
func TestASourceThatStopsTellsATargetThatItCannotDial(t *testing.T) {
	runPair(t, func(p *pair) {
		p.reversed()
		if err := p.fra1.disk.Grow(db, 64<<20); err != nil {
			t.Fatal(err)
		}
		p.fra1.disk.SetRate(100 << 10)
		p.startBoth()
		after(6 * time.Minute)
		if r := p.sin1.daemon.Status().Replicas; len(r) != 1 || r[0].Receiving == nil {
			t.Fatalf("sin1 shows %+v, want a copy on its way", r)
		}
		began := time.Now()
		p.fra1.stop()
		if took := time.Since(began); took > time.Second {
			t.Errorf("the source took %s to stop, want no wait", took)
		}
		after(time.Second)
		if r := p.sin1.daemon.Status().Replicas; r[0].Receiving != nil {
			t.Errorf("sin1 still receives %+v, want that it was told", r[0].Receiving)
		}
		p.start(p.fra1)
		after(time.Minute)
		began = time.Now()
		p.sin1.stop()
		if took := time.Since(began); took > time.Second {
			t.Errorf("the target took %s to stop, want no wait", took)
		}
		p.start(p.sin1)
		p.fra1.disk.SetRate(0)
		after(time.Hour)
		p.wantSame(db)
	})
}

// What a target has no place for is found before anything is sent.
func TestCheckNamesWhatATargetStripsAway(t *testing.T) {
	for strip, want := range map[dataset.Path]string{"/data": "", "/srv": "sin1 takes only what is below /srv (strip): it refuses 1 of the job's datasets, the first is /data/db"} {
		runPair(t, func(p *pair) {
			p.sin1.config.Accepts[0].Strip = strip
			p.startBoth()
			after(time.Minute)
			if want != "" {
				p.wantFinding(p.fra1, "job db", control.Fatal, want)
				return
			}
			for _, f := range p.fra1.findings(p.t, "job db") {
				if f.Severity != control.Good {
					t.Errorf("with strip = %q: %+v, want nothing to mend", strip, f)
				}
			}
		})
	}
}
