package target_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/uuid"

	"antipode/fsdrivers/btrfs/btrfstest"
	"antipode/fsdrivers/btrfs/btrfstest/pair"
	"antipode/fsdrivers/btrfs/sidecar"
	"antipode/fsdrivers/dataset"
)

// A crash may come between the binding and the name of the directory that it is in.
func TestADisowningThatWasCutOffIsFinishedByTheSweep(t *testing.T) {
	p := pair.New(t)
	db := p.Dataset(p.DB)
	want := sendAs(p, p.DB, "/db")
	dir, err := os.Open(filepath.Join(p.To, "into", dataset.Dir, string(db.ID)))
	btrfstest.Must(t, err)
	defer dir.Close()
	id := dataset.ID(uuid.NewString())
	btrfstest.Must(t, sidecar.Write(dir, "replica", sidecar.Replica, dataset.Dataset{Path: "/db", ID: id}))
	p.Target = p.NewTarget("")
	for range 2 {
		btrfstest.Must(t, p.Target.Sweep(t.Context()))
		found, err := p.Target.Find(t.Context(), "/", true)
		if err != nil || len(found) != 1 || found[0] != (dataset.Dataset{Path: "/db", ID: id}) {
			t.Fatalf("got %v, %v; want the replica with its new identity", found, err)
		}
		got, err := p.Target.Snapshots(t.Context(), "/db")
		if err != nil || len(got) != 1 || got[0].ID != want.ID || !got[0].Retain.Equal(want.Retain) {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
}
