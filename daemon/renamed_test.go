package daemon_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/ledger"
	"antipode/daemon/policy"
	"antipode/fsdrivers/dataset"
)

// below has fra1's job take all below /data.
func below(p *pair) {
	p.fra1.config.Jobs[0].Datasets = policy.Patterns{{Path: "/data", Below: true}}
}

func TestARenamedDatasetIsFollowedAndNotCopiedAgain(t *testing.T) {
	runPair(t, func(p *pair) {
		below(p)
		p.startBoth()
		after(2 * time.Hour)
		had := p.points(db)
		p.fra1.disk.Rename(db, "/data/renamed")
		preview, err := p.fra1.daemon.Preview(p.t.Context(), control.PlanRequest{Job: "db"})
		if err != nil || len(preview.Jobs) != 1 || len(preview.Jobs[0].Sends) != 1 ||
			!slices.ContainsFunc(preview.Jobs[0].Sends[0].Far, func(s string) bool { return strings.Contains(s, "moves the replica from /data/db") }) {
			t.Errorf("plan: %+v, %v; want that sin1 moves the replica", preview.Jobs, err)
		}
		if n := len(p.points(db)); n != len(had) {
			t.Errorf("plan has moved the replica: %d points are left", n)
		}
		after(time.Hour)
		now := p.points("/data/renamed")
		if len(now) <= len(had) || now[0].ID != had[0].ID {
			t.Errorf("under the new path sin1 has %d points, want the %d of before and more: %+v", len(now), len(had), p.pairLine("/data/renamed"))
			return
		}
		if left := p.points(db); len(left) != 0 {
			t.Errorf("under the old path sin1 still has %v", left)
		}
		steps, err := p.fra1.daemon.Ledger.Steps(100)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range steps {
			if s.Dataset == "/data/renamed" && s.From == "" {
				t.Errorf("step %+v is a full copy", s)
			}
		}
		p.wantSame("/data/renamed")
		if told := p.told.since(0); len(told) != 0 {
			t.Errorf("told %v, want nobody", told)
		}
	})
}

func TestTheReplicaOfADatasetThatWasMadeAnewIsSetAside(t *testing.T) {
	runPair(t, func(p *pair) {
		p.startBoth()
		after(2 * time.Hour)
		old := p.points(db)
		p.fra1.disk.Remove(db)
		p.fra1.disk.Make(db)
		p.write("first", "of the new one")
		after(2 * time.Hour)
		var aside dataset.Path
		for _, r := range p.sin1.daemon.Status().Replicas {
			if strings.HasPrefix(string(r.Path), "/data/db.was-") {
				aside = r.Path
				if r.Role != "set-aside" || r.RPO != 0 {
					t.Errorf("it is shown as %+v, want set-aside and no objective", r)
				}
			}
		}
		kept := p.points(aside)
		if aside == "" || len(kept) != len(old) || kept[0].ID != old[0].ID {
			t.Errorf("set aside as %q with %d points, want the %d of the old dataset", aside, len(kept), len(old))
		}
		if now := p.points(db); len(now) == 0 || now[0].ID == old[0].ID {
			t.Errorf("under its path sin1 has %v, want points of the new dataset", now)
		}
		p.wantSame(db)
		p.sin1.config.Accepts[0].Keep = policy.Keep{Last: 1}
		if _, err := p.sin1.daemon.ReloadConfig(); err != nil {
			t.Fatal(err)
		}
		after(20 * time.Minute)
		if n := len(p.points(aside)); n != 1 || len(old) < 2 {
			t.Errorf("of what was set aside %d of %d points are left, want one: it is under retention", n, len(old))
		}
		if told := p.told.since(0); slices.ContainsFunc(told, func(s string) bool { return strings.Contains(s, "was-") }) {
			t.Errorf("told %v of what was set aside, want nothing", told)
		}
		events, err := p.sin1.daemon.Ledger.Events(10)
		if err != nil || !slices.ContainsFunc(events, func(e ledger.Event) bool { return e.Kind == "replica-set-aside" }) {
			t.Errorf("history: %v, %v", events, err)
		}
	})
}

func TestAPromotedReplicaIsNotSetAside(t *testing.T) {
	runPair(t, func(p *pair) {
		p.startBoth()
		after(2 * time.Hour)
		p.fra1.stop()
		p.promote(control.PromoteRequest{Dataset: db, Force: true})
		had := len(p.points(db))
		p.fra1.disk.Remove(db)
		p.fra1.disk.Make(db)
		p.write("first", "of the new one")
		p.start(p.fra1)
		after(2 * time.Hour)
		if n := len(p.points(db)); n != had {
			t.Errorf("the promoted replica has %d points under its path, want %d: it is somebody's primary", n, had)
		}
	})
}
