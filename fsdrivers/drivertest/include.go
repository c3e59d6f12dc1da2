package drivertest

import (
	"strings"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

func includeCases() []testCase {
	return []testCase{
		{"what others made is listed where that is asked for", foreignListed},
		{"what others made is sent, held, and a base", foreignSent},
		{"what others made is never destroyed", foreignStays},
	}
}

func includeCompareCases() []testCase {
	return []testCase{{"what others made tells whether something was written", foreignCompared}}
}

// outsider is the harness's, and its source that lists what begins with "auto-".
func (w *world) outsider() (Outsider, fsdrivers.Source) {
	o := ability[Outsider](w)
	return o, o.SourceWith(func(name string) bool { return strings.HasPrefix(name, "auto-") })
}

// foreign makes a snapshot by other means and finds it.
func (w *world) foreign(o Outsider, from fsdrivers.Source, d dataset.Dataset, name string) dataset.Snapshot {
	w.Helper()
	o.MakeForeign(d.Path, name)
	for _, s := range w.listed(from, d) {
		if s.Name == name {
			return s
		}
	}
	w.Fatalf("%s is not listed", name)
	return dataset.Snapshot{}
}

func (w *world) listed(from fsdrivers.Source, d dataset.Dataset) []dataset.Snapshot {
	w.Helper()
	all, err := from.Snapshots(w.Context(), d.Path)
	w.must(err, "list")
	return all
}

func foreignListed(w *world) {
	o, with := w.outsider()
	d := w.dataset("db", "x")
	first := w.snap(d)
	o.MakeForeign(d.Path, "auto-1")
	o.MakeForeign(d.Path, "manual")
	second := w.snap(d)
	wantIDs(w, "without asking", w.listed(w.Source(), d), []dataset.Snapshot{first, second})
	all := w.listed(with, d)
	if len(all) != 3 || all[0].ID != first.ID || all[1].Name != "auto-1" || all[2].ID != second.ID {
		w.Fatalf("got %v, want ours and auto-1 in the order in which they were made", all)
	}
	if s := all[1]; !s.Foreign || s.ID.IsZero() || s.Created.IsZero() || !s.Retain.Equal(s.Created) || all[0].Foreign || all[2].Foreign {
		w.Errorf("got %+v, want only auto-1 foreign, with its times", all)
	}
	others, err := w.Source().(fsdrivers.Foreigner).Foreign(w.Context(), d.Path)
	if err != nil || len(others) != 2 || others[0].ID != all[1].ID || others[1].Name != "manual" || !others[1].Foreign {
		w.Errorf("all of others: got %v, %v, want auto-1 and manual", others, err)
	}
}

func foreignSent(w *world) {
	o, with := w.outsider()
	d := w.dataset("db", "one")
	first := w.foreign(o, with, d, "auto-1")
	w.must(with.Hold(w.Context(), d.Path, first, tag), "hold what others made")
	if all := w.listed(with, d); len(all) != 1 || len(all[0].Holds) != 1 {
		w.Errorf("got %+v, want it held", all)
	}
	got, err := w.receive(step(d, dataset.Snapshot{}, first).Abroad(), w.stream(step(d, dataset.Snapshot{}, first)))
	w.must(err, "receive what others made")
	if got.ID != first.ID || got.Name != dataset.ForeignPrefix+"auto-1" || got.Foreign {
		w.Errorf("published %+v, want it under a name of ours", got)
	}
	w.write(d, "a", "two")
	second := w.snap(d)
	s := step(d, first, second)
	_, err = w.receive(s.Abroad(), w.stream(s))
	w.must(err, "receive on top of what others made")
	w.wantContent(d, second, "a", "two")
	w.must(with.Release(w.Context(), d.Path, tag), "release")
	if all := w.listed(with, d); len(all[0].Holds) != 0 {
		w.Errorf("got %+v, want it released", all[0])
	}
}

func foreignStays(w *world) {
	o, with := w.outsider()
	d := w.dataset("db", "x")
	s := w.foreign(o, with, d, "auto-1")
	w.want(with.Destroy(w.Context(), d.Path, s), "destroy what others made", dataset.ErrRefused)
	s.Foreign = false
	w.want(with.Destroy(w.Context(), d.Path, s), "destroy it as if it were ours", dataset.ErrRefused)
	if many, ok := with.(fsdrivers.ManyDestroyer); ok {
		w.want(many.DestroyAll(w.Context(), d.Path, []dataset.Snapshot{s})[0], "destroy many", dataset.ErrRefused)
	}
	if all := w.listed(with, d); len(all) != 1 || all[0].ID != s.ID {
		w.Errorf("got %v, want it there", all)
	}
}

func foreignCompared(w *world) {
	o, with := w.outsider()
	d := w.dataset("db", "x")
	s := w.foreign(o, with, d, "auto-1")
	w.wantUnchanged("since what others made", d, s, true)
	w.write(d, "a", "y")
	w.wantUnchanged("after a write", d, s, false)
}
