package fake

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"antipode/fsdrivers/dataset"
)

// What people, programs and fate do to a disk, past any driver.

// Make makes a live dataset, or returns the one that is there.
func (d *Disk) Make(path dataset.Path) dataset.Dataset {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v := d.live[path]; v != nil {
		return v.Dataset
	}
	v := &volume{shelf: &shelf{}, Dataset: dataset.Dataset{Path: path, ID: d.newID()}, files: content{}}
	d.live[path] = v
	return v.Dataset
}

// MakeDir makes a directory, which is no dataset.
func (d *Disk) MakeDir(path dataset.Path) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.dirs[path] = true
}

// Write writes a file of a live dataset. Errors: ErrNotFound, ErrRefused where
// the dataset is read-only, ErrNoSpace.
func (d *Disk) Write(path dataset.Path, file string, data []byte) error {
	return d.change(path, file, &blob{size: int64(len(data)), data: append([]byte{}, data...)})
}

// Delete removes a file of a live dataset; one that is gone is success.
func (d *Disk) Delete(path dataset.Path, file string) error { return d.change(path, file, nil) }

// Grow adds a file of that many bytes to a live dataset. They are always the
// same for the same history of the disk, and nobody holds them in memory.
func (d *Disk) Grow(path dataset.Path, bytes int64) error {
	d.mu.Lock()
	seed := mix(d.next()) | 1
	file := fmt.Sprintf("grown-%d", d.txg)
	d.mu.Unlock()
	return d.change(path, file, &blob{size: bytes, seed: seed})
}

func (d *Disk) change(path dataset.Path, file string, b *blob) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.live[path]
	if v == nil {
		return fmt.Errorf("write %s on %s: dataset %s: %w", file, d.name, path, dataset.ErrNotFound)
	}
	// Case: "a fenced dataset cannot be written".
	if v.readonly {
		return fmt.Errorf("write %s on %s: dataset %s is read-only: %w", file, d.name, path, dataset.ErrRefused)
	}
	v.frozen = nil
	if b == nil {
		delete(v.files, file)
		d.next()
		return nil
	}
	if err := d.reserve(b.size); err != nil {
		return err
	}
	v.files[file] = b
	d.next()
	return nil
}

// Files returns the content of a live dataset; Activated.Live is a path too.
func (d *Disk) Files(path dataset.Path) (map[string][]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v := d.live[path]; v != nil {
		return v.files.files(), nil
	}
	return nil, fmt.Errorf("read %s on %s: %w", path, d.name, dataset.ErrNotFound)
}

// SnapshotFiles returns the content of a snapshot: of a live dataset where
// into is "", of a replica otherwise.
func (d *Disk) SnapshotFiles(into string, path dataset.Path, name string) (map[string][]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.shelfOf(into, path); s != nil && s.snaps[name] != nil {
		return s.snaps[name].files.files(), nil
	}
	return nil, fmt.Errorf("read snapshot %s of %s on %s: %w", name, path, d.name, dataset.ErrNotFound)
}

// Carry puts all snapshots of a live dataset of another disk into a replica, as
// somebody does who carries the first copy there. The content is shared.
func (d *Disk) Carry(from *Disk, path dataset.Path, into string, received time.Time) error {
	from.mu.Lock()
	v := from.live[path]
	if v == nil {
		from.mu.Unlock()
		return fmt.Errorf("carry %s from %s: %w", path, from.name, dataset.ErrNotFound)
	}
	snaps := slices.Collect(maps.Values(v.snaps))
	id := v.Dataset
	from.mu.Unlock()
	slices.SortFunc(snaps, func(a, b *snapshot) int { return cmp.Compare(a.Order, b.Order) })
	d.mu.Lock()
	defer d.mu.Unlock()
	r := &replica{shelf: &shelf{}, Dataset: id}
	for _, s := range snaps {
		c := &snapshot{Snapshot: s.Snapshot, files: s.files}
		c.Order, c.Received = d.next(), received.UTC()
		r.put(c)
	}
	d.replicas[replicaKey{strings.TrimSuffix(into, "/"), path}] = r
	return nil
}

// Remove destroys a live dataset with its snapshots, as a person would. Sends
// that run break.
func (d *Disk) Remove(path dataset.Path) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if v := d.live[path]; v != nil {
		for name := range v.snaps {
			v.remove(name)
		}
	}
	delete(d.live, path)
	d.next()
}

// Rename renames a live dataset, as a person would.
func (d *Disk) Rename(path, to dataset.Path) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.live[path]
	delete(d.live, path)
	v.Path = to
	d.live[to] = v
	d.next()
}

// Unfence makes a dataset writable again, as a person would.
func (d *Disk) Unfence(path dataset.Path) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.live[path].readonly = false
	d.next()
}

// Rollback takes a live dataset back to its newest snapshot, as a person would.
func (d *Disk) Rollback(path dataset.Path) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.live[path]
	v.files, v.frozen = v.newest().files.clone(), v.newest().files
	d.next()
}

// RemoveSnapshot destroys a snapshot as a person would, past every hold; into
// is as in SnapshotFiles.
func (d *Disk) RemoveSnapshot(into string, path dataset.Path, name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if s := d.shelfOf(into, path); s != nil {
		s.remove(name)
	}
	d.next()
}

// ForeignCopy makes what somebody's own snapshot of a received snapshot is on
// Btrfs: a read-only duplicate at path to, which is not ours.
func (d *Disk) ForeignCopy(into string, path dataset.Path, name string, to dataset.Path) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.shelfOf(into, path)
	if s == nil || s.snaps[name] == nil {
		return fmt.Errorf("copy snapshot %s of %s on %s: %w", name, path, d.name, dataset.ErrNotFound)
	}
	d.live[to] = &volume{
		shelf: &shelf{}, Dataset: dataset.Dataset{Path: to, ID: d.newID()},
		files: s.snaps[name].files, readonly: true, foreign: true,
	}
	return nil
}

// MakeForeign makes a snapshot of a live dataset as another tool would.
func (d *Disk) MakeForeign(path dataset.Path, name string, created time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v := d.live[path]
	s := d.snapshotOf(v, name, created.UTC())
	s.Foreign = true
	v.put(s)
}

// Datasets lists the paths of all live datasets, activated and foreign ones
// too, in no order.
func (d *Disk) Datasets() []dataset.Path {
	d.mu.Lock()
	defer d.mu.Unlock()
	paths := make([]dataset.Path, 0, len(d.live))
	for p := range d.live {
		paths = append(paths, p)
	}
	return paths
}

// Fill takes all the room that is left, until Drain.
func (d *Disk) Fill() { d.FillBut(0) }

// FillBut takes all the room that is left but that many bytes, until Drain.
func (d *Disk) FillBut(bytes int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ballast += max(0, d.free()-bytes)
}

// Drain gives back what Fill took.
func (d *Disk) Drain() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ballast = 0
}

// SetRate slows each stream to that many bytes per second; 0 is no bound.
func (d *Disk) SetRate(bytesPerSecond int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rate = bytesPerSecond
}

// Stick makes the disk hang: streams stop, and what is started answers
// ErrStuck. A stream whose context ends meanwhile answers ErrStuck too.
func (d *Disk) Stick() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stuck == nil {
		d.stuck = make(chan struct{})
	}
}

// Unstick ends Stick.
func (d *Disk) Unstick() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stuck != nil {
		close(d.stuck)
		d.stuck = nil
	}
}

// Resumable makes targets keep what a broken receive took in, to go on from.
// Off, Pending is always zero and a broken receive leaves nothing.
func (d *Disk) Resumable(on bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.resumable = on
}

// Crash ends every stream that runs, at whatever point it is and without any
// cleaning up, as kill -9 of the daemon and its children does.
func (d *Disk) Crash() {
	d.mu.Lock()
	defer d.mu.Unlock()
	close(d.crash)
	d.crash = make(chan struct{})
	for _, r := range d.replicas {
		if r.partial != nil { // a copy: what still runs keeps the old one
			dec := *r.partial.dec
			r.partial = &partial{step: r.partial.step, dec: &dec}
		}
	}
	for _, v := range d.live {
		for _, s := range v.snaps {
			s.sends = 0
		}
	}
}

// Litter counts the unfinished receives that lie about in into.
func (d *Disk) Litter(into string) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for k, r := range d.replicas {
		if k.into == strings.TrimSuffix(into, "/") && r.partial != nil {
			n++
		}
	}
	return n
}

// shelfOf finds the snapshots of a live dataset (into "") or a replica; nil for
// none.
func (d *Disk) shelfOf(into string, path dataset.Path) *shelf {
	if into == "" {
		if v := d.live[path]; v != nil {
			return v.shelf
		}
		return nil
	}
	if r := d.replicas[replicaKey{strings.TrimSuffix(into, "/"), path}]; r != nil {
		return r.shelf
	}
	return nil
}
