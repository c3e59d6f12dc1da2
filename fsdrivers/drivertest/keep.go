package drivertest

import (
	"slices"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// keeper is what a source and a target do alike.
type keeper interface {
	fsdrivers.Lister
	fsdrivers.Destroyer
	fsdrivers.Holder
	fsdrivers.HoldLister
	fsdrivers.Pinner
	fsdrivers.Marker
	fsdrivers.Space
	fsdrivers.Prober
}

// side is one of the two, with a dataset of two snapshots on it.
type side struct {
	*world
	driver func() keeper // anew after Reopen
	remove func(Remover, dataset.Path, string)
	d      dataset.Dataset
	a, b   dataset.Snapshot
}

// onBothSides makes two cases of each.
func onBothSides(cases map[string]func(*side)) []testCase {
	var all []testCase
	for name, run := range cases {
		all = append(all,
			testCase{name + " (source)", func(w *world) {
				s := twoSnapshots(w)
				s.driver = func() keeper { return w.Source() }
				s.remove = Remover.RemoveSent
				run(s)
			}},
			testCase{name + " (target)", func(w *world) {
				s := twoSnapshots(w)
				s.driver = func() keeper { return w.Target() }
				s.remove = Remover.RemoveReceived
				run(s)
			}})
	}
	slices.SortFunc(all, func(a, b testCase) int {
		if a.name < b.name {
			return -1
		}
		return 1
	})
	return all
}

func twoSnapshots(w *world) *side {
	d, a := w.sent("db", "one")
	w.write(d, "a", "two")
	b := w.snap(d)
	w.transfer(step(d, a, b))
	return &side{world: w, d: d, a: a, b: b}
}

// list is what the side lists.
func (s *side) list() []dataset.Snapshot {
	s.Helper()
	list, err := s.driver().Snapshots(s.Context(), s.d.Path)
	s.must(err, "list")
	return list
}

// wantHolds compares a snapshot's tags.
func (s *side) wantHolds(snap dataset.Snapshot, want ...dataset.Tag) {
	s.Helper()
	for _, there := range s.list() {
		if there.ID == snap.ID {
			if !slices.Equal(there.Holds, want) {
				s.Errorf("holds of %s: got %v, want %v", snap.Name, there.Holds, want)
			}
			return
		}
	}
	s.Errorf("%s is not listed", snap.Name)
}

func (s *side) hold(snap dataset.Snapshot, tags ...dataset.Tag) {
	s.Helper()
	for _, tag := range tags {
		s.must(s.driver().Hold(s.Context(), s.d.Path, snap, tag), "hold %s with %s", snap.Name, tag)
	}
}

func keepCases() map[string]func(*side) {
	return map[string]func(*side){
		"a destroyed snapshot is gone, and stays so":         destroy,
		"a snapshot that is gone is destroyed already":       destroyGone,
		"a snapshot whose identity changed is not destroyed": destroyChanged,
		"a held snapshot is not destroyed":                   destroyHeld,
		"a pinned snapshot is not destroyed":                 destroyPinned,
		"a pin outlives the driver":                          pinDurable,
		"a pin can be set anew and taken off":                pinAnew,
		"what is gone or changed cannot be pinned":           pinGone,
		"all holds are listed":                               listHolds,
		"holding twice is holding once":                      holdTwice,
		"a hold outlives the driver":                         holdDurable,
		"what is gone or changed cannot be held":             holdGone,
		"release takes a tag off all but those to keep":      release,
		"releasing what is not held is success":              releaseNothing,
	}
}

func byHandCases() []testCase {
	return append(onBothSides(map[string]func(*side){
		"a snapshot that was removed by hand is gone, holds and all": removedByHand,
	}), testCase{"a base that was removed by hand is missed", baseRemoved})
}

func destroy(s *side) {
	s.must(s.driver().Destroy(s.Context(), s.d.Path, s.a), "destroy")
	wantIDs(s.world, "left", s.list(), []dataset.Snapshot{s.b})
	s.Reopen()
	wantIDs(s.world, "left after a restart", s.list(), []dataset.Snapshot{s.b})
	s.must(s.driver().Destroy(s.Context(), s.d.Path, s.b), "destroy the last")
	wantIDs(s.world, "left at last", s.list(), nil)
}

func destroyGone(s *side) {
	s.must(s.driver().Destroy(s.Context(), s.d.Path, s.a), "destroy")
	s.must(s.driver().Destroy(s.Context(), s.d.Path, s.a), "destroy again")
	s.must(s.driver().Destroy(s.Context(), s.Path("none"), s.a), "destroy a snapshot of no dataset")
}

func destroyChanged(s *side) {
	other := s.a
	other.ID = s.b.ID
	s.want(s.driver().Destroy(s.Context(), s.d.Path, other), "destroy under a wrong name", dataset.ErrChanged)
	wantIDs(s.world, "left", s.list(), []dataset.Snapshot{s.a, s.b})
}

func destroyHeld(s *side) {
	s.hold(s.a, tag)
	s.want(s.driver().Destroy(s.Context(), s.d.Path, s.a), "destroy", dataset.ErrHeld)
	wantIDs(s.world, "left", s.list(), []dataset.Snapshot{s.a, s.b})
	s.must(s.driver().Release(s.Context(), s.d.Path, tag), "release")
	s.must(s.driver().Destroy(s.Context(), s.d.Path, s.a), "destroy what is held no more")
	wantIDs(s.world, "left", s.list(), []dataset.Snapshot{s.b})
}

func holdTwice(s *side) {
	s.hold(s.a, tag, tag)
	s.wantHolds(s.a, tag)
	s.must(s.driver().Release(s.Context(), s.d.Path, tag), "release")
	s.wantHolds(s.a)
}

func holdDurable(s *side) {
	s.hold(s.a, "z.last", tag, "0-first")
	s.Reopen()
	s.wantHolds(s.a, "0-first", tag, "z.last")
	s.wantHolds(s.b)
	s.want(s.driver().Destroy(s.Context(), s.d.Path, s.a), "destroy", dataset.ErrHeld)
	s.must(s.driver().Release(s.Context(), s.d.Path, tag), "release")
	s.Reopen()
	s.wantHolds(s.a, "0-first", "z.last")
}

func holdGone(s *side) {
	other := s.a
	other.ID = s.b.ID
	s.want(s.driver().Hold(s.Context(), s.d.Path, other, tag), "hold under a wrong name", dataset.ErrChanged)
	s.must(s.driver().Destroy(s.Context(), s.d.Path, s.a), "destroy")
	s.want(s.driver().Hold(s.Context(), s.d.Path, s.a, tag), "hold what is gone", dataset.ErrNotFound)
	s.want(s.driver().Hold(s.Context(), s.Path("none"), s.a, tag), "hold on no dataset", dataset.ErrNotFound)
	s.wantHolds(s.b)
}

func release(s *side) {
	s.hold(s.a, tag, "other")
	s.hold(s.b, tag)
	s.must(s.driver().Release(s.Context(), s.d.Path, tag, s.b.ID), "release")
	s.wantHolds(s.a, "other")
	s.wantHolds(s.b, tag)
}

func releaseNothing(s *side) {
	s.must(s.driver().Release(s.Context(), s.d.Path, tag), "release")
	s.hold(s.a, tag)
	s.must(s.driver().Release(s.Context(), s.d.Path, tag), "release")
	s.must(s.driver().Release(s.Context(), s.d.Path, tag), "release again")
	s.must(s.driver().Release(s.Context(), s.Path("none"), tag), "release on no dataset")
}

func removedByHand(s *side) {
	r := ability[Remover](s.world)
	s.hold(s.a, tag)
	s.remove(r, s.d.Path, s.a.Name)
	wantIDs(s.world, "left", s.list(), []dataset.Snapshot{s.b})
	s.must(s.driver().Destroy(s.Context(), s.d.Path, s.a), "destroy")
	s.must(s.driver().Release(s.Context(), s.d.Path, tag), "release")
}

// destroySending is the source's alone.
func destroySending(w *world) {
	st, r := startSend(w.Context(), w)
	w.want(w.Source().Destroy(w.Context(), st.Dataset.Path, st.To), "destroy", dataset.ErrHeld)
	r.Close()
	w.must(w.Source().Destroy(w.Context(), st.Dataset.Path, st.To), "destroy after Close")
}
