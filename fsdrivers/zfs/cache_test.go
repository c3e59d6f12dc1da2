package zfs

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/prop"
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

// TestAnUnchangedReplicaCostsNothing: Find reads all; what an inventory asks of
// each replica then costs a process only where something happened.
func TestAnUnchangedReplicaCostsNothing(t *testing.T) {
	lineage := lineageOut("dst/into/src/db", "snapshots_changed", "1767225600")
	s := script(t,
		rule{Args: "get -Hp -o name,property,source,value -d 1 -t filesystem,volume type,org.antipode:into dst/into", Out: props(
			"dst/into", "type", "filesystem", "dst/into", prop.Into, "on", "dst/into/.antipode", "type", "filesystem")},
		rule{Args: "get -Hp -o name,property,source,value -r -t filesystem,volume", Out: props("dst/into", "guid", "5") + lineage},
		rule{Args: getLineages, Out: lineage},
		rule{Args: "list -Hp -d 1", Out: "dst/into/src/db@antipode_b\t11\t5\n"},
		rule{Args: "list -Hp -t snapshot", Out: "dst/into/src/db@antipode_b\t11\t5\n"},
		rule{Args: "get -Hp -o name,property,source,value creation", Out: props("dst/into/src/db@antipode_b", prop.Received, "2026-01-01T00:00:00Z")},
		rule{Args: "holds"}, rule{Args: "hold"})
	clock := time.Unix(1767225600, 0).Add(time.Hour)
	tg, err := NewTarget(TargetOptions{
		Into: "dst/into", Locks: t.TempDir(), Now: theTime, Clock: func() time.Time { return clock }, Log: zerolog.Nop(),
		Binary: s.Binary(), GiveUp: 20 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	round := func() []string {
		t.Helper()
		clock = clock.Add(time.Minute)
		before := len(s.Calls())
		if found, err := tg.Find(t.Context(), "/", true); err != nil || len(found) != 1 {
			t.Fatalf("got %v, %v", found, err)
		}
		list, err := tg.Snapshots(t.Context(), "src/db")
		if err != nil || len(list) != 1 || list[0].Received.IsZero() {
			t.Fatalf("got %v, %v", list, err)
		}
		if _, err := tg.Pending(t.Context(), "src/db"); err != nil {
			t.Error(err)
		}
		if _, err := tg.Mark(t.Context(), "src/db"); err != nil {
			t.Error(err)
		}
		return s.Calls()[before:]
	}
	if cost := round(); len(cost) != 1+3 {
		t.Errorf("the first round took %q, want 3 beside the look at all", cost)
	}
	if cost := round(); len(cost) != 1 {
		t.Errorf("a round in which nothing happened took %q, want the look at all", cost)
	}
	if err := tg.Hold(t.Context(), "src/db", dataset.Snapshot{Name: "antipode_b", ID: naming.IDOf(11)}, "base.x"); err != nil {
		t.Fatal(err)
	}
	if cost := round(); len(cost) != 1+2 || !strings.HasPrefix(cost[2], "holds") {
		t.Errorf("after a hold it took %q, want list and holds", cost)
	}
	if cost := round(); len(cost) != 1 {
		t.Errorf("and then %q, want the look at all", cost)
	}
}
