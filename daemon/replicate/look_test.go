package replicate_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"antipode/daemon/replicate"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/fake"
)

// counting counts what is read of a source.
type counting struct {
	*fake.Source
	reads map[dataset.Path]int
}

func (c *counting) Snapshots(ctx context.Context, d dataset.Path) ([]dataset.Snapshot, error) {
	c.reads[d]++
	return c.Source.Snapshots(ctx, d)
}

// visits makes a visit and returns what it cost: exchanges, lists of datasets that
// were sent, datasets that everything was asked of.
func (s *scene) visits() (exchanges, listed, full int) {
	s.t.Helper()
	s.far.mu.Lock()
	exchanges, listed, full = len(s.far.asked), s.far.listed, len(s.far.full)
	s.far.mu.Unlock()
	if _, err := s.courier.Visit(s.t.Context(), true); err != nil {
		s.t.Fatal(err)
	}
	synctest.Wait()
	s.far.mu.Lock()
	defer s.far.mu.Unlock()
	return len(s.far.asked) - exchanges, s.far.listed - listed, len(s.far.full) - full
}

func (s *scene) wantCost(when string, exchanges, listed, full int) {
	s.t.Helper()
	if e, l, f := s.visits(); e != exchanges || l != listed || f != full {
		s.t.Errorf("%s: %d exchanges with %d lists, and everything asked of %d; want %d, %d, %d", when, e, l, f, exchanges, listed, full)
	}
}

func TestWhatIsAsExpectedCostsOneQuestionForAll(t *testing.T) {
	read := &counting{reads: map[dataset.Path]int{}}
	near := func(o *replicate.Options) { read.Source = o.Near.(*fake.Source); o.Near = read }
	play(t, []dataset.Path{"/a", "/b", "/c"}, func(s *scene) {
		s.wantCost("first copies", 1, 1, 0)
		s.wantCost("nothing new", 1, 0, 0)
		clear(read.reads)
		s.wantCost("nothing new again", 1, 0, 0)
		if len(read.reads) != 0 {
			s.t.Errorf("lists were read of %v in which nothing happened", read.reads)
		}
		s.snapshot("/b", "antipode_db_1")
		s.wantCost("one has something new", 1, 0, 0)
		if read.reads["/a"]+read.reads["/c"] != 0 || read.reads["/b"] == 0 {
			s.t.Errorf("lists were read of %v, want /b alone", read.reads)
		}
		if got := s.line("/b").LastPoint.Name; got != "antipode_db_1" {
			s.t.Errorf("the peer's newest point is %s, want antipode_db_1", got)
		}
		s.wantCost("after it", 1, 0, 0)
	}, near)
}

func TestOnlyWhatIsNotAsExpectedIsAskedInFull(t *testing.T) {
	play(t, []dataset.Path{"/a", "/b", "/c"}, func(s *scene) {
		s.visits()
		s.far.held["/b"] = nil // somebody removed its points there
		s.wantCost("points removed on the peer", 1, 0, 1)
		if n := len(s.far.held["/b"]); n != 1 {
			s.t.Errorf("the peer holds %d points of /b, want it copied again", n)
		}
		s.wantCost("after it", 1, 0, 0)
		s.far.lists = nil
		s.wantCost("the peer was restarted", 2, 1, 0)
	})
}

// A base that lost its hold in a crash is found again, and held.
func TestABaseThatIsNotHeldIsHeldAgain(t *testing.T) {
	play(t, []dataset.Path{"/a"}, func(s *scene) {
		s.visits()
		if err := s.source.Release(s.t.Context(), "/a", "base.db.sin1"); err != nil {
			s.t.Fatal(err)
		}
		s.wantCost("without the hold", 1, 0, 1)
		list, err := s.source.Snapshots(s.t.Context(), "/a")
		if err != nil || len(list[0].Holds) != 1 {
			s.t.Errorf("the base has the holds %v, %v; want base.db.sin1", list[0].Holds, err)
		}
		s.wantCost("after it", 1, 0, 0)
	})
}

// What was promoted here once has a mark that the peer need not know yet.
func TestMarksOfOtherGenerationsAreAskedForOnce(t *testing.T) {
	play(t, []dataset.Path{"/a"}, func(s *scene) {
		s.visits()
		mark := dataset.Mark{Activation: dataset.Activation{Generation: 1, ID: dataset.NewActivationID(), Node: "fra1"}}
		if err := s.source.SwapMark(s.t.Context(), "/a", dataset.Mark{}, mark); err != nil {
			s.t.Fatal(err)
		}
		s.wantCost("with a mark of our own", 1, 1, 1)
		s.wantCost("after it", 1, 0, 0)
		s.far.marks["/a"] = dataset.Mark{Activation: dataset.Activation{Generation: 1, ID: dataset.NewActivationID(), Node: "sin1"}}
		if _, err := s.courier.Visit(s.t.Context(), true); err == nil {
			s.t.Error("a split brain went unnoticed")
		}
		if _, err := s.courier.Visit(s.t.Context(), true); err == nil {
			s.t.Error("a split brain was forgotten")
		}
		time.Sleep(time.Minute)
	})
}
