package daemon_test

import (
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"antipode/daemon/control"
	"antipode/daemon/policy"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
)

// itself asks for the replica itself to go live, though fra1 answers.
func itself() control.PromoteRequest {
	return control.PromoteRequest{Dataset: db, InPlace: true, Force: true}
}

// sin1Mark is what is written on the replica.
func (p *pair) sin1Mark() dataset.Mark {
	p.t.Helper()
	m, err := p.sin1.disk.Target(into, time.Now).Mark(p.t.Context(), db)
	if err != nil {
		p.t.Fatal(err)
	}
	return m
}

// wantLiveItself fails unless sin1's replica is writable, and shows it so.
func (p *pair) wantLiveItself(live string) {
	p.t.Helper()
	if err := p.sin1.disk.Write(dataset.Path(live), "mine", []byte("written on sin1")); err != nil {
		p.t.Errorf("write to what is live: %v", err)
	}
	if m := p.sin1Mark(); !m.InPlace || m.Node != "sin1" {
		p.t.Errorf("mark %+v, want one of sin1's, in place", m)
	}
	if lines := p.sin1.daemon.Status().Replicas; len(lines) != 1 || lines[0].Role != "primary" || !lines[0].InPlace {
		p.t.Errorf("sin1 shows %+v, want that it is primary", lines)
	}
}

// The whole of it: the replica itself goes live and is written to, the old primary is
// fenced; then the other side is to be primary after all, and gets its standby back.
func TestAReplicaGoesLiveItselfAndIsAStandbyAgain(t *testing.T) {
	runPair(t, func(p *pair) {
		p.level = zerolog.Disabled
		p.startBoth()
		p.hours(3)
		points := p.points(db)
		done := p.promote(itself())
		if !done.InPlace || done.Live != into+string(db) || done.SetAside != "" || done.Generation != 1 {
			t.Fatalf("promoted: %+v, want the replica itself, in generation 1", done)
		}
		p.wantLiveItself(done.Live)
		after(3 * time.Hour)
		if line := p.pairLine(db); line.State != status.StateFenced {
			t.Errorf("fra1 shows %+v, want it fenced", line)
		}
		if err := p.fra1.disk.Write(db, "late", []byte("x")); err == nil {
			t.Error("fra1 can still be written to")
		}
		if got := p.points(db); len(got) != len(points) {
			t.Errorf("%d points are %d, want that nothing came", len(points), len(got))
		}
		p.sin1.crash()
		p.start(p.sin1)
		after(time.Hour)
		p.wantLiveItself(done.Live)

		p.promotedApart()
		p.hours(1)
		give := control.ResolveRequest{With: "give-way"}
		p.sin1.refuses(p.t, give, "something was written")
		p.wantLiveItself(done.Live)
		p.sin1.disk.Rollback(dataset.Path(done.Live))
		p.sin1.resolve(p.t, give)
		if err := p.sin1.disk.Write(dataset.Path(done.Live), "mine", nil); err == nil {
			t.Error("sin1 gave way, and its replica can be written to")
		}
		p.write("after", "the way back")
		p.hours(2)
		if got := p.conflict(); got != "" {
			t.Errorf("%s; want that replication goes on", got)
		}
		if len(p.points(db)) <= len(points) {
			t.Error("nothing was received since")
		}
		p.wantSame(db)
	})
}

// promotedApart makes fra1 primary in the generation in which sin1 is, as an operator
// does who has both promoted.
func (p *pair) promotedApart() {
	p.t.Helper()
	source := p.fra1.disk.Source()
	have, err := source.Mark(p.t.Context(), db)
	if err != nil {
		p.t.Fatal(err)
	}
	mark := dataset.Mark{Activation: dataset.Activation{Generation: 1, ID: dataset.NewActivationID(), Node: "fra1"}}
	if err := source.SwapMark(p.t.Context(), db, have, mark); err != nil {
		p.t.Fatal(err)
	}
	p.fra1.disk.Unfence(db)
}

// A daemon that died after the mark was written goes on the way that the mark says, also
// with what a kill between a Rest and the other side's mark leaves.
func TestAPromotionInPlaceThatWasCutOffIsFinishedInPlace(t *testing.T) {
	runPair(t, func(p *pair) {
		p.level = zerolog.Disabled
		p.startBoth()
		p.hours(3)
		p.sin1.crash()
		points := p.points(db)
		mark := dataset.Mark{Activation: dataset.Activation{
			Generation: 1, ID: dataset.NewActivationID(), Node: "sin1", Base: points[len(points)-1].ID, InPlace: true,
		}}
		target := p.sin1.disk.Target(into, time.Now)
		if err := target.SwapMark(p.t.Context(), db, dataset.Mark{}, mark); err != nil {
			p.t.Fatal(err)
		}
		p.start(p.sin1)
		after(time.Minute)
		p.wantLiveItself(into + string(db))
		p.sin1.crash()
		p.sin1.disk.Rollback(dataset.Path(into + string(db)))
		if err := target.Rest(p.t.Context(), db); err != nil {
			p.t.Fatal(err)
		}
		p.start(p.sin1)
		after(time.Minute)
		p.wantLiveItself(into + string(db))
		if got := p.sin1Mark(); !got.Same(mark) {
			t.Errorf("mark %+v, want that of the promotion that was begun, %+v", got, mark)
		}
	})
}

func TestWhatCannotGoLiveInPlaceIsRefusedBeforeAnythingIsDone(t *testing.T) {
	for name, c := range map[string]struct {
		before func(p *pair, r *control.PromoteRequest)
		says   string
	}{
		"an earlier point": {func(p *pair, r *control.PromoteRequest) { r.Snapshot = p.points(db)[0].Name }, "only the newest recovery point"},
		"a copy is live": {func(p *pair, _ *control.PromoteRequest) {
			points := p.points(db)
			if _, err := p.sin1.disk.Target(into, time.Now).Activate(p.t.Context(), db, points[len(points)-1], "aside"); err != nil {
				p.t.Fatal(err)
			}
		}, "a copy is live"},
		"a file system that cannot": {func(p *pair, _ *control.PromoteRequest) {
			p.sin1.stop()
			p.sin1.slow = time.Nanosecond // its driver is a fsdrivers.Target and nothing else
			p.start(p.sin1)
		}, "cannot make a replica itself live"},
	} {
		t.Run(name, func(t *testing.T) {
			runPair(t, func(p *pair) {
				p.startBoth()
				p.hours(3)
				r := itself()
				c.before(p, &r)
				for _, r.Preview = range []bool{true, false} {
					_, err := p.sin1.daemon.Promote(p.t.Context(), r)
					if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(control.ErrorOf(err).Next, "leave --in-place out") {
						t.Errorf("preview %v: %v; want it refused with %q and a way", r.Preview, err, c.says)
					}
				}
				if m := p.sin1Mark(); !m.IsZero() {
					t.Errorf("mark %+v, want none", m)
				}
			})
		})
	}
}

// What is live as a copy is not made another way by asking again.
func TestAPromotionKeepsItsWay(t *testing.T) {
	runPair(t, func(p *pair) {
		p.level = zerolog.Disabled
		p.startBoth()
		p.hours(2)
		r := itself()
		r.InPlace = false
		copied := p.promote(r)
		if _, err := p.sin1.daemon.Promote(p.t.Context(), itself()); err == nil || !strings.Contains(err.Error(), "a copy is live") {
			t.Errorf("promote in place what is a copy: %v, want it refused", err)
		}
		if again := p.promote(r); again.Live != copied.Live || again.InPlace {
			t.Errorf("again: %+v, want %+v", again, copied)
		}
	})
}

// What a job makes on what is live belongs to the job, what was received to the rules of
// the replica; neither destroys the other's.
func TestRetentionOfWhatIsLiveItself(t *testing.T) {
	runPair(t, func(p *pair) {
		p.level = zerolog.Disabled
		p.sin1.config.Accepts[0].Keep = policy.Keep{Last: 3}
		p.startBoth()
		p.hours(6)
		live := dataset.Path(p.promote(itself()).Live)
		points := p.points(db)
		job := hourly("own", live)
		job.ReplicateTo, job.Keep = nil, policy.Keep{Last: 2}
		p.sin1.config.Jobs = []policy.Job{job}
		if _, err := p.sin1.daemon.ReloadConfig(); err != nil {
			p.t.Fatal(err)
		}
		after(6 * time.Hour)
		all, err := p.sin1.disk.Source().Snapshots(p.t.Context(), live)
		if err != nil {
			p.t.Fatal(err)
		}
		made := 0
		for _, s := range all {
			if s.Received.IsZero() {
				made++
			}
		}
		if made < 2 || made > 3 {
			t.Errorf("%d snapshots of the job are there, want those that it keeps", made)
		}
		if got := p.points(db); len(got) != len(points) || len(points) < 3 || got[0].ID != points[0].ID {
			t.Errorf("points %v, want %v: the job does not count them", got, points)
		}
		if base := p.sin1Mark().Base; base != points[len(points)-1].ID {
			t.Errorf("went live from %s, want the newest point", base)
		}
	})
}
