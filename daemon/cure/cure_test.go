package cure_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"antipode/daemon/cure"
	"antipode/daemon/prune"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/fake"
)

func mark(generation uint64, node string) dataset.Mark {
	if generation == 0 {
		return dataset.Mark{}
	}
	return dataset.Mark{Activation: dataset.Activation{Generation: generation, ID: dataset.NewActivationID(), Node: node}}
}

func TestWhoMayGiveWayToWhom(t *testing.T) {
	same := mark(2, "sin1")
	for name, c := range map[string]struct {
		ours, theirs dataset.Mark
		says         string // "" if it may
	}{
		"to another of the same generation":  {mark(2, "fra1"), mark(2, "sin1"), ""},
		"to one that is ahead":               {mark(1, "fra1"), mark(9, "sin1"), ""},
		"by one that was never promoted":     {mark(0, ""), mark(1, "sin1"), ""},
		"to one that was never promoted":     {mark(1, "fra1"), mark(0, ""), "never promoted"},
		"to the same":                        {same, same, "agree already"},
		"to itself":                          {mark(1, "sin1"), mark(2, "fra1"), "names this node"},
		"to one that is behind":              {mark(3, "fra1"), mark(2, "sin1"), "in generation 2, and this one in 3"},
		"to a mark that nobody can have set": {mark(1, "fra1"), dataset.Mark{Activation: dataset.Activation{Generation: 2, ID: "x", Node: "sin1"}}, "cannot be read"},
	} {
		err := cure.MayGiveWay("fra1", c.ours, c.theirs)
		var unfit *cure.UnfitError
		switch {
		case c.says == "" && err != nil:
			t.Errorf("%s: %v, want that it may", name, err)
		case c.says != "" && (!errors.As(err, &unfit) || !strings.Contains(err.Error(), c.says) || unfit.Next() == "" || !errors.Is(err, dataset.ErrRefused)):
			t.Errorf("%s: %v, want it refused with %q and a next step", name, err, c.says)
		}
	}
}

func TestNewerPointsGoOnlyIfNobodyNeedsThem(t *testing.T) {
	now := time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)
	list := func(change func(*dataset.Snapshot)) []dataset.Snapshot {
		all := []dataset.Snapshot{{Name: "a", ID: "1", Order: 1}, {Name: "b", ID: "2", Order: 2}, {Name: "c", ID: "3", Order: 3}}
		change(&all[2])
		return all
	}
	for name, c := range map[string]struct {
		change   func(*dataset.Snapshot)
		after    string
		inFlight []dataset.ID
		says     string // "" if b and c go
	}{
		"nobody":           {func(*dataset.Snapshot) {}, "a", nil, ""},
		"just received":    {func(s *dataset.Snapshot) { s.Received = now }, "a", nil, ""},
		"a pin that ended": {func(s *dataset.Snapshot) { s.Pin = &dataset.Pin{Until: now} }, "a", nil, ""},
		"a pin":            {func(s *dataset.Snapshot) { s.Pin = &dataset.Pin{Why: "audit"} }, "a", nil, "c is pinned: audit"},
		"a hold":           {func(s *dataset.Snapshot) { s.Holds = []dataset.Tag{"base.db.x"} }, "a", nil, "c is held by base.db.x"},
		"a receive":        {func(*dataset.Snapshot) {}, "a", []dataset.ID{"3"}, "c is in use"},
		"no such point":    {func(*dataset.Snapshot) {}, "x", nil, `no point "x"`},
		"no name":          {func(*dataset.Snapshot) {}, "", nil, `no point ""`},
		"nothing newer":    {func(*dataset.Snapshot) {}, "c", nil, "is the newest point"},
	} {
		got, err := cure.Newer(list(c.change), c.after, prune.Input{Now: now, InFlight: c.inFlight})
		switch {
		case c.says != "" && (err == nil || got != nil || !strings.Contains(err.Error(), c.says)):
			t.Errorf("%s: %v, %v, want it refused with %q", name, got, err, c.says)
		case c.says == "" && (err != nil || len(prune.Doomed(got)) != 2 || got[0].Snapshot.Name != "b" || got[1].Snapshot.Name != "c"):
			t.Errorf("%s: %+v, %v, want b and c to go", name, got, err)
		}
	}
}

// The mark is written before the dataset is made read-only, and only in place of the
// one that was looked at.
func TestFence(t *testing.T) {
	disk := fake.NewDisk("fra1", 1<<30)
	disk.Make("/data/db")
	source, theirs := disk.Source(), mark(1, "sin1")
	if err := cure.Fence(t.Context(), source, "/data/db", mark(3, "fra1"), theirs); !errors.Is(err, dataset.ErrChanged) {
		t.Errorf("with another mark there: %v, want ErrChanged", err)
	}
	if err := disk.Write("/data/db", "a", nil); err != nil {
		t.Errorf("it was fenced without its mark: %v", err)
	}
	if err := cure.Fence(t.Context(), source, "/data/db", dataset.Mark{}, theirs); err != nil {
		t.Fatal(err)
	}
	if got, err := source.Mark(t.Context(), "/data/db"); err != nil || !got.Same(theirs) {
		t.Errorf("mark %+v, %v, want theirs", got, err)
	}
	if err := disk.Write("/data/db", "a", nil); err == nil {
		t.Error("it can still be written to")
	}
}

func TestParse(t *testing.T) {
	for _, c := range cure.All {
		if got, err := cure.Parse(string(c)); got != c || err != nil {
			t.Errorf("%s: %q, %v", c, got, err)
		}
	}
	if _, err := cure.Parse("hope"); err == nil || !strings.Contains(err.Error(), "first-copy give-way drop-newer set-aside") {
		t.Errorf("%v, want what there is", err)
	}
}
