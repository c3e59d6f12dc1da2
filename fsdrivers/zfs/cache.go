package zfs

import (
	"slices"
	"strconv"
	"sync"
	"time"

	"antipode/fsdrivers/dataset"
)

// listCache keeps lists of snapshots, so that datasets in which nothing happened
// cost no process: Find reads when the snapshots of each last changed, for all of
// them at once, and a list that was read well after that is still right. What this
// process does to a dataset drops its list. With a nil clock nothing is kept.
type listCache struct {
	now func() time.Time

	mu     *sync.Mutex // guards what follows
	lists  map[string]cachedList
	guards map[string]guard
	drops  map[string]int // how often a list was dropped
}

// guardLife is how long what Find saw is believed; a round of a job is shorter.
const guardLife = 10 * time.Second

// resolution is that of snapshots_changed, and a second for a clock that steps.
const resolution = 2 * time.Second

type guard struct {
	guid, changed uint64
	seen          time.Time
}

type cachedList struct {
	list []dataset.Snapshot
	read time.Time
	of   guard // as it was when the list was read
}

// started says what was known when a list began to be read.
type started struct {
	at    time.Time
	drops int
	of    guard
}

func newListCache(now func() time.Time) listCache {
	return listCache{
		now: now, mu: new(sync.Mutex),
		lists: make(map[string]cachedList), guards: make(map[string]guard), drops: make(map[string]int),
	}
}

// guard takes in what Find saw.
func (c *listCache) guard(f facts) {
	if c.now == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, props := range f {
		changed, err := strconv.ParseUint(props["snapshots_changed"], 10, 64)
		if err != nil && props["snapshots_changed"] != "" {
			continue
		}
		c.guards[name] = guard{guid: f.number(name, "guid"), changed: changed, seen: c.now()}
	}
}

// list answers a list that is known to be right.
func (c *listCache) list(name string) ([]dataset.Snapshot, bool) {
	if c.now == nil {
		return nil, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	g, l := c.guards[name], c.lists[name]
	age := c.now().Sub(g.seen)
	if l.read.IsZero() || age < 0 || age > guardLife || g.guid != l.of.guid || g.changed != l.of.changed {
		return nil, false
	}
	if l.read.Before(time.Unix(int64(g.changed), 0).Add(resolution)) {
		return nil, false
	}
	return slices.Clone(l.list), true
}

// begin is called before a list is read.
func (c *listCache) begin(name string) started {
	if c.now == nil {
		return started{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return started{at: c.now(), drops: c.drops[name], of: c.guards[name]}
}

// put keeps a list, unless it was dropped while it was read, or nothing is known
// that could tell later whether it is still right.
func (c *listCache) put(name string, list []dataset.Snapshot, s started) {
	if c.now == nil || s.of.guid == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drops[name] == s.drops {
		c.lists[name] = cachedList{list: slices.Clone(list), read: s.at, of: s.of}
	}
}

// drop forgets the list of a dataset.
func (c *listCache) drop(name string) {
	if c.now == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drops[name]++
	delete(c.lists, name)
}
