package target

import (
	"context"
	"sync"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/listing"
)

// shelf keeps what Find read of all lineages at once, so that a round over many
// replicas in which nothing happened costs one process.
type shelf struct {
	mu      sync.Mutex // guards what follows
	byPath  map[dataset.Path][]*lineage
	read    time.Time
	at      int                  // the number of changes when it was read
	count   int                  // changes so far
	changes map[dataset.Path]int // the number of the last change; "" is one of all
}

// clock is that of this host; without one nothing is kept, and all lists are of
// one instant.
func (t *Target) clock() time.Time {
	if t.opts.Clock == nil {
		return time.Time{}
	}
	return t.opts.Clock()
}

// readAll reads all lineages, and keeps them.
func (t *Target) readAll(ctx context.Context) ([]*lineage, error) {
	s := &t.shelf
	s.mu.Lock()
	began := s.count
	s.mu.Unlock()
	read := t.clock()
	all, err := t.lineages(ctx, "")
	if err != nil || t.opts.Clock == nil {
		return all, err
	}
	byPath := make(map[dataset.Path][]*lineage)
	for _, l := range all {
		l.seen = read
		byPath[l.path] = append(byPath[l.path], l)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byPath, s.read, s.at = byPath, read, began
	return all, nil
}

// known answers a replica from what was read of all, if that was just now and the
// replica was not changed since.
func (t *Target) known(ctx context.Context, d dataset.Path) (*replica, error) {
	home, err := t.targetName(d)
	if err != nil {
		return nil, err
	}
	s := &t.shelf
	s.mu.Lock()
	age := t.clock().Sub(s.read)
	fresh := s.byPath != nil && age >= 0 && age <= listing.Believed && s.changes[d] <= s.at && s.changes[""] <= s.at
	all := s.byPath[d]
	s.mu.Unlock()
	if fresh {
		return newReplica(d, home, all), nil
	}
	return t.replica(ctx, d)
}

// changed says that a replica is being changed; the answer, called after, that it
// was. Nothing that was read in between is kept. The path "" stands for all.
func (t *Target) changed(d dataset.Path) (done func()) {
	note := func() {
		s := &t.shelf
		s.mu.Lock()
		defer s.mu.Unlock()
		s.count++
		s.changes[d] = s.count
		t.lists.Drop(d)
	}
	note()
	return note
}

// guard vouches for the list of the lineage, if its facts were read for many.
func (l *lineage) guard() listing.Guard {
	if l.seen.IsZero() {
		return listing.Guard{}
	}
	return listing.GuardOf(l.facts, l.name, l.seen)
}
