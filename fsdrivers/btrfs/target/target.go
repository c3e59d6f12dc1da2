// Package target is the driver's side that receives into one subvolume, `into`: what it
// holds, which points are held, pinned or go, where replicas are moved to, and what is
// sent on. Receiving and activating are rooms below it.
package target

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/rs/zerolog"

	"antipode/fsdrivers"
	"antipode/fsdrivers/btrfs/activate"
	"antipode/fsdrivers/btrfs/facts"
	"antipode/fsdrivers/btrfs/progs"
	"antipode/fsdrivers/btrfs/receive"
	"antipode/fsdrivers/btrfs/segment"
	"antipode/fsdrivers/btrfs/standby"
	"antipode/fsdrivers/btrfs/subvol"
	"antipode/fsdrivers/dataset"
)

// Options of a Target.
type Options struct {
	// Into is the absolute path of a subvolume of its own. It is made if it, or
	// all but an empty directory, is missing; the directory it is in must exist.
	Into string
	// Live is a directory below which activated datasets appear under the path
	// that they have on their source; "" is inside Into. It must be on the
	// same file system.
	Live string
	// Strip is left out in front of the source's paths; nothing that is not below it
	// is taken in. "" leaves out nothing. It cannot be changed while there are replicas.
	Strip dataset.Path
	// Now is the clock that received points are stamped with.
	Now func() time.Time
	Log zerolog.Logger
	// Patient lets NewTarget succeed with an Into that cannot be used yet, such
	// as one whose disk is not mounted: every call looks again until it can.
	Patient bool
	// Binary is btrfs; "" is looked up in PATH.
	Binary string
	// Segments says when a segment of a stream ends; zero is segment.Defaults.
	Segments segment.Limits
}

// Target receives into one subvolume. A dataset.Path is what the source calls
// the dataset; none reaches outside of Into (and Live). It implements
// fsdrivers.Target; its methods may be called concurrently.
type Target struct {
	*receive.Receiver
	*activate.Activator

	opts   Options
	shelf  *standby.Shelf
	newest facts.Newest
}

var (
	_ fsdrivers.ManyDestroyer = (*Target)(nil)
	_ fsdrivers.Versioner     = (*Target)(nil)
	_ fsdrivers.Mover         = (*Target)(nil)
	_ fsdrivers.Disowner      = (*Target)(nil)
	_ fsdrivers.Forwarder     = (*Target)(nil)
	_ fsdrivers.Target        = (*Target)(nil)
	_ fsdrivers.Coster        = (*Target)(nil)
)

// New makes sure that Into is a subvolume. Errors: ErrNotDataset (what is
// there, and what would be right), ErrNoSpace.
func New(o Options) (*Target, error) {
	if o.Now == nil {
		return nil, errors.New("btrfs target: no clock")
	}
	for _, path := range []string{o.Into, o.Live} {
		if path != "" && (!filepath.IsAbs(path) || filepath.Clean(path) != path) || path == "" && path == o.Into {
			return nil, fmt.Errorf("btrfs target: %q: want a clean absolute path", path)
		}
	}
	o.Binary = progs.Binary(o.Binary)
	if o.Segments == (segment.Limits{}) {
		o.Segments = defaultLimits()
	}
	s := standby.New(o.Into, o.Strip)
	t := &Target{
		Receiver:  receive.New(s, o.Binary, o.Segments, o.Now, o.Log),
		Activator: activate.New(s, o.Live),
		opts:      o, shelf: s,
	}
	if err := s.EnsurePrepared(); err != nil && !o.Patient {
		return nil, err
	}
	return t, nil
}

// Find implements fsdrivers.Lister: the replicas that Into holds.
func (t *Target) Find(context.Context, dataset.Path, bool) ([]dataset.Dataset, error) {
	in, err := t.shelf.Open()
	if err != nil {
		return nil, err
	}
	defer in.Close()
	return t.shelf.Replicas(in)
}

// Snapshots implements fsdrivers.Lister: what is published.
func (t *Target) Snapshots(_ context.Context, d dataset.Path) (list []dataset.Snapshot, err error) {
	err = t.shelf.WithReplica(d, func(_ *standby.Into, r *standby.Replica) error {
		if r == nil {
			return nil
		}
		list, err = r.Snapshots()
		return err
	})
	if err == nil {
		t.newest.Set(d, list)
	}
	return list, err
}

// Space implements fsdrivers.Space.
func (t *Target) Space(context.Context, dataset.Path) (fsdrivers.Usage, error) {
	in, err := t.shelf.Open()
	if err != nil {
		return fsdrivers.Usage{}, err
	}
	defer in.Close()
	return subvol.UsageOf(in.File)
}
