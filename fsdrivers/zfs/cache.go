package zfs

import (
	"slices"
	"strconv"
	"sync"
	"time"

	"antipode/fsdrivers/dataset"
)

// lists keeps lists of snapshots, so that datasets in which nothing happened cost
// no process. A guard vouches for one: what was read of its dataset, with many
// others at once. What this process does to a dataset makes its list stale.
type lists struct {
	mu   sync.Mutex // guards what follows
	kept map[string]*keptList
	// drops counts how often the lists of a path were dropped: one that was being
	// read then is not kept.
	drops map[dataset.Path]int
	all   int // how often all were
}

// believed is how long what was read of many datasets at once is believed; a round
// of a job is shorter.
const believed = 10 * time.Second

// resolution is that of snapshots_changed, and a second for a clock that steps.
const resolution = 2 * time.Second

// guard is what was read of a dataset, and when.
type guard struct {
	guid, changed uint64
	seen          time.Time
}

type keptList struct {
	path    dataset.Path
	list    []dataset.Snapshot
	newest  entry // of all snapshots, anybody's; zero if there is none
	read    time.Time
	guid    uint64
	changed uint64 // of the guard that vouched for it; 0 until one did
	stale   bool
}

func newLists() *lists {
	return &lists{kept: make(map[string]*keptList), drops: make(map[dataset.Path]int)}
}

// guardOf takes one from the facts of a dataset. It is zero, and vouches for
// nothing, where they do not tell.
func guardOf(f facts, name string, seen time.Time) guard {
	changed, err := strconv.ParseUint(f[name]["snapshots_changed"], 10, 64)
	if err != nil && f[name]["snapshots_changed"] != "" {
		return guard{}
	}
	return guard{guid: f.number(name, "guid"), changed: changed, seen: seen}
}

// get answers a list that is known to be right: one that was read after the guard,
// or well after the last change that the guard knows of.
func (c *lists) get(name string, g guard) ([]dataset.Snapshot, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.kept[name]
	switch {
	case l == nil || l.stale || g.guid == 0 || l.guid != g.guid:
		return nil, false
	case g.seen.Before(l.read):
	case l.changed != 0 && l.changed != g.changed, l.read.Before(time.Unix(int64(g.changed), 0).Add(resolution)):
		return nil, false
	default:
		l.changed = g.changed
	}
	return slices.Clone(l.list), true
}

// newest is the newest snapshot of anybody's, zero where there is none, if the list is
// known to be right.
func (c *lists) newest(name string, g guard) (entry, bool) {
	if _, ok := c.get(name, g); !ok {
		return entry{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.kept[name]; l != nil {
		return l.newest, true
	}
	return entry{}, false
}

// last is what the list was when it was read last: times never change.
func (c *lists) last(name string) []dataset.Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.kept[name]; l != nil {
		return slices.Clone(l.list)
	}
	return nil
}

// begin is called before a list is read.
func (c *lists) begin(path dataset.Path) (drops int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.drops[path] + c.all
}

// put keeps a list that began to be read then, unless it was dropped meanwhile.
func (c *lists) put(path dataset.Path, name string, list []dataset.Snapshot, newest entry, g guard, read time.Time, drops int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drops[path]+c.all == drops && g.guid != 0 {
		c.kept[name] = &keptList{path: path, list: slices.Clone(list), newest: newest, read: read, guid: g.guid}
	}
}

// drop makes the lists of a path stale, "" those of all.
func (c *lists) drop(path dataset.Path) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if path == "" {
		c.all++
	} else {
		c.drops[path]++
	}
	for _, l := range c.kept {
		l.stale = l.stale || path == "" || l.path == path
	}
}
