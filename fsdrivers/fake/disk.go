package fake

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"antipode/fsdrivers/dataset"
)

// errCrashed ends what runs when the disk's host crashes.
var errCrashed = errors.New("the host crashed")

// Disk is one file system.
type Disk struct {
	name string

	mu        sync.Mutex // guards all below, and everything reachable from it
	size      int64
	ballast   int64 // bytes that Fill took
	used      int64 // bytes of all blobs; -1 when it has to be counted again
	txg       uint64
	live      map[dataset.Path]*volume
	dirs      map[dataset.Path]bool
	replicas  map[replicaKey]*replica
	resumable bool
	rate      int64         // bytes per second of each stream; 0 is no bound
	stuck     chan struct{} // nil, or closed by Unstick
	crash     chan struct{} // closed by Crash
}

// volume is a dataset: live ones on a source, activated ones on a target.
type volume struct {
	*shelf
	dataset.Dataset
	files    content
	frozen   content // what files were at the last snapshot; nil if they changed since
	readonly bool
	foreign  bool   // not ours: somebody's copy of a received snapshot
	origin   string // the activation that made it, "" for none
	setAside string // where that activation put what was there
	inPlace  bool   // a replica's that went live itself: the shelf is the replica's
}

// replicaKey names a replica: a disk may hold several targets.
type replicaKey struct {
	into string
	path dataset.Path
}

// replica is what a target holds of one dataset.
type replica struct {
	*shelf
	dataset.Dataset
	partial *partial // an unfinished receive, nil for none
	live    *volume  // in place, nil for a standby
}

// NewDisk makes an empty file system of size bytes. Identities are made from
// its name, so disks that exchange streams need different names.
func NewDisk(name string, size int64) *Disk {
	return &Disk{
		name: name, size: size, used: -1,
		live:     map[dataset.Path]*volume{},
		dirs:     map[dataset.Path]bool{},
		replicas: map[replicaKey]*replica{},
		crash:    make(chan struct{}),
	}
}

// Source returns a new driver value for the live datasets.
func (d *Disk) Source() *Source { return &Source{side: side{disk: d, locate: d.volumeShelf}} }

// SourceWith is Source that lists those snapshots of others too that include names.
func (d *Disk) SourceWith(include func(name string) bool) *Source {
	s := d.Source()
	s.include = include
	return s
}

// Target returns a new driver value bound to into, an absolute path. now is
// this host's clock.
func (d *Disk) Target(into string, now func() time.Time) *Target {
	t := &Target{into: strings.TrimSuffix(into, "/"), now: now}
	t.side = side{disk: d, locate: t.replicaShelf}
	return t
}

// next starts a transaction and returns its number: what Order and IDs come from.
func (d *Disk) next() uint64 {
	d.txg++
	d.used = -1
	return d.txg
}

// newID mints an identity that looks like a UUID. It takes no room.
func (d *Disk) newID() dataset.ID {
	d.txg++
	h := sha256.Sum256(fmt.Appendf(nil, "%s/%d", d.name, d.txg))
	return dataset.ID(fmt.Sprintf("%x-%x-%x-%x-%x", h[:4], h[4:6], h[6:8], h[8:10], h[10:16]))
}

// enter locks the disk for one short operation. Nothing is started on a disk
// on which something hangs.
func (d *Disk) enter(ctx context.Context) (leave func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	d.mu.Lock()
	if d.stuck != nil {
		d.mu.Unlock()
		return nil, fmt.Errorf("disk %s: %w", d.name, dataset.ErrStuck)
	}
	return d.mu.Unlock, nil
}

// free counts each blob once, whoever shares it.
func (d *Disk) free() int64 {
	if d.used < 0 {
		d.used = d.count()
	}
	return max(0, d.size-d.ballast-d.used)
}

func (d *Disk) count() int64 { return d.countBut(nil) }

// countBut leaves out what only those snapshots hold.
func (d *Disk) countBut(but map[*snapshot]bool) (sum int64) {
	seen := map[*blob]bool{}
	add := func(c content) {
		for _, b := range c {
			if !seen[b] {
				seen[b] = true
				sum += b.size
			}
		}
	}
	shelve := func(s *shelf) {
		for _, snap := range s.snaps {
			if !but[snap] {
				add(snap.files)
			}
		}
	}
	for _, v := range d.live {
		add(v.files)
		shelve(v.shelf)
	}
	for _, r := range d.replicas {
		shelve(r.shelf)
		if r.partial != nil {
			add(r.partial.dec.files)
		}
	}
	return sum
}

// reserve says whether n more bytes fit.
//
// Case: "a full file system is named, and the receive works once there is room".
func (d *Disk) reserve(n int64) error {
	if free := d.free(); free < n {
		return &dataset.SpaceError{Where: d.name, Free: free, Need: n}
	}
	return nil
}

// pace takes the time that n bytes of a stream take on this disk, and hangs
// while the disk does. crash is the disk's when the stream was opened.
func (d *Disk) pace(ctx context.Context, crash <-chan struct{}, n int) error {
	d.mu.Lock()
	rate, stuck := d.rate, d.stuck
	d.mu.Unlock()
	if stuck != nil {
		select {
		case <-stuck:
		case <-crash:
			return errCrashed
		case <-ctx.Done():
			return fmt.Errorf("disk %s: %w: %w", d.name, dataset.ErrStuck, context.Cause(ctx))
		}
	}
	if rate > 0 {
		timer := time.NewTimer(time.Duration(float64(n) / float64(rate) * float64(time.Second)))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-crash:
		case <-ctx.Done():
		}
	}
	select {
	case <-crash:
		return errCrashed
	default:
		return ctx.Err()
	}
}
