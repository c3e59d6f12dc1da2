package replicate_test

import (
	"io"
	"testing"
	"time"

	"antipode/daemon/policy"
	"antipode/daemon/replicate"
	"antipode/fsdrivers/dataset"
	"antipode/transport/wire"
)

// stepOf is the first step that the courier plans for p.
func (s *scene) stepOf(p dataset.Path) dataset.Step {
	s.t.Helper()
	found, err := s.source.Find(s.t.Context(), p, false)
	if err != nil {
		s.t.Fatal(err)
	}
	snapshots, err := s.source.Snapshots(s.t.Context(), p)
	if err != nil {
		s.t.Fatal(err)
	}
	plan, err := replicate.Decide(s.t.Context(), s.source, replicate.Facts{
		Job: policy.Job{ID: "db", Driver: policy.Btrfs}, Dataset: found[0], Snapshots: snapshots, Far: wire.Replica{Path: p},
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return plan.Steps[0].Step
}

// A checkpoint that does not fit, whichever side says so, is given up once: the step
// goes from its first byte in the same visit, is counted, and other datasets are not
// held back.
func TestAStaleCheckpointIsGivenUpOnce(t *testing.T) {
	for name, refuse := range map[string]error{
		"the source says so": nil, // its driver knows no checkpoint of that kind
		"the target says so": &wire.Error{Kind: "stale-checkpoint", Text: "nothing is sealed here"},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, []dataset.Path{"/a", "/b"}, func(s *scene) {
				if err := s.disk.Write("/a", "more", make([]byte, 1000)); err != nil {
					s.t.Fatal(err)
				}
				s.snapshot("/a", "antipode_db_1")
				c := dataset.Checkpoint{Kind: "btrfs-segments", Step: s.stepOf("/a").ID(), Done: 100, Opaque: []byte("x")}
				if refuse != nil {
					s.far.refuse["/a"] = refuse
					c = s.checkpointThatFits("/a")
				}
				s.far.pending["/a"] = c
				tally, err := s.courier.Visit(s.t.Context(), false)
				if err != nil || tally.Steps != 2 {
					s.t.Fatalf("visit = %+v, %v; want both steps", tally, err)
				}
				if line := s.line("/a"); line.Restarts != 1 || line.LastError != nil || line.LastPoint.IsZero() {
					s.t.Errorf("line %+v, want one restart, and its point", line)
				}
				if line := s.line("/b"); line.Restarts != 0 || line.LastPoint.IsZero() {
					s.t.Errorf("line %+v, want nothing but its point", line)
				}
				last := s.far.opened[len(s.far.opened)-1]
				for _, o := range s.far.opened {
					if o.Step.Dataset.Path == "/a" {
						last = o
					}
				}
				if !last.Checkpoint.IsZero() {
					s.t.Errorf("the last try went on from %+v, want from the first byte", last.Checkpoint)
				}
			})
		})
	}
}

// checkpointThatFits is one that the fake source takes: what another target has of
// its stream.
func (s *scene) checkpointThatFits(p dataset.Path) dataset.Checkpoint {
	s.t.Helper()
	s.disk.Resumable(true)
	target, step := s.disk.Target("/in", time.Now), s.stepOf(p)
	r, err := s.source.Send(s.t.Context(), step, dataset.Checkpoint{})
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Close()
	if _, err := target.Receive(s.t.Context(), dataset.Incoming{Step: step}, io.LimitReader(r, 100)); err == nil {
		s.t.Fatal("received all of it")
	}
	c, err := target.Pending(s.t.Context(), p)
	if err != nil || c.IsZero() {
		s.t.Fatalf("pending = %+v, %v", c, err)
	}
	return c
}
