package receive

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"antipode/fsdrivers/btrfs/send"
	"antipode/fsdrivers/btrfs/sidecar"
	"antipode/fsdrivers/btrfs/standby"
	"antipode/fsdrivers/btrfs/subvol"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/failpoint"
)

// Abort implements fsdrivers.Receiver. A receive that still runs is ErrBusy: end
// it first.
func (rv *Receiver) Abort(ctx context.Context, d dataset.Path) error {
	return rv.shelf.WithReplica(d, func(in *standby.Into, r *standby.Replica) error {
		if r == nil {
			return nil
		}
		release, err := rv.shelf.Claim(r.Dataset)
		if err != nil {
			return err
		}
		defer release()
		if err := rv.DropWork(ctx, in, r.ID); err != nil {
			return fmt.Errorf("abort receive of %s: %w", d, err)
		}
		return sweepPoints(r)
	})
}

// SweepWork removes the work in progress that no living process owns.
func (rv *Receiver) SweepWork(ctx context.Context, in *standby.Into) error {
	steps, err := subvol.Names(in.Incoming)
	if err != nil {
		return err
	}
	var all []error
	for _, step := range steps {
		if err := rv.sweepStep(ctx, in, step); err != nil && !errors.Is(err, dataset.ErrBusy) {
			all = append(all, fmt.Errorf("sweep step %s: %w", step, err))
		}
	}
	return errors.Join(all...)
}

func (rv *Receiver) sweepStep(ctx context.Context, in *standby.Into, step string) error {
	rv.starting.Lock()
	defer rv.starting.Unlock()
	r, found, err := readRecord(in, step)
	if err != nil {
		return err
	}
	if found {
		release, err := rv.shelf.Claim(r.Dataset)
		if err != nil {
			return err
		}
		defer release()
	}
	w, err := openWork(ctx, in, step)
	if err != nil {
		return err
	}
	if found {
		if kept, err := rv.keepSealed(w, r); kept || err != nil {
			w.close()
			return err
		}
	}
	rv.log.Info().Str("step", step).Str("dataset", string(r.Dataset.Path)).Msg("removing an abandoned receive")
	return w.remove()
}

// keepSealed removes what is not sealed of a step that can be gone on with; kept is
// false if that is nothing, or if the step is published.
func (rv *Receiver) keepSealed(w *work, r record) (kept bool, err error) {
	j, err := rv.readJournal(w, r.From.IsZero())
	if err != nil || len(j.Kept) == 0 {
		return false, err
	}
	rep, err := rv.shelf.OpenReplica(w.in, r.Dataset.Path)
	if err != nil {
		return false, err
	}
	if rep != nil {
		defer rep.Close()
		switch there, err := rep.Find(r.To); {
		case err != nil:
			return false, err
		case there != nil:
			return false, there.Close()
		}
	}
	failpoint.Hit("sweep-kept")
	return true, w.removeUnsealed(j)
}

// SweepReplica removes snapshots that did not get their name, points of snapshots
// that are gone, and sends that outlived their daemon.
func (rv *Receiver) SweepReplica(ctx context.Context, in *standby.Into, d dataset.Path) error {
	r, err := rv.shelf.OpenReplica(in, d)
	if r == nil || err != nil {
		return err
	}
	defer r.Close()
	if err := send.Sweep(ctx, r.Facts); err != nil {
		return err
	}
	return sweepPoints(r)
}

// sweepPoints works under the lock that publishing holds, so that whatever has a name
// of our intermediate pattern is nobody's.
func sweepPoints(r *standby.Replica) error {
	return r.Facts.Sweep(func() (map[string]bool, error) {
		if err := sweepUnnamed(r); err != nil {
			return nil, err
		}
		entries, err := r.Published()
		keep := make(map[string]bool, len(entries))
		for _, e := range entries {
			keep[string(e.ID)] = true
		}
		return keep, err
	})
}

func sweepUnnamed(r *standby.Replica) error {
	if r.Dir == nil {
		return nil
	}
	list, err := subvol.Names(r.Dir)
	if err != nil {
		return err
	}
	for _, name := range list {
		step, ours := strings.CutPrefix(name, tempSnapshot)
		if _, err := dataset.ParseStepID(step); !ours || err != nil {
			continue
		}
		if err := subvol.RemoveIn(r.Dir, name); err != nil {
			return err
		}
		failpoint.Hit("sweep-unnamed")
	}
	return nil
}

// Worked are the datasets of which there is work in progress.
func Worked(in *standby.Into) (map[dataset.ID]bool, error) {
	list, err := subvol.Names(in.Incoming)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", in.Incoming.Name(), err)
	}
	busy := make(map[dataset.ID]bool, len(list))
	for _, step := range list {
		dir, err := subvol.OpenDirBelow(in.Incoming, step)
		if err != nil {
			continue // over since
		}
		r, _, err := sidecar.Read[record](dir, recordFile, sidecar.Step, "")
		dir.Close()
		if err == nil {
			busy[r.Dataset.ID] = true
		}
	}
	return busy, nil
}
