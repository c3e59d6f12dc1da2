package btrfs

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/uuid"

	"antipode/fsdrivers/dataset"
)

const (
	replicaFile = "replica"
	replicaCure = "restore the file from a backup; without it nobody can tell which dataset the directory belongs to"
)

// replica is an opened replica.
type replica struct {
	dataset.Dataset
	facts facts
	dir   *os.File // where its snapshots are published; nil while nothing was
}

func (r *replica) close() {
	r.facts.close()
	if r.dir != nil {
		r.dir.Close()
	}
}

// openReplica opens the replica that is bound to d; nil if there is none.
func (t *Target) openReplica(in *into, d dataset.Path) (*replica, error) {
	if _, err := dataset.ParsePath(string(d)); err != nil {
		return nil, fmt.Errorf("%w: %w", dataset.ErrRefused, err)
	}
	id, err := t.lookup(in, d)
	if id.IsZero() || err != nil {
		return nil, err
	}
	f, err := openFacts(in.own, id)
	if err != nil {
		return nil, err
	}
	r := &replica{Dataset: dataset.Dataset{Path: d, ID: id}, facts: f}
	r.dir, err = openPublished(in, d)
	if err != nil && !errors.Is(err, dataset.ErrNotFound) {
		r.close()
		return nil, err
	}
	return r, nil
}

// openPublished opens where the snapshots of d are published. It must be in
// Into's own subvolume: a path that leads through a snapshot or live data is
// led by what somebody sent.
func openPublished(in *into, d dataset.Path) (*os.File, error) {
	dir, err := openBelow(in.File, in.relative(d))
	if err != nil {
		return nil, err
	}
	same, err := sameSubvolume(in.File, dir)
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
func (t *Target) lookup(in *into, d dataset.Path) (dataset.ID, error) {
	t.mu.Lock()
	guess := t.paths[d]
	t.mu.Unlock()
	if !guess.IsZero() {
		bound, found, err := readBinding(in, string(guess))
		if err != nil || found && bound.Path == d {
			return bound.ID, err
		}
	}
	all, err := t.replicas(in)
	for _, r := range all {
		if r.Path == d {
			return r.ID, nil
		}
	}
	return "", err
}

// replicas reads all bindings, sorted by path, and remembers them. With a
// damaged one among them it answers the others and the error.
func (t *Target) replicas(in *into) ([]dataset.Dataset, error) {
	list, err := names(in.own)
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
		r, there, err := readBinding(in, name)
		if err != nil {
			damaged = append(damaged, err)
		}
		if there {
			found[r.Path] = r.ID
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b dataset.Dataset) int { return cmp.Compare(a.Path, b.Path) })
	t.mu.Lock()
	t.paths = found
	t.mu.Unlock()
	return all, errors.Join(damaged...)
}

func readBinding(in *into, id string) (dataset.Dataset, bool, error) {
	f, err := openFacts(in.own, dataset.ID(id))
	if err != nil || f.areNone() {
		return dataset.Dataset{}, false, err
	}
	defer f.close()
	r, found, err := readSidecar[dataset.Dataset](f.dir, replicaFile, kindReplica, replicaCure)
	if found && string(r.ID) != id {
		return dataset.Dataset{}, false, fmt.Errorf("%s belongs to dataset %s; %s", f.dir.Name(), r.ID, replicaCure)
	}
	return r, found, err
}

// bind opens the replica of d and makes it where it is missing. Errors:
// ErrDiverged if the path holds another dataset's points, ErrExists if the
// dataset is received under another path.
func (t *Target) bind(in *into, d dataset.Dataset) (*replica, error) {
	if err := t.mustTake(d.Path); err != nil {
		return nil, err
	}
	bound, found, err := readBinding(in, string(d.ID))
	if err != nil {
		return nil, err
	}
	if found && bound.Path != d.Path {
		return nil, fmt.Errorf("dataset %s is received as %s, and its source now calls it %s; rename it back there, or abandon the old replica: %w",
			d.ID, bound.Path, d.Path, dataset.ErrExists)
	}
	if !found {
		if err := t.makeReplica(in, d); err != nil {
			return nil, err
		}
	}
	r, err := t.openReplica(in, d.Path)
	if err != nil || r != nil && r.dir != nil {
		return r, err
	}
	if r != nil {
		r.close()
	}
	dir, err := makePlace(in, in.relative(d.Path))
	if err != nil {
		return nil, err
	}
	dir.Close()
	return t.openReplica(in, d.Path)
}

// makeReplica binds a path to a dataset, if the path is free.
func (t *Target) makeReplica(in *into, d dataset.Dataset) error {
	other, err := t.openReplica(in, d.Path)
	if err != nil {
		return err
	}
	if other != nil {
		defer other.close()
		if err := t.unbind(other, d); err != nil {
			return err
		}
	}
	f, err := makeFacts(in.own, d.ID)
	if err != nil {
		return err
	}
	defer f.close()
	t.mu.Lock()
	delete(t.paths, d.Path)
	t.mu.Unlock()
	return writeSidecar(f.dir, replicaFile, kindReplica, d)
}

// unbind frees the path of a replica without points. Its other sidecars stay.
func (t *Target) unbind(old *replica, d dataset.Dataset) error {
	points, err := old.published()
	if err != nil {
		return err
	}
	if len(points) > 0 {
		return fmt.Errorf("%s holds %d points of another dataset (%s), the newest %s; it was made anew on the source as %s. "+
			"Give the new one another path, or destroy the old points: %w",
			d.Path, len(points), old.ID, points[len(points)-1].name, d.ID, dataset.ErrDiverged)
	}
	return removeSidecars(old.facts.dir, replicaFile)
}

// makePlace makes a directory for snapshots below Into, in Into's own subvolume and
// nowhere else.
func makePlace(in *into, rel string) (*os.File, error) {
	here, err := openBelow(in.File, "")
	if err != nil {
		return nil, err
	}
	for part := range strings.SplitSeq(rel, "/") {
		if part == "" {
			continue
		}
		next, err := makeIn(here, part, 0o755) // Into itself is 0700 unless its operator opens it
		here.Close()
		if err != nil {
			return nil, err
		}
		here = next
		same, err := sameSubvolume(in.File, here)
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

// published lists the entries that are recovery points of r, oldest first.
// Anybody's read-only snapshot of one has its received UUID too: the one with
// the name in the point counts, else the oldest.
func (r *replica) published() ([]entry, error) {
	if r.dir == nil {
		return nil, nil
	}
	entries, err := readOnlyIn(r.dir, func(name string, s *subvolume) bool {
		return s.isReceived() && !strings.HasPrefix(name, ".")
	})
	if err != nil {
		return nil, err
	}
	points, err := r.facts.points()
	if err != nil {
		return nil, err
	}
	return withoutCopies(entries, points), nil
}

func withoutCopies(entries []entry, points map[string]point) []entry {
	chosen := make(map[dataset.ID]string, len(entries))
	for _, e := range entries {
		if _, taken := chosen[e.id]; !taken || points[string(e.id)].Name == e.name {
			chosen[e.id] = e.name
		}
	}
	return slices.DeleteFunc(entries, func(e entry) bool { return chosen[e.id] != e.name })
}

func (r *replica) snapshots() ([]dataset.Snapshot, error) {
	entries, err := r.published()
	if err != nil {
		return nil, err
	}
	points, err := r.facts.points()
	if err != nil {
		return nil, err
	}
	holds, err := r.facts.holds()
	if err != nil {
		return nil, err
	}
	pins, err := r.facts.pins()
	if err != nil {
		return nil, err
	}
	list := make([]dataset.Snapshot, 0, len(entries))
	for _, e := range entries {
		p, known := points[string(e.id)]
		list = append(list, pinned(e.snapshot(p, known, holds[e.id], true), pins, string(e.id)))
	}
	return list, nil
}

// find opens the published snapshot with that identity; nil if there is none.
func (r *replica) find(id dataset.ID) (*subvolume, error) {
	entries, err := r.published()
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.id == id {
			return openSnapshot(r.dir, dataset.Snapshot{Name: e.name, ID: id})
		}
	}
	return nil, nil
}
