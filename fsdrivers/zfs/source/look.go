package source

import (
	"context"
	"fmt"
	"sync"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/listing"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/pool"
)

// sights keeps what was read of the datasets of a source. A round looks at one
// dataset after the other; the first look reads all of them.
type sights struct {
	now func() time.Time // nil: nothing is kept

	mu    sync.Mutex // guards what follows
	seen  map[string]sight
	roots map[string]bool          // that Find was asked for; true: with all that is below
	turns map[string]chan struct{} // by pool: who reads for all of them
}

type sight struct {
	props     map[string]string
	at, until time.Time // when it was read, until when it is believed
}

func newSights(now func() time.Time) *sights {
	return &sights{now: now, seen: make(map[string]sight), roots: make(map[string]bool), turns: make(map[string]chan struct{})}
}

// take keeps what began to be read at that time, and was read just now.
func (s *sights) take(f pool.Facts, at time.Time) {
	until := listing.BelievedUntil(at, s.now(), listing.Believed)
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, props := range f {
		s.seen[name] = sight{props: props, at: at, until: until}
	}
}

// drop forgets a dataset.
func (s *sights) drop(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.seen, name)
}

// fresh answers what was seen of a dataset just now.
func (s *sights) fresh(name string) (pool.Facts, time.Time, bool) {
	if s.now == nil {
		return nil, time.Time{}, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	was, known := s.seen[name]
	now := s.now()
	return pool.Facts{name: was.props}, was.at, known && !now.Before(was.at) && !now.After(was.until)
}

// root is the highest that Find was asked for, and that holds the dataset.
func (s *sights) root(name string) (root string, deep bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	root = name
	for r, d := range s.roots {
		if d && (r == root || naming.IsBelow(r, root)) {
			root, deep = r, true
		}
	}
	return root, deep
}

func (s *sights) asked(root string, deep bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.roots[root] = deep || s.roots[root]
}

// turn waits until nobody else reads for all of a pool.
func (s *sights) turn(ctx context.Context, pool string) (done func(), err error) {
	s.mu.Lock()
	if s.turns[pool] == nil {
		s.turns[pool] = make(chan struct{}, 1)
	}
	turn := s.turns[pool]
	s.mu.Unlock()
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// look answers the facts of one dataset, and when they were read. Errors: ErrNotFound.
func (s *Source) look(ctx context.Context, name string) (pool.Facts, time.Time, error) {
	if s.sights.now == nil {
		return s.read(ctx, name, false)
	}
	if f, at, ok := s.sights.fresh(name); ok {
		return f, at, nil
	}
	done, err := s.sights.turn(ctx, naming.PoolOf(name))
	if err != nil {
		return nil, time.Time{}, err
	}
	defer done()
	if f, at, ok := s.sights.fresh(name); ok {
		return f, at, nil // somebody read for all meanwhile
	}
	root, deep := s.sights.root(name)
	f, at, err := s.read(ctx, root, deep)
	if err == nil && f[name] == nil {
		err = fmt.Errorf("%s: %w", name, dataset.ErrNotFound)
	}
	return f, at, err
}

// read reads the facts of a root, and with deep of all below it.
func (s *Source) read(ctx context.Context, root string, deep bool) (pool.Facts, time.Time, error) {
	args := []string{"-t", "filesystem,volume"}
	if deep {
		args = append(args, "-r")
	}
	at := time.Time{}
	if s.sights.now != nil {
		at = s.sights.now()
	}
	f, err := s.zfs.Get(ctx, datasetProps, []string{root}, args...)
	if err == nil && s.sights.now != nil {
		s.sights.take(f, at)
	}
	return f, at, err
}

// changed makes what is kept of a dataset's snapshots stale; with facts all of it.
func (s *Source) changed(name string, facts bool) {
	s.lists.Drop(dataset.Path(name))
	if facts {
		s.sights.drop(name)
	}
}
