package standby

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
	byPath  map[dataset.Path][]*Lineage
	read    time.Time
	until   time.Time            // when it is not believed any more
	at      int                  // the number of changes when it was read
	count   int                  // changes so far
	changes map[dataset.Path]int // the number of the last change; "" is one of all
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
	s.mu.Lock()
	began := s.count
	s.mu.Unlock()
	read := i.now()
	all, err := i.Lineages(ctx, "")
	if err != nil || i.clock == nil {
		return all, err
	}
	until := listing.BelievedUntil(read, i.now())
	byPath := make(map[dataset.Path][]*Lineage)
	for _, l := range all {
		l.seen = read
		byPath[l.Path] = append(byPath[l.Path], l)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.byPath, s.read, s.until, s.at = byPath, read, until, began
	return all, nil
}

// Known answers a replica from what was read of all, if that was just now and the
// replica was not changed since.
func (i *Into) Known(ctx context.Context, d dataset.Path) (*Replica, error) {
	home, err := i.Home(d)
	if err != nil {
		return nil, err
	}
	s := &i.shelf
	now := i.now()
	s.mu.Lock()
	fresh := s.byPath != nil && !now.Before(s.read) && !now.After(s.until) && s.changes[d] <= s.at && s.changes[""] <= s.at
	all := s.byPath[d]
	s.mu.Unlock()
	if fresh {
		return NewReplica(d, home, all), nil
	}
	return i.Replica(ctx, d)
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

// guard vouches for the list of the lineage, if its facts were read for many.
func (l *Lineage) guard() listing.Guard {
	if l.seen.IsZero() {
		return listing.Guard{}
	}
	return listing.GuardOf(l.Facts, l.Name, l.seen)
}
