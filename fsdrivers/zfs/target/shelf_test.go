package target

import (
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/listing"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/pool"
	"antipode/fsdrivers/zfs/prop"
	"antipode/fsdrivers/zfs/standby/standbytest"
)

// shelved has one replica with one point.
func shelved(t *testing.T) *scripted {
	lineage := standbytest.LineageOut("dst/into/src/db", "snapshots_changed", "1767225600")
	return script(t, standbytest.Rules(
		rule{Args: "get -Hp -o name,property,source,value -r -t filesystem,volume", Out: props("dst/into", "guid", "5") + lineage},
		rule{Args: standbytest.GetLineages, Out: lineage},
		rule{Args: "list -Hp -d 1", Out: "dst/into/src/db@antipode_b\t11\t5\n"},
		rule{Args: "list -Hp -t snapshot", Out: "dst/into/src/db@antipode_b\t11\t5\n"},
		rule{Args: "get -Hp -o name,property,source,value creation", Out: props("dst/into/src/db@antipode_b", prop.Received, "2026-01-01T00:00:00Z")},
		rule{Args: "holds"}, rule{Args: "hold"})...)
}

// keeping is a target that keeps what it has read.
func keeping(t *testing.T, s *scripted, clock func() time.Time) *Target {
	t.Helper()
	tg, err := New(Options{
		Into: "dst/into", Locks: t.TempDir(), Now: standbytest.Now, Clock: clock, Log: zerolog.Nop(),
		Host: pool.NewHost(s.Binary(), 20*time.Second),
	})
	if err != nil {
		t.Fatal(err)
	}
	return tg
}

// On a slow host each process takes 20 s: what Find has read is not out of date before it is used.
func TestASlowLookAtAllIsBelieved(t *testing.T) {
	s := shelved(t)
	tg := keeping(t, s, func() time.Time { return time.Unix(1767225600+int64(20*len(s.Calls())), 0) })
	if _, err := tg.Find(t.Context(), "/", true); err != nil {
		t.Fatal(err)
	}
	cost := len(s.Calls())
	if _, err := tg.Mark(t.Context(), "src/db"); err != nil || len(s.Calls()) != cost {
		t.Errorf("after Find it took %q, %v, want nothing more", s.Calls()[cost:], err)
	}
}

// One who asks for a replica alone, or so late that what Find read is out of date, has
// three questions: one process answers them, and vouches for the list that was kept.
func TestWhatWasReadOfOneReplicaAnswersTheNextQuestions(t *testing.T) {
	s := shelved(t)
	clock := time.Unix(1767225600, 0).Add(time.Hour)
	tg := keeping(t, s, func() time.Time { return clock })
	ask := func() int {
		t.Helper()
		before := len(s.Calls())
		list, err := tg.Snapshots(t.Context(), "src/db")
		if _, pendingErr := tg.Pending(t.Context(), "src/db"); err != nil || pendingErr != nil || len(list) != 1 {
			t.Fatal(list, err, pendingErr)
		}
		if _, err := tg.Mark(t.Context(), "src/db"); err != nil {
			t.Fatal(err)
		}
		return len(s.Calls()) - before
	}
	if first := ask(); first != 1+3 {
		t.Errorf("three questions took %q, want beside what New asked the lineages once, and three for the list", s.Calls())
	}
	if again := ask(); again != 0 {
		t.Errorf("at once they took %d more, want none", again)
	}
	clock = clock.Add(listing.BelievedAlone + time.Millisecond)
	if later := ask(); later != 1 {
		t.Errorf("a second later they took %d, want the lineages", later)
	}
}

// TestAnUnchangedReplicaCostsNothing: Find reads all; what an inventory asks of
// each replica then costs a process only where something happened.
func TestAnUnchangedReplicaCostsNothing(t *testing.T) {
	s := shelved(t)
	clock := time.Unix(1767225600, 0).Add(time.Hour)
	tg := keeping(t, s, func() time.Time { return clock })
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
