package btrfs

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/failpoint"
)

// Abort implements fsdrivers.Receiver. A receive that still runs is ErrBusy: end
// it first.
func (t *Target) Abort(ctx context.Context, d dataset.Path) error {
	return t.withReplica(d, func(in *into, r *replica) error {
		if r == nil {
			return nil
		}
		release, err := t.claim(r.Dataset)
		if err != nil {
			return err
		}
		defer release()
		t.starting.Lock()
		defer t.starting.Unlock()
		if err := t.removeWorkOf(ctx, in, r.ID, ""); err != nil {
			return fmt.Errorf("abort receive of %s: %w", d, err)
		}
		return r.sweep()
	})
}

// Sweep implements fsdrivers.Sweeper. It goes on after an error, and answers all.
// First it makes durable what a daemon that was killed did last: a final name that
// is seen is about to be answered as published (G2).
func (t *Target) Sweep(ctx context.Context) error {
	in, err := t.open()
	if err != nil {
		return err
	}
	defer in.close()
	all := []error{syncName(in.File)}
	failpoint.Hit("sweep-synced")
	disowned := t.finishDisowning(in)
	moving, _ := t.replicas(in) // what is wrong is told below
	all = append(all, disowned, t.finishMoves(in, moving), t.sweepWork(ctx, in))
	replicas, err := t.replicas(in)
	all = append(all, err)
	for _, d := range replicas {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := t.sweepReplica(ctx, in, d.Path); err != nil {
			all = append(all, fmt.Errorf("sweep %s: %w", d.Path, err))
		}
	}
	return errors.Join(all...)
}

// sweepWork removes the work in progress that no living process owns.
func (t *Target) sweepWork(ctx context.Context, in *into) error {
	steps, err := names(in.incoming)
	if err != nil {
		return err
	}
	var all []error
	for _, step := range steps {
		if err := t.sweepStep(ctx, in, step); err != nil && !errors.Is(err, dataset.ErrBusy) {
			all = append(all, fmt.Errorf("sweep step %s: %w", step, err))
		}
	}
	return errors.Join(all...)
}

func (t *Target) sweepStep(ctx context.Context, in *into, step string) error {
	t.starting.Lock()
	defer t.starting.Unlock()
	r, found, err := readRecord(in, step)
	if err != nil {
		return err
	}
	if found {
		release, err := t.claim(r.Dataset)
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
		if kept, err := t.keepSealed(w, r); kept || err != nil {
			w.close()
			return err
		}
	}
	t.opts.Log.Info().Str("step", step).Str("dataset", string(r.Dataset.Path)).Msg("removing an abandoned receive")
	return w.remove()
}

// keepSealed removes what is not sealed of a step that can be gone on with; kept is
// false if that is nothing, or if the step is published.
func (t *Target) keepSealed(w *work, r record) (kept bool, err error) {
	j, err := t.readJournal(w, r.From.IsZero())
	if err != nil || len(j.Kept) == 0 {
		return false, err
	}
	rep, err := t.openReplica(w.in, r.Dataset.Path)
	if err != nil {
		return false, err
	}
	if rep != nil {
		defer rep.close()
		switch there, err := rep.find(r.To); {
		case err != nil:
			return false, err
		case there != nil:
			return false, there.Close()
		}
	}
	failpoint.Hit("sweep-kept")
	return true, w.removeUnsealed(j)
}

// sweepReplica removes snapshots that did not get their name, points of snapshots
// that are gone, and sends that outlived their daemon.
func (t *Target) sweepReplica(ctx context.Context, in *into, d dataset.Path) error {
	r, err := t.openReplica(in, d)
	if r == nil || err != nil {
		return err
	}
	defer r.close()
	if err := sweepSends(ctx, r.facts); err != nil {
		return err
	}
	return r.sweep()
}

// sweep works under the lock that publishing holds, so that whatever has a name
// of our intermediate pattern is nobody's.
func (r *replica) sweep() error {
	return r.facts.sweep(func() (map[string]bool, error) {
		if err := r.sweepSnapshots(); err != nil {
			return nil, err
		}
		entries, err := r.published()
		keep := make(map[string]bool, len(entries))
		for _, e := range entries {
			keep[string(e.id)] = true
		}
		return keep, err
	})
}

func (r *replica) sweepSnapshots() error {
	if r.dir == nil {
		return nil
	}
	list, err := names(r.dir)
	if err != nil {
		return err
	}
	for _, name := range list {
		step, ours := strings.CutPrefix(name, tempSnapshot)
		if _, err := dataset.ParseStepID(step); !ours || err != nil {
			continue
		}
		if err := removeSubvolume(r.dir, name); err != nil {
			return err
		}
		failpoint.Hit("sweep-unnamed")
	}
	return nil
}
