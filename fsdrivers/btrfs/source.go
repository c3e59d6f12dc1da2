package btrfs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// NamePrefix starts the name of every snapshot that is Antipode's.
const NamePrefix = "antipode_"

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

	newest newest

	mu   sync.Mutex // guards seen
	seen map[dataset.Path]bool
}

var (
	_ fsdrivers.Source    = (*Source)(nil)
	_ fsdrivers.Foreigner = (*Source)(nil)
)

// NewSource makes a source. It touches nothing.
func NewSource(o Options) *Source {
	return &Source{log: o.Log, binary: orBtrfs(o.Binary), include: o.Include, seen: make(map[dataset.Path]bool)}
}

func orBtrfs(binary string) string {
	if binary == "" {
		return "btrfs"
	}
	return binary
}

// live is an open dataset. It remembers its own identity as text.
type live struct {
	*subvolume
	id dataset.ID
}

// open opens a dataset and remembers it for Sweep.
func (s *Source) open(d dataset.Path) (*live, error) {
	if _, err := dataset.ParsePath(string(d)); err != nil || !filepath.IsAbs(string(d)) {
		return nil, fmt.Errorf("dataset %q: want the absolute path of a subvolume: %w", d, dataset.ErrNotDataset)
	}
	sub, err := openSubvolume(string(d))
	if err != nil {
		return nil, fmt.Errorf("dataset %s: %w", d, err)
	}
	if sub.uuid == uuid.Nil {
		sub.Close()
		return nil, fmt.Errorf("dataset %s has no UUID (the top level of a file system made before Linux 4.16); make a subvolume in it and replicate that: %w",
			d, dataset.ErrNotDataset)
	}
	s.mu.Lock()
	s.seen[d] = true
	s.mu.Unlock()
	return &live{subvolume: sub, id: dataset.ID(sub.uuid.String())}, nil
}

// own opens the subvolume that holds our files; nil if there is none yet.
func (l *live) own() (*os.File, error) {
	own, err := openSubvolumeBelow(l.File, dataset.Dir)
	path := filepath.Join(l.Name(), dataset.Dir)
	switch {
	case errors.Is(err, dataset.ErrNotFound):
		return nil, nil
	case errors.Is(err, dataset.ErrNotDataset):
		return nil, fmt.Errorf("%s is in the way: Antipode keeps a subvolume of that name; move it, for example `mv %s %s.old`: %w",
			path, path, path, dataset.ErrNotDataset)
	case err != nil:
		return nil, err
	}
	if err := mustBeOurs(own.File); err != nil {
		own.Close()
		return nil, err
	}
	return own.File, nil
}

// mustBeOurs refuses a directory that somebody else could write into: any user
// may make a subvolume, and may own the directory that the dataset is.
func mustBeOurs(f *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fmt.Errorf("stat %s: %w", f.Name(), err)
	}
	if int(st.Uid) != os.Geteuid() || st.Mode&0o022 != 0 {
		return fmt.Errorf("%s belongs to user %d with mode %o, and only Antipode may write there; `chown root %s; chmod 0700 %s` if it is Antipode's: %w",
			f.Name(), st.Uid, st.Mode&0o777, f.Name(), f.Name(), dataset.ErrRefused)
	}
	return nil
}

// makeOwn is own, and makes it first where it is missing. The times of the
// dataset's root stay what they were.
func (l *live) makeOwn() (*os.File, error) {
	own, err := l.own()
	if own != nil || err != nil {
		return own, err
	}
	if err := makePrivate(l.File, dataset.Dir); err != nil {
		return nil, err
	}
	return l.own()
}

// makePrivate makes the subvolume name in dir, root's, 0700, durably.
func makePrivate(dir *os.File, name string) error {
	path := filepath.Join(dir.Name(), name)
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return fmt.Errorf("stat %s: %w", dir.Name(), err)
	}
	if err := createSubvolume(dir, name); err != nil && !errors.Is(err, unix.EEXIST) {
		return spaceError(dir, fmt.Errorf("make subvolume %s: %w", path, err))
	}
	made, err := openSubvolumeBelow(dir, name)
	if err != nil {
		return err
	}
	defer made.Close()
	if err := unix.Fchmod(int(made.Fd()), 0o700); err != nil {
		return fmt.Errorf("make subvolume %s: %w", path, err)
	}
	if err := unix.UtimesNanoAt(int(dir.Fd()), ".", []unix.Timespec{st.Atim, st.Mtim}, 0); err != nil {
		return fmt.Errorf("make subvolume %s: %w", path, err)
	}
	if err := commit(dir); err != nil {
		return fmt.Errorf("make subvolume %s: %w", path, err)
	}
	return nil
}

// opened is a dataset with our files: dir is nil and facts are none if there
// are none yet.
type opened struct {
	*live
	dir   *os.File
	facts facts
}

func (o *opened) close() {
	o.facts.close()
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
		o.dir, err = l.makeOwn()
	} else {
		o.dir, err = l.own()
	}
	switch {
	case err != nil || o.dir == nil:
		return o, err
	case create:
		o.facts, err = makeFacts(o.dir, l.id)
	default:
		o.facts, err = openFacts(o.dir, l.id)
	}
	return o, err
}

// Snapshots implements fsdrivers.Lister. Those that Antipode made are the
// read-only subvolumes in .antipode whose names begin with NamePrefix; those of
// others are looked for nowhere else.
func (s *Source) Snapshots(_ context.Context, d dataset.Path) ([]dataset.Snapshot, error) {
	list, err := s.list(d, func(name string) bool { return isOurs(name) || s.include != nil && s.include(name) })
	if err == nil {
		s.newest.set(d, list)
	}
	return list, err
}

// Foreign implements fsdrivers.Foreigner.
func (s *Source) Foreign(_ context.Context, d dataset.Path) ([]dataset.Snapshot, error) {
	return s.list(d, func(name string) bool { return !isOurs(name) })
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

func isOurs(name string) bool { return strings.HasPrefix(name, NamePrefix) }

// snapshots lists what pick admits by name, and of others only what is a snapshot of
// this dataset.
func (o *opened) snapshots(pick func(name string) bool) ([]dataset.Snapshot, error) {
	if o.dir == nil {
		return nil, nil
	}
	entries, err := readOnlyIn(o.dir, func(name string, s *subvolume) bool {
		return pick(name) && (isOurs(name) || s.parentUUID == o.uuid && foreignName(name) == nil)
	})
	if err != nil {
		return nil, err
	}
	points, err := o.facts.points()
	if err != nil {
		return nil, err
	}
	holds, err := o.facts.holds()
	if err != nil {
		return nil, err
	}
	pins, err := o.facts.pins()
	if err != nil {
		return nil, err
	}
	list := make([]dataset.Snapshot, 0, len(entries))
	for _, e := range entries {
		p, known := points[e.name]
		s := pinned(e.snapshot(p, known, holds[e.id], false), pins, e.name)
		s.Foreign = !isOurs(e.name)
		list = append(list, s)
	}
	return list, nil
}

// Snapshot implements fsdrivers.Snapshotter. Btrfs has no atomic snapshot of
// several subvolumes: they are made one right after the other.
func (s *Source) Snapshot(ctx context.Context, name string, created time.Time, ds []dataset.Path) ([]dataset.Snapshot, error) {
	if err := ownName(name); err != nil {
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

// ownName checks the name of a snapshot that is ours. LiveName is no snapshot.
func ownName(name string) error {
	if _, err := dataset.ParseName(name); err != nil {
		return fmt.Errorf("%w: %w", dataset.ErrRefused, err)
	}
	if !strings.HasPrefix(name, NamePrefix) || name == LiveName {
		return fmt.Errorf("snapshot name %q: want one that begins with %q and is not %q: %w", name, NamePrefix, LiveName, dataset.ErrRefused)
	}
	return nil
}

// foreignName checks the name of a snapshot that others made.
func foreignName(name string) error {
	if _, err := dataset.ParseForeignName(name); err != nil {
		return fmt.Errorf("%w: %w", dataset.ErrRefused, err)
	}
	return nil
}

// listedName checks the name of a snapshot that Snapshots, or Foreign, has listed.
func listedName(s dataset.Snapshot) error {
	if s.Foreign {
		return foreignName(s.Name)
	}
	return ownName(s.Name)
}

func (s *Source) snapshot(name string, created time.Time, d dataset.Path) (dataset.Snapshot, error) {
	o, err := s.openAll(d, true)
	if err != nil {
		return dataset.Snapshot{}, err
	}
	defer o.close()
	there, err := openSubvolumeBelow(o.dir, name)
	if errors.Is(err, dataset.ErrNotFound) {
		if err := o.take(name, created); err != nil {
			return dataset.Snapshot{}, err
		}
		there, err = openSubvolumeBelow(o.dir, name)
	}
	if err != nil {
		return dataset.Snapshot{}, err
	}
	defer there.Close()
	if !there.isReadOnly() || there.parentUUID != o.uuid {
		return dataset.Snapshot{}, fmt.Errorf("%s is not a read-only snapshot of it: %w", there.Name(), dataset.ErrExists)
	}
	if err := commit(o.dir); err != nil {
		return dataset.Snapshot{}, err
	}
	return o.find(dataset.Snapshot{Name: name, ID: there.identity()})
}

// take writes the point first: what has a name has its times.
func (o *opened) take(name string, created time.Time) error {
	return o.facts.locked(func() error {
		if err := o.facts.setPoint(name, point{Name: name, Created: created, Retain: created}); err != nil {
			return err
		}
		if err := createSnapshot(o.File, o.dir, name, true); err != nil && !errors.Is(err, unix.EEXIST) {
			return spaceError(o.dir, err)
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
	if err := setReadOnly(l.File); err != nil {
		return fmt.Errorf("fence %s: %w", d, err)
	}
	if err := commit(l.File); err != nil {
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
