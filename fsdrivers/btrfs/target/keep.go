package target

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers"
	"antipode/fsdrivers/btrfs/facts"
	"antipode/fsdrivers/btrfs/progs"
	"antipode/fsdrivers/btrfs/receive"
	"antipode/fsdrivers/btrfs/standby"
	"antipode/fsdrivers/dataset"
)

// Hold implements fsdrivers.Holder.
func (t *Target) Hold(_ context.Context, d dataset.Path, snap dataset.Snapshot, tag dataset.Tag) error {
	return t.shelf.WithReplica(d, func(_ *standby.Into, r *standby.Replica) error {
		if r == nil || r.Dir == nil {
			return fmt.Errorf("hold %s of %s: %w", snap.Name, d, dataset.ErrNotFound)
		}
		return r.Facts.HoldSnapshot(r.Dir, snap, tag)
	})
}

// Release implements fsdrivers.Holder.
func (t *Target) Release(_ context.Context, d dataset.Path, tag dataset.Tag, keep ...dataset.ID) error {
	return t.shelf.WithReplica(d, func(_ *standby.Into, r *standby.Replica) error {
		if r == nil {
			return nil
		}
		return r.Facts.Release(tag, keep)
	})
}

// Pin implements fsdrivers.Pinner.
func (t *Target) Pin(_ context.Context, d dataset.Path, snap dataset.Snapshot, p dataset.Pin) error {
	return t.setPin(d, snap, &p)
}

// Unpin implements fsdrivers.Pinner.
func (t *Target) Unpin(_ context.Context, d dataset.Path, snap dataset.Snapshot) error {
	return t.setPin(d, snap, nil)
}

func (t *Target) setPin(d dataset.Path, snap dataset.Snapshot, p *dataset.Pin) error {
	return t.shelf.WithReplica(d, func(_ *standby.Into, r *standby.Replica) error {
		if r == nil || r.Dir == nil {
			return fmt.Errorf("pin %s of %s: %w", snap.Name, d, dataset.ErrNotFound)
		}
		return r.Facts.PinSnapshot(r.Dir, snap, string(snap.ID), p)
	})
}

// Holds implements fsdrivers.HoldLister.
func (t *Target) Holds(_ context.Context, d dataset.Path) (list []fsdrivers.Hold, err error) {
	err = t.shelf.WithReplica(d, func(_ *standby.Into, r *standby.Replica) error {
		if r != nil {
			list, err = r.Facts.ListHolds()
		}
		return err
	})
	return list, err
}

// Mark implements fsdrivers.Marker.
func (t *Target) Mark(_ context.Context, d dataset.Path) (m dataset.Mark, err error) {
	err = t.shelf.WithReplica(d, func(_ *standby.Into, r *standby.Replica) error {
		if r != nil {
			m, err = r.Facts.Mark()
		}
		return err
	})
	return m, err
}

// SwapMark implements fsdrivers.Marker. A dataset that was never received has no
// place for a mark: ErrNotFound.
func (t *Target) SwapMark(_ context.Context, d dataset.Path, old, next dataset.Mark) error {
	return t.shelf.WithReplica(d, func(_ *standby.Into, r *standby.Replica) error {
		if r == nil {
			return fmt.Errorf("mark of %s: nothing was received of it: %w", d, dataset.ErrNotFound)
		}
		return r.Facts.SwapMark(old, next)
	})
}

// Destroy implements fsdrivers.Destroyer.
func (t *Target) Destroy(ctx context.Context, d dataset.Path, snap dataset.Snapshot) error {
	return t.DestroyAll(ctx, d, []dataset.Snapshot{snap})[0]
}

// DestroyAll implements fsdrivers.ManyDestroyer.
func (t *Target) DestroyAll(ctx context.Context, d dataset.Path, list []dataset.Snapshot) []error {
	answers := make([]error, len(list))
	err := t.shelf.WithReplica(d, func(_ *standby.Into, r *standby.Replica) error {
		if r != nil && r.Dir != nil {
			answers = r.Facts.DestroyAll(ctx, r.Dir, list, func(snap dataset.Snapshot) string { return string(snap.ID) })
		}
		return nil
	})
	if err != nil {
		return facts.AnswerAll(list, err)
	}
	return answers
}

// Versions implements fsdrivers.Versioner. A replica into which a receive runs, or
// of which one was broken off, has none.
func (t *Target) Versions(ctx context.Context, ds []dataset.Path) ([]string, error) {
	in, err := t.shelf.Open()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	busy, err := receive.Worked(in)
	if err != nil {
		return nil, err
	}
	all := make([]string, len(ds))
	for i, d := range ds {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if v, err := t.version(in, d, busy); err == nil {
			all[i] = v
		}
	}
	return all, nil
}

func (t *Target) version(in *standby.Into, d dataset.Path, busy map[dataset.ID]bool) (string, error) {
	v := facts.NewVersion()
	r, err := t.shelf.OpenReplica(in, d)
	if err != nil || r == nil {
		return "", err
	}
	defer r.Close()
	if busy[r.ID] {
		return "", nil
	}
	v.Facts(in.Own, r.ID)
	fmt.Fprintf(&v.Text, "%s ", r.ID)
	if r.Dir != nil {
		v.Dir(r.Dir, "")
	}
	was, known := t.newest.Get(d)
	v.Snapshot(r.Dir, was, known)
	return v.String(), nil
}

// Probe implements fsdrivers.Prober: btrfs-progs, the kernel, and Into.
func (t *Target) Probe(ctx context.Context) []fsdrivers.Finding {
	found := append(progs.ProbeTool(ctx, t.opts.Binary), progs.ProbeKernel(progs.Sysfs)...)
	in, err := t.shelf.Open()
	if err != nil {
		return append(found, fsdrivers.Finding{
			Fatal: true, Object: t.opts.Into, What: err.Error(),
			Cure: "mount the Btrfs file system it is on, or set `into` to a path that can be made a subvolume",
		})
	}
	defer in.Close()
	found = append(found, progs.ProbeQuota(in.File, t.opts.Into)...)
	return append(found, t.probePlaces(in)...)
}

func (t *Target) probePlaces(in *standby.Into) []fsdrivers.Finding {
	var found []fsdrivers.Finding
	var st unix.Stat_t
	if err := unix.Fstat(int(in.Fd()), &st); err == nil && st.Mode&0o077 != 0 {
		found = append(found, fsdrivers.Finding{
			Object: t.opts.Into, What: fmt.Sprintf("its mode is %o: other users reach what was received, set-user-ID programs of the source too", st.Mode&0o777),
			Cure: "`chmod 0700 " + t.opts.Into + "`",
		})
	}
	if t.opts.Live == "" {
		return found
	}
	if err := t.ProbeLive(in); err != nil {
		found = append(found, fsdrivers.Finding{
			Fatal: true, Object: t.opts.Live, What: err.Error(),
			Cure: "make the directory, on the same file system as " + t.opts.Into,
		})
	}
	return found
}
