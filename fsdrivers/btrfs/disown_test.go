package btrfs

import (
	"testing"

	"github.com/google/uuid"

	"antipode/fsdrivers/dataset"
)

// A crash may come between the binding and the name of the directory that it is in.
func TestADisowningThatWasCutOffIsFinishedByTheSweep(t *testing.T) {
	p := newPair(t)
	db := p.dataset(p.db)
	want := p.sendAs(p.db, "/db")
	in, err := p.target.open()
	must(t, err)
	defer in.close()
	f, err := openFacts(in.own, db.ID)
	must(t, err)
	defer f.close()
	id := dataset.ID(uuid.NewString())
	must(t, writeSidecar(f.dir, replicaFile, kindReplica, dataset.Dataset{Path: "/db", ID: id}))
	p.target = p.newTarget("")
	for range 2 {
		must(t, p.target.Sweep(t.Context()))
		found, err := p.target.Find(t.Context(), "/", true)
		if err != nil || len(found) != 1 || found[0] != (dataset.Dataset{Path: "/db", ID: id}) {
			t.Fatalf("got %v, %v; want the replica with its new identity", found, err)
		}
		got, err := p.target.Snapshots(t.Context(), "/db")
		if err != nil || len(got) != 1 || got[0].ID != want.ID || !got[0].Retain.Equal(want.Retain) {
			t.Errorf("got %+v, %v; want %+v", got, err, want)
		}
	}
}
