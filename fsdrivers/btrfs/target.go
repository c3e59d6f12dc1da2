package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"antipode/fsdrivers"
	"antipode/fsdrivers/btrfs/segment"
	"antipode/fsdrivers/dataset"
)

// LiveName is what an activated dataset is called inside its replica's directory.
const LiveName = "antipode_live"

const incomingDir = "incoming"

// TargetOptions of a Target.
type TargetOptions struct {
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
	opts  TargetOptions
	syncs syncs

	// starting is held while a step's directory comes into being, and while the
	// sweep looks whose one is: until its record is written it is nobody's.
	starting sync.Mutex

	newest newest

	preparing sync.Mutex // guards prepared
	prepared  bool       // Into was a subvolume with our places in it

	mu    sync.Mutex                  // guards paths and busy
	paths map[dataset.Path]dataset.ID // where a replica was last found; a guess, checked when used
	busy  map[string]bool             // identities and paths of replicas that a receive or a sweep owns
}

var _ fsdrivers.Target = (*Target)(nil)

// NewTarget makes sure that Into is a subvolume. Errors: ErrNotDataset (what is
// there, and what would be right), ErrNoSpace.
func NewTarget(o TargetOptions) (*Target, error) {
	if o.Now == nil {
		return nil, errors.New("btrfs target: no clock")
	}
	for _, path := range []string{o.Into, o.Live} {
		if path != "" && (!filepath.IsAbs(path) || filepath.Clean(path) != path) || path == "" && path == o.Into {
			return nil, fmt.Errorf("btrfs target: %q: want a clean absolute path", path)
		}
	}
	o.Binary = orBtrfs(o.Binary)
	if o.Segments == (segment.Limits{}) {
		o.Segments = defaultLimits()
	}
	t := &Target{opts: o, paths: make(map[dataset.Path]dataset.ID), busy: make(map[string]bool)}
	if err := t.ensurePrepared(); err != nil && !o.Patient {
		return nil, err
	}
	return t, nil
}

// ensurePrepared prepares once.
func (t *Target) ensurePrepared() error {
	t.preparing.Lock()
	defer t.preparing.Unlock()
	if t.prepared {
		return nil
	}
	if err := t.prepare(); err != nil {
		return fmt.Errorf("target %s: %w", t.opts.Into, err)
	}
	t.prepared = true
	return nil
}

// prepare makes Into and the places in it. It is the only one that makes them:
// later, an Into that is missing is a file system that is not mounted.
func (t *Target) prepare() error {
	sub, err := openSubvolume(t.opts.Into)
	if errors.Is(err, dataset.ErrNotFound) || errors.Is(err, dataset.ErrNotDataset) {
		if err = t.makeInto(err); err != nil {
			return err
		}
		sub, err = openSubvolume(t.opts.Into)
	}
	if err != nil {
		return err
	}
	defer sub.Close()
	incoming, err := makeBelow(sub.File, filepath.Join(dataset.Dir, incomingDir), 0o700)
	if err != nil {
		return err
	}
	if err := incoming.Close(); err != nil {
		return err
	}
	own, err := openBelow(sub.File, dataset.Dir)
	if err != nil {
		return err
	}
	defer own.Close()
	if err := mustBeOurs(own); err != nil {
		return err
	}
	return t.settle(own)
}

// makeInto makes the subvolume where nothing is, or an empty directory.
func (t *Target) makeInto(why error) error {
	parent, err := openDir(filepath.Dir(t.opts.Into))
	if err != nil {
		return fmt.Errorf("it cannot be made a subvolume: %w; make the directory it is in, or mount the file system", err)
	}
	defer parent.Close()
	if err := mustBtrfs(parent); err != nil {
		return fmt.Errorf("it cannot be made a subvolume: %w; mount the Btrfs file system, or name another place", err)
	}
	switch err := unix.Unlinkat(int(parent.Fd()), filepath.Base(t.opts.Into), unix.AT_REMOVEDIR); {
	case err == nil, errors.Is(err, unix.ENOENT):
	case errors.Is(err, unix.ENOTEMPTY), errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w; it is not empty (or mounted on): move what is in it away, or name a new path, which is then made", why)
	default:
		return fmt.Errorf("%w; it cannot be replaced: %w", why, err)
	}
	return makePrivate(parent, filepath.Base(t.opts.Into))
}

// into is the opened target.
type into struct {
	*subvolume
	own      *os.File // Into/.antipode
	incoming *os.File
	strip    dataset.Path // TargetOptions.Strip
}

func (i *into) close() {
	i.incoming.Close()
	i.own.Close()
	i.Close()
}

// open opens Into anew for each call: it may have been unmounted since.
func (t *Target) open() (_ *into, err error) {
	if err := t.ensurePrepared(); err != nil {
		return nil, err
	}
	sub, err := openSubvolume(t.opts.Into)
	if err != nil {
		return nil, fmt.Errorf("target %s: %w; is its file system mounted?", t.opts.Into, err)
	}
	defer func() {
		if err != nil {
			sub.Close()
			err = fmt.Errorf("target %s: %w", t.opts.Into, err)
		}
	}()
	own, err := openBelow(sub.File, dataset.Dir)
	if err != nil {
		return nil, err
	}
	if err = mustBeOurs(own); err == nil {
		var incoming *os.File
		if incoming, err = openBelow(own, incomingDir); err == nil {
			return &into{subvolume: sub, own: own, incoming: incoming, strip: t.opts.Strip}, nil
		}
	}
	own.Close()
	return nil, err
}

// claim makes the caller the only one that works on a replica: on its identity
// and, since a binding may be about to change, on its path.
func (t *Target) claim(d dataset.Dataset) (release func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.busy[string(d.ID)] || t.busy[string(d.Path)] {
		return nil, fmt.Errorf("a receive into the replica of %s runs: %w", d.Path, dataset.ErrBusy)
	}
	t.busy[string(d.ID)], t.busy[string(d.Path)] = true, true
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.busy, string(d.ID))
		delete(t.busy, string(d.Path))
	}, nil
}

// withReplica runs do on an opened replica; none is nil where d was never
// received.
func (t *Target) withReplica(d dataset.Path, do func(in *into, r *replica) error) error {
	in, err := t.open()
	if err != nil {
		return err
	}
	defer in.close()
	r, err := t.openReplica(in, d)
	if err != nil {
		return fmt.Errorf("replica of %s: %w", d, err)
	}
	if r != nil {
		defer r.close()
	}
	return do(in, r)
}

// Find implements fsdrivers.Lister: the replicas that Into holds.
func (t *Target) Find(context.Context, dataset.Path, bool) ([]dataset.Dataset, error) {
	in, err := t.open()
	if err != nil {
		return nil, err
	}
	defer in.close()
	return t.replicas(in)
}

// Snapshots implements fsdrivers.Lister: what is published.
func (t *Target) Snapshots(_ context.Context, d dataset.Path) (list []dataset.Snapshot, err error) {
	err = t.withReplica(d, func(_ *into, r *replica) error {
		if r == nil {
			return nil
		}
		list, err = r.snapshots()
		return err
	})
	if err == nil {
		t.newest.set(d, list)
	}
	return list, err
}

// Hold implements fsdrivers.Holder.
func (t *Target) Hold(_ context.Context, d dataset.Path, snap dataset.Snapshot, tag dataset.Tag) error {
	return t.withReplica(d, func(_ *into, r *replica) error {
		if r == nil || r.dir == nil {
			return fmt.Errorf("hold %s of %s: %w", snap.Name, d, dataset.ErrNotFound)
		}
		return holdSnapshot(r.dir, r.facts, snap, tag)
	})
}

// Release implements fsdrivers.Holder.
func (t *Target) Release(_ context.Context, d dataset.Path, tag dataset.Tag, keep ...dataset.ID) error {
	return t.withReplica(d, func(_ *into, r *replica) error {
		if r == nil {
			return nil
		}
		return r.facts.release(tag, keep)
	})
}

// Mark implements fsdrivers.Marker.
func (t *Target) Mark(_ context.Context, d dataset.Path) (m dataset.Mark, err error) {
	err = t.withReplica(d, func(_ *into, r *replica) error {
		if r != nil {
			m, err = r.facts.mark()
		}
		return err
	})
	return m, err
}

// SwapMark implements fsdrivers.Marker. A dataset that was never received has no
// place for a mark: ErrNotFound.
func (t *Target) SwapMark(_ context.Context, d dataset.Path, old, next dataset.Mark) error {
	return t.withReplica(d, func(_ *into, r *replica) error {
		if r == nil {
			return fmt.Errorf("mark of %s: nothing was received of it: %w", d, dataset.ErrNotFound)
		}
		return r.facts.swapMark(old, next)
	})
}

// Space implements fsdrivers.Space.
func (t *Target) Space(context.Context, dataset.Path) (fsdrivers.Usage, error) {
	in, err := t.open()
	if err != nil {
		return fsdrivers.Usage{}, err
	}
	defer in.close()
	return usageOf(in.File)
}
