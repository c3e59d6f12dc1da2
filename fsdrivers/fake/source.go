package fake

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// Source is the driver for the live datasets of a Disk.
type Source struct {
	side
	include func(name string) bool // which of others' snapshots are listed; nil is none
}

var (
	_ fsdrivers.Source    = (*Source)(nil)
	_ fsdrivers.Foreigner = (*Source)(nil)
)

// Snapshots implements fsdrivers.Lister.
//
// Case: "what others made is listed where that is asked for".
func (s *Source) Snapshots(ctx context.Context, d dataset.Path) ([]dataset.Snapshot, error) {
	all, err := s.side.Snapshots(ctx, d)
	return slices.DeleteFunc(all, func(o dataset.Snapshot) bool { return o.Foreign && (s.include == nil || !s.include(o.Name)) }), err
}

// Foreign implements fsdrivers.Foreigner.
func (s *Source) Foreign(ctx context.Context, d dataset.Path) ([]dataset.Snapshot, error) {
	all, err := s.side.Snapshots(ctx, d)
	return slices.DeleteFunc(all, func(o dataset.Snapshot) bool { return !o.Foreign }), err
}

// volumeShelf is locate for a source.
func (d *Disk) volumeShelf(path dataset.Path) (*shelf, error) {
	v, err := d.volume(path)
	if err != nil {
		return nil, err
	}
	return v.shelf, nil
}

// volume finds a dataset of ours.
//
// Case: "what is no dataset is told from what is not there".
func (d *Disk) volume(path dataset.Path) (*volume, error) {
	switch v := d.live[path]; {
	case v != nil && !v.foreign:
		return v, nil
	case v != nil || d.exists(path):
		return nil, dataset.ErrNotDataset
	}
	return nil, dataset.ErrNotFound
}

// meant finds the dataset of a step; another one under its path is not meant.
func (d *Disk) meant(want dataset.Dataset) (*volume, error) {
	v, err := d.volume(want.Path)
	if err == nil && v.ID != want.ID {
		err = fmt.Errorf("it is now %s, planned was %s: %w", v.ID, want.ID, dataset.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	return v, nil
}

// exists reports whether there is a directory, at least, at path.
func (d *Disk) exists(path dataset.Path) bool {
	for p := range d.dirs {
		if path.Contains(p) {
			return true
		}
	}
	for p := range d.live {
		if path.Contains(p) {
			return true
		}
	}
	return false
}

// Find implements fsdrivers.Lister.
//
// Cases: "a deep search finds what is below, sorted", "a source does not find
// read-only datasets".
func (s *Source) Find(ctx context.Context, root dataset.Path, deep bool) ([]dataset.Dataset, error) {
	leave, err := s.disk.enter(ctx)
	if err != nil {
		return nil, fmt.Errorf("find datasets at %s: %w", root, err)
	}
	defer leave()
	var all []dataset.Dataset
	for path, v := range s.disk.live {
		if !v.readonly && (path == root || deep && root.Contains(path)) {
			all = append(all, v.Dataset)
		}
	}
	slices.SortFunc(all, func(a, b dataset.Dataset) int { return strings.Compare(string(a.Path), string(b.Path)) })
	if _, err := s.disk.volume(root); errors.Is(err, dataset.ErrNotFound) || err != nil && !deep {
		return nil, fmt.Errorf("find datasets at %s: %w", root, err)
	}
	return all, nil
}

// Snapshot implements fsdrivers.Snapshotter.
//
// Cases: "a snapshot that exists is returned as it is", "several datasets are
// snapshotted in the order given". All are made or none.
func (s *Source) Snapshot(ctx context.Context, name string, created time.Time, ds []dataset.Path) ([]dataset.Snapshot, error) {
	if _, err := dataset.ParseName(name); err != nil {
		return nil, fmt.Errorf("make snapshot: %w", err)
	}
	leave, err := s.disk.enter(ctx)
	if err != nil {
		return nil, fmt.Errorf("make snapshot %s: %w", name, err)
	}
	defer leave()
	var vs []*volume
	for _, path := range ds {
		v, err := s.disk.volume(path)
		if err != nil {
			return nil, fmt.Errorf("make snapshot %s of %s: %w", name, path, err)
		}
		vs = append(vs, v)
	}
	if err := s.disk.reserve(1); err != nil {
		return nil, fmt.Errorf("make snapshot %s: %w", name, err)
	}
	var all []dataset.Snapshot
	for _, v := range vs {
		if v.snaps[name] == nil {
			v.put(s.disk.snapshotOf(v, name, created.UTC()))
		}
		all = append(all, v.snaps[name].view())
	}
	return all, nil
}

// snapshotOf makes the snapshot of a live dataset.
func (d *Disk) snapshotOf(v *volume, name string, created time.Time) *snapshot {
	id := d.newID()
	if v.frozen == nil {
		v.frozen = v.files.clone()
	}
	return &snapshot{
		Snapshot: dataset.Snapshot{Name: name, ID: id, Order: d.txg, Created: created, Retain: created},
		files:    v.frozen,
	}
}

// Send implements fsdrivers.Sender. The context ends the stream too.
//
// Cases: "what is gone cannot be sent", "without its base nothing is sent",
// "a checkpoint that does not fit is recognised".
func (s *Source) Send(ctx context.Context, step dataset.Step, from dataset.Checkpoint) (io.ReadCloser, error) {
	leave, err := s.disk.enter(ctx)
	if err != nil {
		return nil, fmt.Errorf("send %s of %s: %w", step.To.Name, step.Dataset.Path, err)
	}
	defer leave()
	v, err := s.disk.meant(step.Dataset)
	if err != nil {
		return nil, fmt.Errorf("send %s of %s: %w", step.To.Name, step.Dataset.Path, err)
	}
	return s.disk.send(ctx, v.shelf, step, from)
}

// send opens a stream; the caller is in the disk.
func (d *Disk) send(ctx context.Context, from *shelf, step dataset.Step, at dataset.Checkpoint) (io.ReadCloser, error) {
	enc, to, err := from.encode(step)
	if err == nil {
		err = skip(enc, step, at)
	}
	if err != nil {
		return nil, fmt.Errorf("send %s of %s: %w", step.To.Name, step.Dataset.Path, err)
	}
	to.sends++
	if to.gone == nil {
		to.gone = make(chan struct{})
	}
	ctx, cancel := context.WithCancel(ctx)
	return &sending{ctx: ctx, cancel: cancel, disk: d, crash: d.crash, snap: to, enc: enc}, nil
}

// Estimate implements fsdrivers.Estimator.
//
// Case: "an estimate is a number of bytes".
func (s *Source) Estimate(ctx context.Context, step dataset.Step) (int64, error) {
	leave, err := s.disk.enter(ctx)
	if err != nil {
		return 0, fmt.Errorf("estimate %s of %s: %w", step.To.Name, step.Dataset.Path, err)
	}
	defer leave()
	v, err := s.disk.meant(step.Dataset)
	if err != nil {
		return 0, fmt.Errorf("estimate %s of %s: %w", step.To.Name, step.Dataset.Path, err)
	}
	enc, _, err := v.encode(step)
	if err != nil {
		return 0, fmt.Errorf("estimate %s of %s: %w", step.To.Name, step.Dataset.Path, err)
	}
	return enc.size(), nil
}

// encode opens the stream of a step.
func (s *shelf) encode(step dataset.Step) (*encoder, *snapshot, error) {
	to := s.byID(step.To.ID)
	if to == nil {
		return nil, nil, fmt.Errorf("snapshot %s: %w", step.To.ID, dataset.ErrNotFound)
	}
	if step.IsFull() {
		return newEncoder("", to.ID, nil, to.files), to, nil
	}
	base := s.byID(step.From.ID)
	if base == nil {
		base = s.bookmarks[step.From.ID]
	}
	if base == nil {
		return nil, nil, fmt.Errorf("base %s: %w", step.From.ID, dataset.ErrBaseMissing)
	}
	return newEncoder(base.ID, to.ID, base.files, to.files), to, nil
}

// skip goes to the byte after the checkpoint, and proves the prefix.
func skip(enc *encoder, step dataset.Step, from dataset.Checkpoint) error {
	if from.IsZero() {
		return nil
	}
	if from.Kind != checkpointKind || from.Step != step.ID() || len(from.Opaque) != crcBytes {
		return fmt.Errorf("checkpoint %s of step %s: %w", from.Kind, from.Step, dataset.ErrStaleCheckpoint)
	}
	for enc.off < from.Done && enc.next() != nil {
	}
	if enc.off != from.Done || enc.crc != binary.BigEndian.Uint32(from.Opaque) {
		return fmt.Errorf("checkpoint at byte %d: the stream differs: %w", from.Done, dataset.ErrStaleCheckpoint)
	}
	return nil
}

// Sweep implements fsdrivers.Sweeper; a source leaves nothing.
func (s *Source) Sweep(ctx context.Context) error {
	leave, err := s.disk.enter(ctx)
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	leave()
	return nil
}

// Fence implements fsdrivers.Fencer.
//
// Case: "a fenced dataset cannot be written".
func (s *Source) Fence(ctx context.Context, d dataset.Path) error {
	leave, err := s.disk.enter(ctx)
	if err != nil {
		return fmt.Errorf("fence %s: %w", d, err)
	}
	defer leave()
	v, err := s.disk.volume(d)
	if err != nil {
		return fmt.Errorf("fence %s: %w", d, err)
	}
	v.readonly = true
	return nil
}
