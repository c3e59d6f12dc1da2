package drivertest

import (
	"errors"
	"time"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

var (
	audit = dataset.Pin{Until: time.Date(2031, 1, 2, 3, 4, 5, 6, time.UTC), Why: "audit: 2031, größer", At: time.Date(2026, 1, 2, 3, 4, 5, 7, time.UTC)}
	other = dataset.Pin{Why: "for ever", At: time.Date(2026, 1, 2, 3, 4, 5, 8, time.UTC)}
)

// pinOf is the pin that is listed of a snapshot.
func (s *side) pinOf(snap dataset.Snapshot) *dataset.Pin {
	s.Helper()
	for _, there := range s.list() {
		if there.ID == snap.ID {
			return there.Pin
		}
	}
	s.Errorf("%s is not listed", snap.Name)
	return nil
}

func (s *side) wantPin(snap dataset.Snapshot, want *dataset.Pin) {
	s.Helper()
	if got := s.pinOf(snap); !got.Same(want) {
		s.Errorf("pin of %s: got %+v, want %+v", snap.Name, got, want)
	}
}

func destroyPinned(s *side) {
	s.must(s.driver().Pin(s.Context(), s.d.Path, s.a, audit), "pin")
	s.want(s.driver().Destroy(s.Context(), s.d.Path, s.a), "destroy", dataset.ErrHeld)
	seen := s.a
	seen.Pin = &other
	s.want(s.driver().Destroy(s.Context(), s.d.Path, seen), "destroy by one who saw another pin", dataset.ErrHeld)
	wantIDs(s.world, "left", s.list(), []dataset.Snapshot{s.a, s.b})
	seen.Pin = s.pinOf(s.a)
	s.must(s.driver().Destroy(s.Context(), s.d.Path, seen), "destroy by one who saw that the pin ended")
	wantIDs(s.world, "left", s.list(), []dataset.Snapshot{s.b})
}

func pinDurable(s *side) {
	s.must(s.driver().Pin(s.Context(), s.d.Path, s.a, audit), "pin")
	s.Reopen()
	s.wantPin(s.a, &audit)
	s.wantPin(s.b, nil)
	s.wantHolds(s.a)
	s.must(s.driver().Release(s.Context(), s.d.Path, tag), "release")
	s.wantPin(s.a, &audit)
	s.want(s.driver().Destroy(s.Context(), s.d.Path, s.a), "destroy", dataset.ErrHeld)
}

func pinAnew(s *side) {
	s.must(s.driver().Pin(s.Context(), s.d.Path, s.a, audit), "pin")
	s.must(s.driver().Pin(s.Context(), s.d.Path, s.a, other), "pin anew")
	s.must(s.driver().Pin(s.Context(), s.d.Path, s.a, other), "pin once more")
	s.wantPin(s.a, &other)
	s.must(s.driver().Unpin(s.Context(), s.d.Path, s.a), "unpin")
	s.must(s.driver().Unpin(s.Context(), s.d.Path, s.a), "unpin again")
	s.wantPin(s.a, nil)
	s.must(s.driver().Destroy(s.Context(), s.d.Path, s.a), "destroy what is pinned no more")
	if err := s.driver().Pin(s.Context(), s.d.Path, s.b, dataset.Pin{Why: "two\nlines"}); err == nil {
		s.Errorf("a reason of two lines was taken")
	}
}

func pinGone(s *side) {
	wrong := s.a
	wrong.ID = s.b.ID
	s.want(s.driver().Pin(s.Context(), s.d.Path, wrong, audit), "pin under a wrong name", dataset.ErrChanged)
	s.must(s.driver().Destroy(s.Context(), s.d.Path, s.a), "destroy")
	s.want(s.driver().Pin(s.Context(), s.d.Path, s.a, audit), "pin what is gone", dataset.ErrNotFound)
	s.want(s.driver().Pin(s.Context(), s.Path("none"), s.a, audit), "pin on no dataset", dataset.ErrNotFound)
}

func listHolds(s *side) {
	s.hold(s.a, tag, "0-first")
	s.must(s.driver().Pin(s.Context(), s.d.Path, s.a, audit), "pin")
	list, err := s.driver().Holds(s.Context(), s.d.Path)
	s.must(err, "list holds")
	var tags []string
	for _, h := range list {
		if h.Ours && h.Snapshot == s.a.Name {
			tags = append(tags, h.Tag)
		}
	}
	if len(tags) != 2 || tags[0] != "0-first" || tags[1] != string(tag) {
		s.Errorf("holds of %s: got %q of %+v, want 0-first and %s", s.a.Name, tags, list, tag)
	}
	none, err := s.driver().Holds(s.Context(), s.Path("none"))
	s.must(err, "list holds of no dataset")
	if len(none) != 0 {
		s.Errorf("no dataset has the holds %v", none)
	}
}

func manyCases() map[string]func(*side) {
	return map[string]func(*side){"many are destroyed at once, and each is answered for": destroyMany}
}

// destroyMany has the answers of a driver that destroys one by one.
func destroyMany(s *side) {
	many, both := s.driver().(fsdrivers.ManyDestroyer)
	if !both {
		s.Fatal("the driver destroys one by one, and the other side's does not")
	}
	s.hold(s.b, tag)
	changed, gone := s.a, s.a
	changed.ID = s.b.ID
	gone.Name += "-gone"
	answers := many.DestroyAll(s.Context(), s.d.Path, []dataset.Snapshot{changed, s.b, gone, s.a})
	if len(answers) != 4 || !errors.Is(answers[0], dataset.ErrChanged) || !errors.Is(answers[1], dataset.ErrHeld) || answers[2] != nil || answers[3] != nil {
		s.Errorf("answers %v, want changed, held, gone and gone", answers)
	}
	wantIDs(s.world, "left", s.list(), []dataset.Snapshot{s.b})
	s.Reopen()
	wantIDs(s.world, "left after a restart", s.list(), []dataset.Snapshot{s.b})
}
