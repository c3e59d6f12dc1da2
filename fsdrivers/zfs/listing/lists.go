// Package listing makes the list of a dataset's snapshots that a driver answers, of what is on
// the pool, and keeps lists so that what did not change costs no process.
package listing

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/pool"
)

// Lists keeps lists of snapshots, so that datasets in which nothing happened cost
// no process. A guard vouches for one: what was read of its dataset, with many
// others at once. What this process does to a dataset makes its list stale.
type Lists struct {
	mu   sync.Mutex // guards what follows
	kept map[string]*keptList
	// drops counts how often the lists of a path were dropped: one that was being
	// read then is not kept.
	drops map[dataset.Path]int
	all   int // how often all were
}

// How long what was read is believed, at least.
const (
	Believed      = 10 * time.Second // of many datasets at once; a round of a job is shorter
	BelievedAlone = time.Second      // of one: an operator may have mended it
	believedMost  = 5 * time.Minute  // a clock that steps is no slow read
)

// BelievedUntil is when what was read between two moments is not believed any more. Where
// reading is slow, so is the round: then it is believed three times as long as it took,
// or each dataset of a round would have all of them read again.
func BelievedUntil(began, ended time.Time, least time.Duration) time.Time {
	return ended.Add(min(max(least, 3*ended.Sub(began)), believedMost))
}

// resolution is that of snapshots_changed, and a second for a clock that steps.
const resolution = 2 * time.Second

// Guard is what was read of a dataset, and when.
type Guard struct {
	guid, changed uint64
	seen          time.Time
}

type keptList struct {
	path    dataset.Path
	list    []dataset.Snapshot
	newest  pool.Entry // of all snapshots, anybody's; zero if there is none
	read    time.Time
	guid    uint64
	changed uint64 // of the guard that vouched for it; 0 until one did
	stale   bool
}

// NewLists keeps none.
func NewLists() *Lists {
	return &Lists{kept: make(map[string]*keptList), drops: make(map[dataset.Path]int)}
}

// GuardOf takes one from the facts of a dataset. It is zero, and vouches for
// nothing, where they do not tell.
func GuardOf(f pool.Facts, name string, seen time.Time) Guard {
	changed, err := strconv.ParseUint(f[name]["snapshots_changed"], 10, 64)
	if err != nil && f[name]["snapshots_changed"] != "" {
		return Guard{}
	}
	return Guard{guid: f.Number(name, "guid"), changed: changed, seen: seen}
}

// Get answers a list that is known to be right: one that was read after the guard,
// or well after the last change that the guard knows of.
func (c *Lists) Get(name string, g Guard) ([]dataset.Snapshot, bool) {
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

// Newest is the newest snapshot of anybody's, zero where there is none, if the list is
// known to be right.
func (c *Lists) Newest(name string, g Guard) (pool.Entry, bool) {
	if _, ok := c.Get(name, g); !ok {
		return pool.Entry{}, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.kept[name]; l != nil {
		return l.newest, true
	}
	return pool.Entry{}, false
}

// last is what the list was when it was read last: times never change.
func (c *Lists) last(name string) []dataset.Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	if l := c.kept[name]; l != nil {
		return slices.Clone(l.list)
	}
	return nil
}

// begin is called before a list is read.
func (c *Lists) begin(path dataset.Path) (drops int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.drops[path] + c.all
}

// put keeps a list that began to be read then, unless it was dropped meanwhile.
func (c *Lists) put(path dataset.Path, name string, list []dataset.Snapshot, newest pool.Entry, g Guard, read time.Time, drops int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.drops[path]+c.all == drops && g.guid != 0 {
		c.kept[name] = &keptList{path: path, list: slices.Clone(list), newest: newest, read: read, guid: g.guid}
	}
}

// Drop makes the lists of a path stale, "" those of all.
func (c *Lists) Drop(path dataset.Path) {
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

// Snapshots answers the snapshots of ds that pick picks, which is nil for those of a
// target: a kept list that the guard vouches for, or one that is read, and then kept.
// Of a target the times of a point are written after the point is there.
func (c *Lists) Snapshots(ctx context.Context, z *pool.Host, now func() time.Time, path dataset.Path, ds string, g Guard, pick func([]pool.Entry) []pool.Entry) ([]dataset.Snapshot, error) {
	if list, ok := c.Get(ds, g); ok {
		return list, nil
	}
	drops, read := c.begin(path), now()
	all, err := z.List(ctx, ds)
	if err != nil {
		return nil, err
	}
	known := c.last(ds)
	if pick == nil {
		known = slices.DeleteFunc(known, func(s dataset.Snapshot) bool { return s.Received.IsZero() })
		pick = func(all []pool.Entry) []pool.Entry { return pool.Ours(all, false) }
	}
	list, err := Describe(ctx, z, pick(all), known)
	if err != nil {
		return nil, err
	}
	c.put(path, ds, list, newestOf(all), g, read, drops)
	return list, nil
}
