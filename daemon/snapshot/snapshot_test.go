package snapshot_test

import (
	"errors"
	"testing"
	"time"

	"antipode/daemon/snapshot"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/fake"
)

func TestTakeNamesAllDatasetsAlike(t *testing.T) {
	disk := fake.NewDisk("fra1", 1<<30)
	disk.Make("/a")
	disk.Make("/b")
	now := time.Date(2026, 3, 29, 1, 30, 0, 5000, time.UTC)
	got, err := snapshot.Take(t.Context(), disk.Source(), "db", []dataset.Path{"/a", "/b"}, now)
	if err != nil || len(got) != 2 {
		t.Fatalf("Take = %v, %v; want two snapshots", got, err)
	}
	for _, s := range got {
		if s.Name != "antipode_db_20260329T013000Z" {
			t.Errorf("got name %s, want antipode_db_20260329T013000Z", s.Name)
		}
	}
}

func TestAClockThatWasSetBackMakesNoOlderName(t *testing.T) {
	disk := fake.NewDisk("fra1", 1<<30)
	disk.Make("/a")
	source := disk.Source()
	noon := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for _, now := range []time.Time{noon, noon.Add(-24 * time.Hour), noon} {
		if _, err := snapshot.Take(t.Context(), source, "db", []dataset.Path{"/a"}, now); err != nil {
			t.Fatal(err)
		}
	}
	list, err := source.Snapshots(t.Context(), "/a")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"antipode_db_20260101T120000Z", "antipode_db_20260101T120001Z", "antipode_db_20260101T120002Z"}
	for i, s := range list {
		if i >= len(want) || s.Name != want[i] {
			t.Errorf("snapshot %d is %s, want %v", i, s.Name, want)
		}
	}
}

func TestNoDatasetsAreNoSnapshots(t *testing.T) {
	got, err := snapshot.Take(t.Context(), fake.NewDisk("fra1", 1).Source(), "db", nil, time.Now())
	if got != nil || err != nil {
		t.Errorf("Take = %v, %v; want nothing", got, err)
	}
}

func TestADatasetThatVanishedIsAnError(t *testing.T) {
	_, err := snapshot.Take(t.Context(), fake.NewDisk("fra1", 1<<30).Source(), "db", []dataset.Path{"/gone"}, time.Now())
	if !errors.Is(err, dataset.ErrNotFound) {
		t.Errorf("Take = %v, want ErrNotFound", err)
	}
}
