package standby

import (
	"context"
	"slices"
	"sync"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/listing"
)

// shelf keeps what was read of lineages, so that a round over many replicas in which
// nothing happened costs one process, and one that takes long one more for each.
type shelf struct {
	mu      sync.Mutex               // guards what follows
	all     reading                  // by Find; its lineages are in byPath
	byPath  map[dataset.Path]reading // one that is not there has no lineage
	count   int                      // changes so far
	changes map[dataset.Path]int     // the number of the last change; "" is one of all
}

// reading is what was read of the lineages of one replica.
type reading struct {
	lineages    []*Lineage
	read, until time.Time // when, and until when it is believed
	at          int       // the number of changes then
}

// take finds what is still believed of a replica.
func (s *shelf) take(d dataset.Path, now time.Time) ([]*Lineage, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, ok := s.byPath[d]
	if !ok {
		r = s.all
	}
	ok = !r.read.IsZero() && !now.Before(r.read) && !now.After(r.until) && s.changes[d] <= r.at && s.changes[""] <= r.at
	return r.lineages, ok
}

// begin starts a reading.
func (s *shelf) begin(now time.Time) reading {
	s.mu.Lock()
	defer s.mu.Unlock()
	return reading{read: now, at: s.count}
}

// now is what the clock of this host says; without one nothing is kept, and all lists are of
// one instant.
func (i *Into) now() time.Time {
	if i.clock == nil {
		return time.Time{}
	}
	return i.clock()
}

// ReadAll reads all lineages, and keeps them.
func (i *Into) ReadAll(ctx context.Context) ([]*Lineage, error) {
	s := &i.shelf
	r := s.begin(i.now())
	all, err := i.Lineages(ctx, "")
	if err != nil || i.clock == nil {
		return all, err
	}
	r.until = listing.BelievedUntil(r.read, i.now(), listing.Believed)
	byPath := make(map[dataset.Path]reading)
	for _, l := range all {
		l.seen = r.read
		of := r
		of.lineages = append(byPath[l.Path].lineages, l)
		byPath[l.Path] = of
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byPath, s.all = byPath, r
	return all, nil
}

// Known answers a replica from what was read just now, if it was not changed since.
func (i *Into) Known(ctx context.Context, d dataset.Path) (*Replica, error) {
	if i.clock == nil {
		return i.Replica(ctx, d)
	}
	home, err := i.Home(d)
	if err != nil {
		return nil, err
	}
	s := &i.shelf
	r := s.begin(i.now())
	if known, ok := s.take(d, r.read); ok {
		return NewReplica(d, home, known), nil
	}
	replica, err := i.Replica(ctx, d)
	if err != nil || len(replica.Lineages) == 0 { // peers may ask for any name
		return replica, err
	}
	r.lineages, r.until = slices.Clone(replica.Lineages), listing.BelievedUntil(r.read, i.now(), listing.BelievedAlone)
	for _, l := range r.lineages {
		l.seen = r.read
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byPath[d] = r
	return replica, nil
}

// Changed says that a replica is being changed; the answer, called after, that it
// was. Nothing that was read in between is kept. The path "" stands for all.
func (i *Into) Changed(d dataset.Path) (done func()) {
	note := func() {
		s := &i.shelf
		s.mu.Lock()
		defer s.mu.Unlock()
		s.count++
		s.changes[d] = s.count
		i.lists.Drop(d)
	}
	note()
	return note
}

// guard vouches for the list of the lineage, if it is known when its facts were read.
func (l *Lineage) guard() listing.Guard {
	if l.seen.IsZero() {
		return listing.Guard{}
	}
	return listing.GuardOf(l.Facts, l.Name, l.seen)
}
