package fake

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// checkpointKind is Checkpoint.Kind of a resumable Disk.
const checkpointKind = "fake"

// Target is the driver for what a Disk receives below one into.
type Target struct {
	side
	into string
	now  func() time.Time
}

var _ fsdrivers.Target = (*Target)(nil)

// key checks the path: a caller may have made it without ParsePath.
//
// Case: "no path reaches outside of the target".
func (t *Target) key(d dataset.Path) (replicaKey, error) {
	if _, err := dataset.ParsePath(string(d)); err != nil {
		return replicaKey{}, fmt.Errorf("%w: %w", err, dataset.ErrRefused)
	}
	return replicaKey{t.into, d}, nil
}

// replicaShelf is locate for a target.
func (t *Target) replicaShelf(d dataset.Path) (*shelf, error) {
	k, err := t.key(d)
	if err != nil {
		return nil, err
	}
	if r := t.disk.replicas[k]; r != nil {
		return r.shelf, nil
	}
	return nil, nil
}

// Find implements fsdrivers.Lister.
//
// Case: "a target finds its replicas under the source's names".
func (t *Target) Find(ctx context.Context, _ dataset.Path, _ bool) ([]dataset.Dataset, error) {
	leave, err := t.disk.enter(ctx)
	if err != nil {
		return nil, fmt.Errorf("find replicas in %s: %w", t.into, err)
	}
	defer leave()
	var all []dataset.Dataset
	for k, r := range t.disk.replicas {
		if k.into == t.into {
			all = append(all, r.Dataset)
		}
	}
	slices.SortFunc(all, func(a, b dataset.Dataset) int { return strings.Compare(string(a.Path), string(b.Path)) })
	return all, nil
}

// Pending implements fsdrivers.Receiver.
//
// Cases: "a cut stream leaves nothing published", "a resumed receive goes on
// from its checkpoint".
func (t *Target) Pending(ctx context.Context, d dataset.Path) (dataset.Checkpoint, error) {
	leave, err := t.disk.enter(ctx)
	if err != nil {
		return dataset.Checkpoint{}, fmt.Errorf("read checkpoint of %s: %w", d, err)
	}
	defer leave()
	k, err := t.key(d)
	if err != nil {
		return dataset.Checkpoint{}, fmt.Errorf("read checkpoint of %s: %w", d, err)
	}
	r := t.disk.replicas[k]
	if r == nil || r.partial == nil || !t.disk.resumable || r.partial.dec.off == 0 {
		return dataset.Checkpoint{}, nil
	}
	p := r.partial
	return dataset.Checkpoint{
		Kind: checkpointKind, Step: p.step, Done: p.dec.off,
		Opaque: binary.BigEndian.AppendUint32(nil, p.dec.crc),
	}, nil
}

// Abort implements fsdrivers.Receiver.
//
// Cases: "aborting nothing is success", "a running receive is not aborted".
func (t *Target) Abort(ctx context.Context, d dataset.Path) error {
	leave, err := t.disk.enter(ctx)
	if err != nil {
		return fmt.Errorf("abort receive of %s: %w", d, err)
	}
	defer leave()
	k, err := t.key(d)
	if err != nil {
		return fmt.Errorf("abort receive of %s: %w", d, err)
	}
	r := t.disk.replicas[k]
	if r == nil {
		return nil
	}
	if r.running() {
		return fmt.Errorf("abort receive of %s: it runs: %w", d, dataset.ErrBusy)
	}
	r.partial = nil
	t.disk.next()
	return nil
}

// Sweep implements fsdrivers.Sweeper.
//
// Cases: "a sweep removes what a crash left", "a sweep leaves a running receive
// alone".
func (t *Target) Sweep(ctx context.Context) error {
	leave, err := t.disk.enter(ctx)
	if err != nil {
		return fmt.Errorf("sweep %s: %w", t.into, err)
	}
	defer leave()
	for k, r := range t.disk.replicas {
		if k.into == t.into && r.partial != nil && !r.running() && !t.disk.resumable {
			r.partial = nil
		}
	}
	t.disk.next()
	return nil
}

// Activate implements fsdrivers.Activator.
//
// Cases: "an activated standby can be written", "activating again is success",
// "what was live is set aside", "a name that is taken is not overwritten", "an
// activated dataset has its base for the way back".
func (t *Target) Activate(ctx context.Context, d dataset.Path, s dataset.Snapshot, aside string) (fsdrivers.Activated, error) {
	leave, err := t.disk.enter(ctx)
	if err != nil {
		return fsdrivers.Activated{}, fmt.Errorf("activate %s: %w", d, err)
	}
	defer leave()
	a, err := t.activate(d, s, aside)
	if err != nil {
		return fsdrivers.Activated{}, fmt.Errorf("activate %s at %s: %w", d, s.Name, err)
	}
	return a, nil
}

func (t *Target) activate(d dataset.Path, s dataset.Snapshot, aside string) (fsdrivers.Activated, error) {
	k, err := t.key(d)
	if err != nil {
		return fsdrivers.Activated{}, err
	}
	if _, err := dataset.ParseName(aside); err != nil {
		return fsdrivers.Activated{}, fmt.Errorf("aside: %w: %w", err, dataset.ErrRefused)
	}
	point := t.disk.pointOf(k, s.ID)
	if point == nil {
		return fsdrivers.Activated{}, fmt.Errorf("snapshot %s: %w", s.ID, dataset.ErrNotFound)
	}
	if t.disk.replicas[k].live != nil {
		return fsdrivers.Activated{}, fmt.Errorf("it is live itself: %w", dataset.ErrExists)
	}
	dir := t.into + "/" + strings.TrimPrefix(string(d), "/")
	live, away := dataset.Path(dir+"/live"), dataset.Path(dir+"/"+aside)
	origin := fmt.Sprintf("%s %s", s.ID, aside)
	was := t.disk.live[live]
	switch {
	case was != nil && was.origin == origin:
		return fsdrivers.Activated{Live: string(live), SetAside: was.setAside}, nil
	case was != nil && t.disk.live[away] != nil:
		return fsdrivers.Activated{}, fmt.Errorf("set aside as %s: %w", away, dataset.ErrExists)
	}
	now := &volume{shelf: &shelf{}, Dataset: dataset.Dataset{Path: live, ID: t.disk.newID()}, files: point.files.clone(), origin: origin}
	now.put(&snapshot{Snapshot: point.Snapshot, files: point.files, holds: map[dataset.Tag]bool{}})
	if was != nil {
		was.Path, now.setAside = away, string(away)
		was.readonly = true
		t.disk.live[away] = was
	}
	t.disk.live[live] = now
	return fsdrivers.Activated{Live: string(live), SetAside: now.setAside}, nil
}

// pointOf finds a published snapshot; nil for none.
func (d *Disk) pointOf(k replicaKey, id dataset.ID) *snapshot {
	if r := d.replicas[k]; r != nil {
		return r.byID(id)
	}
	return nil
}
