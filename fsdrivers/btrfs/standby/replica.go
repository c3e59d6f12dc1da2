package standby

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/uuid"

	"antipode/fsdrivers/btrfs/facts"
	"antipode/fsdrivers/btrfs/sidecar"
	"antipode/fsdrivers/btrfs/subvol"
	"antipode/fsdrivers/dataset"
)

const (
	// ReplicaFile is the sidecar that binds a dataset to its path.
	ReplicaFile = "replica"
	// ReplicaCure is what to do where that is damaged.
	ReplicaCure = "restore the file from a backup; without it nobody can tell which dataset the directory belongs to"
)

// Replica is an opened replica.
type Replica struct {
	dataset.Dataset
	Facts facts.Dir
	Dir   *os.File // where its snapshots are published; nil while nothing was
}

// Close closes its directories.
func (r *Replica) Close() {
	r.Facts.Close()
	if r.Dir != nil {
		r.Dir.Close()
	}
}

// OpenReplica opens the replica that is bound to d; nil if there is none.
func (s *Shelf) OpenReplica(in *Into, d dataset.Path) (*Replica, error) {
	if _, err := dataset.ParsePath(string(d)); err != nil {
		return nil, fmt.Errorf("%w: %w", dataset.ErrRefused, err)
	}
	id, err := s.lookup(in, d)
	if id.IsZero() || err != nil {
		return nil, err
	}
	f, err := facts.Open(in.Own, id)
	if err != nil {
		return nil, err
	}
	r := &Replica{Dataset: dataset.Dataset{Path: d, ID: id}, Facts: f}
	r.Dir, err = OpenPublished(in, d)
	if err != nil && !errors.Is(err, dataset.ErrNotFound) {
		r.Close()
		return nil, err
	}
	return r, nil
}

// OpenPublished opens where the snapshots of d are published. It must be in
// Into's own subvolume: a path that leads through a snapshot or live data is
// led by what somebody sent.
func OpenPublished(in *Into, d dataset.Path) (*os.File, error) {
	dir, err := subvol.OpenDirBelow(in.File, in.Relative(d))
	if err != nil {
		return nil, err
	}
	same, err := subvol.Same(in.File, dir)
	if err == nil && !same {
		err = fmt.Errorf("%s leads into another subvolume; the dataset needs another path on its source: %w", dir.Name(), dataset.ErrRefused)
	}
	if err != nil {
		dir.Close()
		return nil, err
	}
	return dir, nil
}

// lookup finds the identity that is bound to d: where it was last found if it is
// still there, else among all.
func (s *Shelf) lookup(in *Into, d dataset.Path) (dataset.ID, error) {
	s.mu.Lock()
	guess := s.paths[d]
	s.mu.Unlock()
	if !guess.IsZero() {
		bound, found, err := ReadBinding(in, string(guess))
		if err != nil || found && bound.Path == d {
			return bound.ID, err
		}
	}
	all, err := s.Replicas(in)
	for _, r := range all {
		if r.Path == d {
			return r.ID, nil
		}
	}
	return "", err
}

// Replicas reads all bindings, sorted by path, and remembers them. With a
// damaged one among them it answers the others and the error.
func (s *Shelf) Replicas(in *Into) ([]dataset.Dataset, error) {
	list, err := subvol.Names(in.Own)
	if err != nil {
		return nil, err
	}
	found := make(map[dataset.Path]dataset.ID)
	var all []dataset.Dataset
	var damaged []error
	for _, name := range list {
		if _, err := uuid.Parse(name); err != nil {
			continue
		}
		r, there, err := ReadBinding(in, name)
		if err != nil {
			damaged = append(damaged, err)
		}
		if there {
			found[r.Path] = r.ID
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b dataset.Dataset) int { return cmp.Compare(a.Path, b.Path) })
	s.mu.Lock()
	s.paths = found
	s.mu.Unlock()
	return all, errors.Join(damaged...)
}

// ReadBinding reads which path a dataset is received as; found is false where it is none.
func ReadBinding(in *Into, id string) (dataset.Dataset, bool, error) {
	f, err := facts.Open(in.Own, dataset.ID(id))
	if err != nil || f.AreNone() {
		return dataset.Dataset{}, false, err
	}
	defer f.Close()
	r, found, err := sidecar.Read[dataset.Dataset](f.Dir, ReplicaFile, sidecar.Replica, ReplicaCure)
	if found && string(r.ID) != id {
		return dataset.Dataset{}, false, fmt.Errorf("%s belongs to dataset %s; %s", f.Dir.Name(), r.ID, ReplicaCure)
	}
	return r, found, err
}

// Bind opens the replica of d and makes it where it is missing. Errors:
// ErrDiverged if the path holds another dataset's points, ErrExists if the
// dataset is received under another path.
func (s *Shelf) Bind(in *Into, d dataset.Dataset) (*Replica, error) {
	if err := s.MustTake(d.Path); err != nil {
		return nil, err
	}
	bound, found, err := ReadBinding(in, string(d.ID))
	if err != nil {
		return nil, err
	}
	if found && bound.Path != d.Path {
		return nil, fmt.Errorf("dataset %s is received as %s, and its source now calls it %s; rename it back there, or abandon the old replica: %w",
			d.ID, bound.Path, d.Path, dataset.ErrExists)
	}
	if !found {
		if err := s.makeReplica(in, d); err != nil {
			return nil, err
		}
	}
	r, err := s.OpenReplica(in, d.Path)
	if err != nil || r != nil && r.Dir != nil {
		return r, err
	}
	if r != nil {
		r.Close()
	}
	dir, err := MakePlace(in, in.Relative(d.Path))
	if err != nil {
		return nil, err
	}
	dir.Close()
	return s.OpenReplica(in, d.Path)
}

// makeReplica binds a path to a dataset, if the path is free.
func (s *Shelf) makeReplica(in *Into, d dataset.Dataset) error {
	other, err := s.OpenReplica(in, d.Path)
	if err != nil {
		return err
	}
	if other != nil {
		defer other.Close()
		if err := s.unbind(other, d); err != nil {
			return err
		}
	}
	f, err := facts.Make(in.Own, d.ID)
	if err != nil {
		return err
	}
	defer f.Close()
	s.mu.Lock()
	delete(s.paths, d.Path)
	s.mu.Unlock()
	return sidecar.Write(f.Dir, ReplicaFile, sidecar.Replica, d)
}

// unbind frees the path of a replica without points. Its other sidecars stay.
func (s *Shelf) unbind(old *Replica, d dataset.Dataset) error {
	points, err := old.Published()
	if err != nil {
		return err
	}
	if len(points) > 0 {
		return fmt.Errorf("%s holds %d points of another dataset (%s), the newest %s; it was made anew on the source as %s. "+
			"Give the new one another path, or destroy the old points: %w",
			d.Path, len(points), old.ID, points[len(points)-1].Name, d.ID, dataset.ErrDiverged)
	}
	return sidecar.Remove(old.Facts.Dir, ReplicaFile)
}

// MakePlace makes a directory for snapshots below Into, in Into's own subvolume and
// nowhere else.
func MakePlace(in *Into, rel string) (*os.File, error) {
	here, err := subvol.OpenDirBelow(in.File, "")
	if err != nil {
		return nil, err
	}
	for part := range strings.SplitSeq(rel, "/") {
		if part == "" {
			continue
		}
		next, err := subvol.MakeDir(here, part, 0o755) // Into itself is 0700 unless its operator opens it
		here.Close()
		if err != nil {
			return nil, err
		}
		here = next
		same, err := subvol.Same(in.File, here)
		if err == nil && !same {
			err = fmt.Errorf("%s is a snapshot or live data; the dataset needs another path on its source: %w", here.Name(), dataset.ErrRefused)
		}
		if err != nil {
			here.Close()
			return nil, err
		}
	}
	return here, nil
}

// Published lists the entries that are recovery points of r, oldest first.
// Anybody's read-only snapshot of one has its received UUID too: the one with
// the name in the point counts, else the oldest.
func (r *Replica) Published() ([]subvol.Entry, error) {
	if r.Dir == nil {
		return nil, nil
	}
	entries, err := subvol.ReadOnlyIn(r.Dir, func(name string, s *subvol.Handle) bool {
		return s.IsReceived() && !strings.HasPrefix(name, ".")
	})
	if err != nil {
		return nil, err
	}
	points, err := r.Facts.Points()
	if err != nil {
		return nil, err
	}
	return withoutCopies(entries, points), nil
}

func withoutCopies(entries []subvol.Entry, points map[string]facts.Point) []subvol.Entry {
	chosen := make(map[dataset.ID]string, len(entries))
	for _, e := range entries {
		if _, taken := chosen[e.ID]; !taken || points[string(e.ID)].Name == e.Name {
			chosen[e.ID] = e.Name
		}
	}
	return slices.DeleteFunc(entries, func(e subvol.Entry) bool { return chosen[e.ID] != e.Name })
}

// Snapshots lists its recovery points, oldest first, with all that is known of them.
func (r *Replica) Snapshots() ([]dataset.Snapshot, error) {
	entries, err := r.Published()
	if err != nil {
		return nil, err
	}
	points, err := r.Facts.Points()
	if err != nil {
		return nil, err
	}
	holds, err := r.Facts.Holds()
	if err != nil {
		return nil, err
	}
	pins, err := r.Facts.Pins()
	if err != nil {
		return nil, err
	}
	list := make([]dataset.Snapshot, 0, len(entries))
	for _, e := range entries {
		p, known := points[string(e.ID)]
		list = append(list, facts.Pinned(facts.Snapshot(e, p, known, holds[e.ID], true), pins, string(e.ID)))
	}
	return list, nil
}

// Find opens the published snapshot with that identity; nil if there is none.
func (r *Replica) Find(id dataset.ID) (*subvol.Handle, error) {
	entries, err := r.Published()
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.ID == id {
			return subvol.OpenSnapshot(r.Dir, dataset.Snapshot{Name: e.Name, ID: id})
		}
	}
	return nil, nil
}
