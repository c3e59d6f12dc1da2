package target

import (
	"errors"
	"strings"
	"testing"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/prop"
)

// Points that are there must not be lost from sight.
func TestAnotherStripIsRefusedWhereThereAreReplicas(t *testing.T) {
	s, _ := simTarget(t)
	for _, strip := range []dataset.Path{"src", "", "src/data", "tank"} {
		if _, err := s.stripped(strip); err != nil {
			t.Fatalf("strip %q without replicas: %v", strip, err)
		}
		if got := s.readPool().Props["dst/into"][prop.Strip]; got != string(strip) {
			t.Errorf("strip %q: Into says %q", strip, got)
		}
	}
	s.addReplicas("db")
	p := s.readPool()
	p.Props["dst/into/db"][prop.Path] = "tank/db"
	s.pool(p)
	for _, strip := range []dataset.Path{"", "src", "tank/db"} {
		_, err := s.stripped(strip)
		if !errors.Is(err, dataset.ErrRefused) || !strings.Contains(err.Error(), `received with strip = "tank"`) {
			t.Errorf("strip %q where tank/db is: %v, want that it was tank", strip, err)
		}
		if got := s.readPool().Props["dst/into"][prop.Strip]; got != "tank" {
			t.Errorf("after strip %q was refused Into says %q", strip, got)
		}
	}
	tg, err := s.stripped("tank")
	if err != nil {
		t.Fatal(err)
	}
	if points, err := tg.Snapshots(t.Context(), "tank/db"); err != nil || len(points) != 1 {
		t.Errorf("got %v, %v; want the point", points, err)
	}
}

func TestReplicasWithoutAStripKeepAnAcceptWithOneAway(t *testing.T) {
	s, _ := simTarget(t, "src/db")
	if _, err := s.stripped("src"); !errors.Is(err, dataset.ErrRefused) || !strings.Contains(err.Error(), "dst/into/src/db") {
		t.Errorf("got %v, want a refusal that names the replica", err)
	}
}

func TestAMoveStaysBelowWhatIsStripped(t *testing.T) {
	s, _ := simTarget(t)
	tg, err := s.stripped("src")
	if err != nil {
		t.Fatal(err)
	}
	s.addReplicas("db")
	p := s.readPool()
	p.Props["dst/into/db"][prop.Path] = "src/db"
	s.pool(p)
	d := dataset.Dataset{Path: "src/db", ID: naming.IDOf(1000)}
	for _, to := range []dataset.Path{"src", "elsewhere", "src2/db"} {
		if err := tg.Move(t.Context(), d, to); !errors.Is(err, dataset.ErrRefused) {
			t.Errorf("move to %s: %v, want %v", to, err, dataset.ErrRefused)
		}
	}
	if err := tg.Move(t.Context(), d, "src/new/db"); err != nil {
		t.Fatal(err)
	}
	if got := s.readPool().Props["dst/into/new/db"][prop.Path]; got != "src/new/db" {
		t.Errorf("at new/db is the replica of %q, want src/new/db", got)
	}
	found, err := tg.Find(t.Context(), "", true)
	if err != nil || len(found) != 1 || found[0] != (dataset.Dataset{Path: "src/new/db", ID: d.ID}) {
		t.Errorf("Find: %v, %v; want it by its source's name", found, err)
	}
}
