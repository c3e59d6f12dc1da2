package btrfs

import (
	"os"
	"path/filepath"
	"testing"

	"antipode/fsdrivers/dataset"
)

// TestAMoveThatWasCutOffIsFinishedByTheSweep stands in each state that a crash can
// leave: the replica of db goes to place, and both have another's below.
func TestAMoveThatWasCutOffIsFinishedByTheSweep(t *testing.T) {
	const to = dataset.Path("/place")
	for name, cut := range map[string]func(in *into, facts *os.File, from dataset.Path) error{
		"it was only written down": func(*into, *os.File, dataset.Path) error { return nil },
		"the points were taken out": func(in *into, facts *os.File, from dataset.Path) error {
			way, err := takeOut(in, facts, from)
			if err == nil {
				err = way.Close()
			}
			return err
		},
		"what was below the old path is back": func(in *into, facts *os.File, from dataset.Path) error {
			way, err := takeOut(in, facts, from)
			if err != nil {
				return err
			}
			defer way.Close()
			return putAll(in, way, []string{"inner"}, from)
		},
		"the points are where they go": func(in *into, facts *os.File, from dataset.Path) error {
			way, err := takeOut(in, facts, from)
			if err != nil {
				return err
			}
			defer way.Close()
			if err := putAll(in, way, []string{"inner"}, from); err != nil {
				return err
			}
			return putDown(in, facts, to)
		},
		"only the binding is old": func(in *into, facts *os.File, from dataset.Path) error { return carry(in, facts, from, to) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			p.mkdir("elsewhere")
			inner, below := p.subvolume("db/inner"), p.subvolume("elsewhere/below")
			db := p.dataset(p.db)
			// Paths on the target are what the source says.
			held := map[dataset.Path]dataset.Snapshot{}
			for as, d := range map[dataset.Path]dataset.Path{"/db": p.db, "/db/inner": inner, "/place/below": below} {
				held[as] = p.sendAs(d, as)
			}
			in, err := p.target.open()
			if err != nil {
				t.Fatal(err)
			}
			defer in.close()
			f, err := openFacts(in.own, db.ID)
			if err == nil {
				err = writeSidecar(f.dir, moveFile, kindMove, move{to})
			}
			if err == nil {
				err = cut(in, f.dir, "/db")
			}
			if err != nil {
				t.Fatal(err)
			}
			p.target = p.newTarget("")
			for range 2 {
				if err := p.target.Sweep(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			held[to] = held["/db"]
			delete(held, "/db")
			for path, want := range held {
				got, err := p.target.Snapshots(t.Context(), path)
				if err != nil || len(got) != 1 || got[0].ID != want.ID || !got[0].Received.Equal(want.Received) || !got[0].Retain.Equal(want.Retain) {
					t.Errorf("%s: got %+v, %v; want %+v", path, got, err, want)
				}
			}
			if left, _ := os.ReadDir(filepath.Join(p.to, "into", dataset.Dir, string(db.ID))); len(left) == 0 {
				t.Error("its facts are gone")
			} else {
				for _, e := range left {
					if e.Name() == moveFile || e.Name() == movingDir {
						t.Errorf("%s is left", e.Name())
					}
				}
			}
		})
	}
}

func (p *pair) mkdir(rel string) {
	p.t.Helper()
	if err := os.Mkdir(filepath.Join(p.from, rel), 0o755); err != nil {
		p.t.Fatal(err)
	}
}

// sendAs makes a snapshot and a first copy of it that the target keeps under another
// path.
func (p *pair) sendAs(d, as dataset.Path) dataset.Snapshot {
	p.t.Helper()
	made, err := p.source.Snapshot(p.t.Context(), "antipode_move", p.now, []dataset.Path{d})
	if err != nil {
		p.t.Fatal(err)
	}
	step := dataset.Step{Job: "db", Dataset: p.dataset(d), To: made[0]}
	stream, err := p.source.Send(p.t.Context(), step, dataset.Checkpoint{})
	if err != nil {
		p.t.Fatal(err)
	}
	defer stream.Close()
	step.Dataset.Path = as
	got, err := p.target.Receive(p.t.Context(), dataset.Incoming{Step: step, Retain: p.now}, stream)
	if err != nil {
		p.t.Fatal(err)
	}
	return got
}
