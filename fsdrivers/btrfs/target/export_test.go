package target

import (
	"antipode/fsdrivers/btrfs/facts"
	"antipode/fsdrivers/btrfs/sidecar"
	"antipode/fsdrivers/dataset"
)

// BreakOffMove leaves a move as a crash does: written down, its points taken out, those
// of others back, the points put down, all but the binding done. Others are what is below
// the old path.
func (t *Target) BreakOffMove(at int, d dataset.Dataset, to dataset.Path, others ...string) error {
	in, err := t.shelf.Open()
	if err != nil {
		return err
	}
	defer in.Close()
	f, err := facts.Open(in.Own, d.ID)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := sidecar.Write(f.Dir, moveFile, kindMove, move{to}); err != nil || at == 0 {
		return err
	}
	if at == 4 {
		return carry(in, f.Dir, d.Path, to)
	}
	way, err := takeOut(in, f.Dir, d.Path)
	if err != nil {
		return err
	}
	defer way.Close()
	if at >= 2 {
		err = putAll(in, way, others, d.Path)
	}
	if err == nil && at == 3 {
		err = putDown(in, f.Dir, to)
	}
	return err
}
