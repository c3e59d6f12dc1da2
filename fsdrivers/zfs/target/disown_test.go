package target

import (
	"errors"
	"testing"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/prop"
)

func TestADisownedReplicaIsAnothers(t *testing.T) {
	s, tg := simTarget(t, "src/db", "src/www")
	db := dataset.Dataset{Path: "src/db", ID: naming.IDOf(1000)}
	id, err := tg.Disown(t.Context(), db)
	if err != nil || id == db.ID {
		t.Fatalf("got %s, %v, want another identity", id, err)
	}
	if _, err := naming.GUIDOf(id); err != nil {
		t.Error(err)
	}
	tg = s.simTarget()
	if err := tg.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	found, err := tg.Find(t.Context(), "", true)
	if err != nil || len(found) != 2 || found[0] != (dataset.Dataset{Path: "src/db", ID: id}) || found[1].ID != naming.IDOf(1001) {
		t.Errorf("got %v, %v, want only src/db with another identity", found, err)
	}
	if points, err := tg.Snapshots(t.Context(), "src/db"); err != nil || len(points) != 1 || points[0].ID != naming.IDOf(2000) {
		t.Errorf("points %v, %v, want what it had", points, err)
	}
}

func TestWhatCannotBeDisownedStays(t *testing.T) {
	db := dataset.Dataset{Path: "src/db", ID: naming.IDOf(1000)}
	for name, c := range map[string]struct {
		d      dataset.Dataset
		change func(p *simPool, tg *Target)
		want   error
	}{
		"of another identity": {dataset.Dataset{Path: "src/db", ID: naming.IDOf(7)}, nil, dataset.ErrNotFound},
		"of another path":     {dataset.Dataset{Path: "src/x", ID: naming.IDOf(1000)}, nil, dataset.ErrNotFound},
		"outside":             {dataset.Dataset{Path: "../up", ID: naming.IDOf(1000)}, nil, dataset.ErrNotFound},
		"live in place":       {db, func(p *simPool, _ *Target) { p.Props["dst/into/src/db"][prop.Live] = prop.On }, dataset.ErrRefused},
		"on its way":          {db, func(p *simPool, _ *Target) { p.Props["dst/into/src/db"][prop.Move] = "new" }, dataset.ErrBusy},
		"being received":      {db, func(_ *simPool, tg *Target) { _, _ = tg.into.Claim(dataset.Path("src/db")) }, dataset.ErrBusy},
	} {
		s, tg := simTarget(t, "src/db")
		if c.change != nil {
			p := s.readPool()
			c.change(p, tg)
			s.pool(p)
		}
		if _, err := tg.Disown(t.Context(), c.d); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		if found, err := s.simTarget().Find(t.Context(), "", true); err != nil || len(found) != 1 || found[0] != db {
			t.Errorf("%s: got %v, %v, want it as it was", name, found, err)
		}
	}
}
