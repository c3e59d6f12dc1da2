package daemon_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/policy"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
	"antipode/transport/peer"
)

// join makes a third node, which is paired with another.
func (p *pair) join(name string, other *node) *node {
	p.t.Helper()
	id, err := peer.NewIdentity()
	if err != nil {
		p.t.Fatal(err)
	}
	p.identity[name] = id
	other.config.Peers = append(other.config.Peers, policy.Peer{Name: name, Address: name + ":8771", Key: id.Fingerprint().String()})
	return p.node(name, other.name)
}

// lineTo is fra1's line about its dataset on its way to one of its targets.
func (p *pair) lineTo(name string) status.Pair {
	p.t.Helper()
	for _, d := range p.fra1.daemon.Status().Jobs[0].Datasets {
		for _, line := range d.Peers {
			if line.Peer == name {
				return line
			}
		}
	}
	p.t.Fatalf("fra1 shows no line to %s", name)
	return status.Pair{}
}

// One job with two targets: that one stays away neither delays the other nor is the
// base lost that it goes on from; each keeps by rules of its own.
func TestATargetThatIsAwayHoldsBackNoOther(t *testing.T) {
	runPair(t, func(p *pair) {
		syd1 := p.join("syd1", p.fra1)
		syd1.config.Accepts = []policy.Accept{{From: "fra1", Driver: policy.Btrfs, Into: into, RPO: 90 * time.Minute, Location: time.UTC, Keep: policy.Keep{Last: 2}}}
		p.fra1.config.Jobs[0].ReplicateTo = []string{"sin1", "syd1"}
		p.fra1.config.Jobs[0].Keep, p.fra1.config.Jobs[0].Backlog = policy.Keep{Last: 2}, 4
		p.startBoth()
		p.start(syd1)
		p.hours(3)
		base := p.pointsOf(syd1, into, db)
		if len(base) != 2 || len(p.points(db)) != 4 {
			t.Fatalf("syd1 holds %d points and sin1 %d, want the 2 and the 4 of their own rules", len(base), len(p.points(db)))
		}
		newest := base[len(base)-1]
		syd1.stop()
		p.hours(12)
		if line := p.lineTo("sin1"); line.State != status.StateOK || line.Lag > time.Hour+time.Minute {
			t.Errorf("to sin1, while syd1 is away: %s, lag %s, %v; want ok", line.State, line.Lag, line.LastError)
		}
		if line := p.lineTo("syd1"); line.State != status.StateMissed {
			t.Errorf("to syd1, which is away: %s, want missed", line.State)
		}
		own := p.own()
		if !slices.Contains(ids(own), newest.ID) || len(own) < 1+4 || len(own) > 1+4+2 {
			t.Errorf("fra1 holds %v, want the base of syd1, %s, and a backlog of 4", own, newest.Name)
		}
		p.wantPresence(own[len(own)-1], map[string]string{"sin1": "has it", "syd1": "not known"})
		p.start(syd1)
		defer func() { syd1.stop() }()
		p.hours(1)
		if got := p.pointsOf(syd1, into, db); got[len(got)-1].ID != p.own()[len(p.own())-1].ID {
			t.Errorf("syd1 holds %v, want the newest of fra1", got)
		}
		steps, err := p.fra1.daemon.Ledger.Steps(200)
		if err != nil {
			t.Fatal(err)
		}
		full := 0
		for _, s := range steps {
			if s.Peer == "syd1" && s.From == "" {
				full++
			}
		}
		if full != 1 {
			t.Errorf("%d full copies to syd1, want the first one alone", full)
		}
	})
}

// wantPresence fails unless explain tells this of the targets of a snapshot.
func (p *pair) wantPresence(s dataset.Snapshot, want map[string]string) {
	p.t.Helper()
	r, err := p.fra1.daemon.Explain(p.t.Context(), control.ExplainRequest{Snapshot: s.Name})
	if err != nil || len(r.Snapshots) != 1 {
		p.t.Fatalf("explain %s: %+v, %v", s.Name, r, err)
	}
	got := map[string]string{}
	for _, at := range r.Snapshots[0].Targets {
		got[at.Peer] = at.State
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		p.t.Errorf("explain %s: %v, want %v", s.Name, got, want)
	}
}

// Two sources send a dataset of the same path to one target: each has a room of its
// own there, and what becomes of one reaches the other in no way.
func TestTwoSourcesOfOnePathAreKeptApartOnTheirTarget(t *testing.T) {
	runPair(t, func(p *pair) {
		ams1 := p.join("ams1", p.sin1)
		ams1.config.Jobs = []policy.Job{hourly("db", db)}
		ams1.disk.Make(db)
		const beside = "/backup/ams1"
		p.sin1.config.Accepts = append(p.sin1.config.Accepts, policy.Accept{
			From: "ams1", Driver: policy.Btrfs, Into: beside, RPO: 90 * time.Minute, Location: time.UTC, Keep: policy.Keep{Last: 2},
		})
		p.startBoth()
		p.start(ams1)
		for hour := range 4 {
			if err := ams1.disk.Write(db, "file", fmt.Append(nil, "of ams1, ", hour)); err != nil {
				t.Fatal(err)
			}
			p.write("file", fmt.Sprint("of fra1, ", hour))
			after(time.Hour)
		}
		p.wantSame(db)
		theirs := p.pointsOf(p.sin1, beside, db)
		if len(theirs) != 2 || len(p.points(db)) < 4 {
			t.Fatalf("sin1 holds %d points of ams1 and %d of fra1, want 2 and all, by rules of their own", len(theirs), len(p.points(db)))
		}
		files, err := p.sin1.disk.SnapshotFiles(beside, db, theirs[1].Name)
		if err != nil || string(files["file"]) != "of ams1, 3" {
			t.Errorf("in the room of ams1 the file holds %q, %v", files["file"], err)
		}
		if got := len(p.sin1.daemon.Status().Replicas); got != 2 {
			t.Errorf("sin1 shows %d replicas, want 2", got)
		}
		if _, err := p.sin1.daemon.Promote(p.t.Context(), control.PromoteRequest{Dataset: db, Force: true}); err == nil {
			t.Error("a promotion that does not say whose dataset it means was carried out")
		}
		ams1.stop()
		after(3 * time.Hour)
		if told := p.told.since(0); !slices.Equal(told, []string{"sin1 rpo-missed /data/db"}) {
			t.Errorf("told %v, want one replica's miss", told)
		}
		if line := p.pairLine(db); line.State != status.StateOK {
			t.Errorf("fra1 to sin1 after ams1 has died: %s, want ok", line.State)
		}
	})
}
