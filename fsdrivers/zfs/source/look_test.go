package source

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"antipode/fsdrivers/dataset"
)

// TestARoundLooksOnceAtAllDatasets: what a courier asks of each is answered from
// what the first question read.
func TestARoundLooksOnceAtAllDatasets(t *testing.T) {
	var look string
	var rules []rule
	for i := range 20 {
		ds := fmt.Sprintf("tank/%02d", i)
		look += props(ds, "guid", fmt.Sprint(100+i), ds, "snapshots_changed", "1767225600")
		rules = append(rules, rule{Args: "list -Hp -d 1 -t snapshot,bookmark -o name,guid,createtxg -s createtxg " + ds, Out: ds + "@antipode_a\t7\t5\n"})
	}
	rules = append(rules,
		rule{Args: "get -Hp -o name,property,source,value creation", Out: props("tank/00@antipode_a", "creation", "1")},
		rule{Args: "get -Hp -o name,property,source,value -t filesystem,volume -r", Out: props("tank", "guid", "1") + look},
		rule{Args: "holds"}, rule{Args: "set"})
	s := script(t, rules...)
	clock := time.Unix(1767225600, 0).Add(time.Hour)
	src := s.source(func() time.Time { return clock })
	found, err := src.Find(t.Context(), "tank", true)
	if err != nil || len(found) != 21 {
		t.Fatalf("got %d datasets, %v", len(found), err)
	}
	round := func() int {
		t.Helper()
		before := len(s.Calls())
		for _, d := range found {
			if d.Path == "tank" {
				continue
			}
			if _, err := src.Mark(t.Context(), d.Path); err != nil {
				t.Error(err)
			}
			if again, err := src.Find(t.Context(), d.Path, false); err != nil || !slices.Equal(again, []dataset.Dataset{d}) {
				t.Errorf("got %v, %v, want %v", again, err, d)
			}
			if _, err := src.Snapshots(t.Context(), d.Path); err != nil {
				t.Error(err)
			}
		}
		return len(s.Calls()) - before
	}
	if n := round(); n > 3*20 {
		t.Errorf("the first round took %d processes, want at most 3 a dataset", n)
	}
	clock = clock.Add(time.Minute)
	if n := round(); n != 1 {
		t.Errorf("a round in which nothing had happened took %d processes, want 1", n)
	}
	if err := src.Fence(t.Context(), "tank/03"); err != nil {
		t.Fatal(err)
	}
	s.Answer(append([]rule{{
		Args: "get -Hp -o name,property,source,value -t filesystem,volume -r",
		Out:  props("tank/03", "guid", "103", "tank/03", "readonly", "on"),
	}}, rules...)...)
	if now, err := src.Find(t.Context(), "tank/03", false); err != nil || len(now) != 0 {
		t.Errorf("after it was fenced: found %v, %v", now, err)
	}
	if _, err := src.Mark(t.Context(), "tank/none"); !errors.Is(err, dataset.ErrNotFound) {
		t.Errorf("what is not there: got %v", err)
	}
}
