package activate

import (
	"antipode/fsdrivers/btrfs/standby"
	"antipode/fsdrivers/btrfs/subvol"
	"antipode/fsdrivers/dataset"
)

// BreakOffActivation leaves an activation as a crash does: recorded, copied without a record, copied.
func (a *Activator) BreakOffActivation(at int, d dataset.Path, snap dataset.Snapshot, aside string) error {
	return a.shelf.WithReplica(d, func(in *standby.Into, r *standby.Replica) error {
		point, err := r.Find(snap.ID)
		if err != nil {
			return err
		}
		defer point.Close()
		place, err := a.livePlace(in, r, aside)
		if err != nil {
			return err
		}
		defer place.dir.Close()
		have, err := place.begin(r, activation{Snapshot: snap.ID, Aside: place.aside})
		switch {
		case err != nil || at == 0:
			return err
		case at == 1:
			return subvol.Snapshot(point.File, place.dir, place.aside, false)
		}
		_, err = place.copy(r, point, have)
		return err
	})
}
