// Package source is the driver's side that works on live subvolumes: it finds them, takes,
// lists, keeps and destroys their snapshots, and sends them.
package source

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"antipode/fsdrivers"
	"antipode/fsdrivers/btrfs/facts"
	"antipode/fsdrivers/btrfs/naming"
	"antipode/fsdrivers/btrfs/progs"
	"antipode/fsdrivers/btrfs/subvol"
	"antipode/fsdrivers/dataset"
)

// Options of a Source.
type Options struct {
	Log    zerolog.Logger
	Binary string // btrfs; "" is looked up in PATH
	// Include names the snapshots of others that are listed beside ours; nil: none.
	Include func(name string) bool
}

// Source works on live subvolumes of this host. A dataset.Path is the absolute
// path of one; no symbolic link may be on the way. It implements
// fsdrivers.Source; its methods may be called concurrently.
type Source struct {
	log     zerolog.Logger
	binary  string
	include func(name string) bool

	newest facts.Newest

	mu   sync.Mutex // guards seen
	seen map[dataset.Path]bool
}

var (
	_ fsdrivers.ManyDestroyer = (*Source)(nil)
	_ fsdrivers.Versioner     = (*Source)(nil)
	_ fsdrivers.Scanner       = (*Source)(nil)
	_ fsdrivers.Rereader      = (*Source)(nil)
	_ fsdrivers.Comparer      = (*Source)(nil)
	_ fsdrivers.Source        = (*Source)(nil)
	_ fsdrivers.Foreigner     = (*Source)(nil)
)

// New makes a source. It touches nothing.
func New(o Options) *Source {
	return &Source{log: o.Log, binary: progs.Binary(o.Binary), include: o.Include, seen: make(map[dataset.Path]bool)}
}

// live is an open dataset. It remembers its own identity as text.
type live struct {
	*subvol.Handle
	id dataset.ID
}

// open opens a dataset and remembers it for Sweep.
func (s *Source) open(d dataset.Path) (*live, error) {
	if _, err := dataset.ParsePath(string(d)); err != nil || !filepath.IsAbs(string(d)) {
		return nil, fmt.Errorf("dataset %q: want the absolute path of a subvolume: %w", d, dataset.ErrNotDataset)
	}
	sub, err := subvol.Open(string(d))
	if err != nil {
		return nil, fmt.Errorf("dataset %s: %w", d, err)
	}
	if sub.UUID == uuid.Nil {
		sub.Close()
		return nil, fmt.Errorf("dataset %s has no UUID (the top level of a file system made before Linux 4.16); make a subvolume in it and replicate that: %w",
			d, dataset.ErrNotDataset)
	}
	s.mu.Lock()
	s.seen[d] = true
	s.mu.Unlock()
	return &live{Handle: sub, id: dataset.ID(sub.UUID.String())}, nil
}

// opened is a dataset with our files: dir is nil and facts are none if there
// are none yet.
type opened struct {
	*live
	dir   *os.File
	facts facts.Dir
}

func (o *opened) close() {
	o.facts.Close()
	if o.dir != nil {
		o.dir.Close()
	}
	o.Close()
}

// openAll opens a dataset and our files, with make also where they are missing.
func (s *Source) openAll(d dataset.Path, create bool) (_ *opened, err error) {
	l, err := s.open(d)
	if err != nil {
		return nil, err
	}
	o := &opened{live: l}
	defer func() {
		if err != nil {
			o.close()
		}
	}()
	if create {
		o.dir, err = subvol.MakeOwn(l.Handle)
	} else {
		o.dir, err = subvol.Own(l.Handle)
	}
	switch {
	case err != nil || o.dir == nil:
		return o, err
	case create:
		o.facts, err = facts.Make(o.dir, l.id)
	default:
		o.facts, err = facts.Open(o.dir, l.id)
	}
	return o, err
}

// Snapshots implements fsdrivers.Lister. Those that Antipode made are the
// read-only subvolumes in .antipode whose names begin with NamePrefix; those of
// others are looked for nowhere else.
func (s *Source) Snapshots(_ context.Context, d dataset.Path) ([]dataset.Snapshot, error) {
	list, err := s.list(d, func(name string) bool { return naming.IsOurs(name) || s.include != nil && s.include(name) })
	if err == nil {
		s.newest.Set(d, list)
	}
	return list, err
}

// Foreign implements fsdrivers.Foreigner.
func (s *Source) Foreign(_ context.Context, d dataset.Path) ([]dataset.Snapshot, error) {
	return s.list(d, func(name string) bool { return !naming.IsOurs(name) })
}

func (s *Source) list(d dataset.Path, pick func(name string) bool) ([]dataset.Snapshot, error) {
	o, err := s.openAll(d, false)
	if err != nil {
		return nil, err
	}
	defer o.close()
	list, err := o.snapshots(pick)
	if err != nil {
		return nil, fmt.Errorf("snapshots of %s: %w", d, err)
	}
	return list, nil
}

// snapshots lists what pick admits by name, and of others only what is a snapshot of
// this dataset.
func (o *opened) snapshots(pick func(name string) bool) ([]dataset.Snapshot, error) {
	if o.dir == nil {
		return nil, nil
	}
	entries, err := subvol.ReadOnlyIn(o.dir, func(name string, s *subvol.Handle) bool {
		return pick(name) && (naming.IsOurs(name) || s.ParentUUID == o.UUID && naming.Foreign(name) == nil)
	})
	if err != nil {
		return nil, err
	}
	points, err := o.facts.Points()
	if err != nil {
		return nil, err
	}
	holds, err := o.facts.Holds()
	if err != nil {
		return nil, err
	}
	pins, err := o.facts.Pins()
	if err != nil {
		return nil, err
	}
	list := make([]dataset.Snapshot, 0, len(entries))
	for _, e := range entries {
		p, known := points[e.Name]
		s := facts.Pinned(facts.Snapshot(e, p, known, holds[e.ID], false), pins, e.Name)
		s.Foreign = !naming.IsOurs(e.Name)
		list = append(list, s)
	}
	return list, nil
}

// Snapshot implements fsdrivers.Snapshotter. Btrfs has no atomic snapshot of
// several subvolumes: they are made one right after the other.
func (s *Source) Snapshot(ctx context.Context, name string, created time.Time, ds []dataset.Path) ([]dataset.Snapshot, error) {
	if err := naming.Own(name); err != nil {
		return nil, err
	}
	var all []dataset.Snapshot
	for _, d := range ds {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("snapshot %s of %s: %w", name, d, context.Cause(ctx))
		}
		made, err := s.snapshot(name, created.UTC(), d)
		if err != nil {
			return nil, fmt.Errorf("snapshot %s of %s: %w", name, d, err)
		}
		all = append(all, made)
	}
	return all, nil
}

func (s *Source) snapshot(name string, created time.Time, d dataset.Path) (dataset.Snapshot, error) {
	o, err := s.openAll(d, true)
	if err != nil {
		return dataset.Snapshot{}, err
	}
	defer o.close()
	there, err := subvol.OpenBelow(o.dir, name)
	if errors.Is(err, dataset.ErrNotFound) {
		if err := o.take(name, created); err != nil {
			return dataset.Snapshot{}, err
		}
		there, err = subvol.OpenBelow(o.dir, name)
	}
	if err != nil {
		return dataset.Snapshot{}, err
	}
	defer there.Close()
	if !there.IsReadOnly() || there.ParentUUID != o.UUID {
		return dataset.Snapshot{}, fmt.Errorf("%s is not a read-only snapshot of it: %w", there.Name(), dataset.ErrExists)
	}
	if err := subvol.Commit(o.dir); err != nil {
		return dataset.Snapshot{}, err
	}
	return o.find(dataset.Snapshot{Name: name, ID: there.Identity()})
}

// take writes the point first: what has a name has its times.
func (o *opened) take(name string, created time.Time) error {
	return o.facts.Locked(func() error {
		if err := o.facts.SetPoint(name, facts.Point{Name: name, Created: created, Retain: created}); err != nil {
			return err
		}
		if err := subvol.Snapshot(o.File, o.dir, name, true); err != nil && !errors.Is(err, unix.EEXIST) {
			return subvol.SpaceError(o.dir, err)
		}
		return nil
	})
}

// find returns the listed snapshot with that identity.
func (o *opened) find(want dataset.Snapshot) (dataset.Snapshot, error) {
	list, err := o.snapshots(func(string) bool { return true })
	if err != nil {
		return dataset.Snapshot{}, err
	}
	for _, s := range list {
		if s.ID == want.ID {
			return s, nil
		}
	}
	return dataset.Snapshot{}, fmt.Errorf("snapshot %s (%s) of %s: %w", want.Name, want.ID, o.Name(), dataset.ErrNotFound)
}

// Fence implements fsdrivers.Fencer. Snapshots, holds and marks stay writable:
// they are in a subvolume of their own.
func (s *Source) Fence(_ context.Context, d dataset.Path) error {
	l, err := s.open(d)
	if err != nil {
		return err
	}
	defer l.Close()
	if err := subvol.SetReadOnly(l.File); err != nil {
		return fmt.Errorf("fence %s: %w", d, err)
	}
	if err := subvol.Commit(l.File); err != nil {
		return fmt.Errorf("fence %s: %w", d, err)
	}
	return nil
}

// datasets returns the paths that were ever opened, sorted.
func (s *Source) datasets() []dataset.Path {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.seen))
}
