package target_test

import (
	"os"
	"path/filepath"
	"testing"

	"antipode/fsdrivers/btrfs/btrfstest"
	"antipode/fsdrivers/btrfs/btrfstest/pair"
	"antipode/fsdrivers/dataset"
)

// TestAMoveThatWasCutOffIsFinishedByTheSweep stands in each state that a crash can
// leave: the replica of db goes to place, and both have another's below.
func TestAMoveThatWasCutOffIsFinishedByTheSweep(t *testing.T) {
	const to = dataset.Path("/place")
	for at, name := range []string{
		"it was only written down", "the points were taken out", "what was below the old path is back",
		"the points are where they go", "only the binding is old",
	} {
		t.Run(name, func(t *testing.T) {
			p := pair.New(t)
			mkdir(p, "elsewhere")
			inner, below := p.Subvolume("db/inner"), p.Subvolume("elsewhere/below")
			db := p.Dataset(p.DB)
			// Paths on the target are what the source says.
			held := map[dataset.Path]dataset.Snapshot{}
			for as, d := range map[dataset.Path]dataset.Path{"/db": p.DB, "/db/inner": inner, "/place/below": below} {
				held[as] = sendAs(p, d, as)
			}
			btrfstest.Must(t, p.Target.BreakOffMove(at, dataset.Dataset{Path: "/db", ID: db.ID}, to, "inner"))
			p.Target = p.NewTarget("")
			for range 2 {
				if err := p.Target.Sweep(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			held[to] = held["/db"]
			delete(held, "/db")
			for path, want := range held {
				got, err := p.Target.Snapshots(t.Context(), path)
				if err != nil || len(got) != 1 || got[0].ID != want.ID || !got[0].Received.Equal(want.Received) || !got[0].Retain.Equal(want.Retain) {
					t.Errorf("%s: got %+v, %v; want %+v", path, got, err, want)
				}
			}
			if left, _ := os.ReadDir(filepath.Join(p.To, "into", dataset.Dir, string(db.ID))); len(left) == 0 {
				t.Error("its facts are gone")
			} else {
				for _, e := range left {
					if e.Name() == "move" || e.Name() == "moving" {
						t.Errorf("%s is left", e.Name())
					}
				}
			}
		})
	}
}

func mkdir(p *pair.Pair, rel string) {
	p.T.Helper()
	if err := os.Mkdir(filepath.Join(p.From, rel), 0o755); err != nil {
		p.T.Fatal(err)
	}
}

// sendAs makes a snapshot and a first copy of it that the target keeps under another
// path.
func sendAs(p *pair.Pair, d, as dataset.Path) dataset.Snapshot {
	p.T.Helper()
	made, err := p.Source.Snapshot(p.T.Context(), "antipode_move", p.Now, []dataset.Path{d})
	if err != nil {
		p.T.Fatal(err)
	}
	step := dataset.Step{Job: "db", Dataset: p.Dataset(d), To: made[0]}
	stream, err := p.Source.Send(p.T.Context(), step, dataset.Checkpoint{})
	if err != nil {
		p.T.Fatal(err)
	}
	defer stream.Close()
	step.Dataset.Path = as
	got, err := p.Target.Receive(p.T.Context(), dataset.Incoming{Step: step, Retain: p.Now}, stream)
	if err != nil {
		p.T.Fatal(err)
	}
	return got
}
