package zfs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/prop"
)

// newHost makes one. It touches nothing.
func newHost(binary string, giveUp time.Duration) *tool {
	return newTool(binary, giveUp)
}

// pointProps are what a listing needs to know of each snapshot.
const pointProps = "creation,userrefs," + prop.Created + "," + prop.Received + "," + prop.Retain

// list runs a fast list of ds and what is directly in it, sorted by createtxg.
func (t *tool) list(ctx context.Context, ds string) ([]entry, error) {
	out, err := t.run(ctx, ds, "list", "-Hp", "-d", "1", "-t", "snapshot,bookmark", "-o", listColumns, "-s", "createtxg", ds)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", ds, err)
	}
	all, err := parseList(out)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", ds, err)
	}
	all = slices.DeleteFunc(all, func(e entry) bool { return e.dataset() != ds })
	sort.SliceStable(all, func(i, j int) bool { return all[i].txg < all[j].txg })
	return all, nil
}

// get reads properties of the named objects, and with args ("-r", "-t", ...) of
// others. Objects that do not exist are left out; that all are missing is
// ErrNotFound.
func (t *tool) get(ctx context.Context, props string, names []string, args ...string) (facts, error) {
	all := make(facts)
	var missing error
	err := inBatches(names, func(some []string) error {
		argv := append([]string{"get", "-Hp", "-o", factColumns}, args...)
		out, err := t.run(ctx, some[0], append(append(argv, props), some...)...)
		if err != nil && !errors.Is(err, dataset.ErrNotFound) {
			return err
		}
		missing = errors.Join(missing, err)
		found, err := parseFacts(out)
		for name, f := range found {
			all[name] = f
		}
		return err
	})
	if err == nil && len(all) == 0 {
		err = missing
	}
	if err != nil {
		return nil, fmt.Errorf("properties of %s: %w", names[0], err)
	}
	return all, nil
}

// set sets properties of one object: name, value, name, value...
func (t *tool) set(ctx context.Context, name string, props ...string) error {
	args := []string{"set"}
	for i := 0; i < len(props); i += 2 {
		args = append(args, props[i]+"="+props[i+1])
	}
	if _, err := t.run(ctx, name, append(args, name)...); err != nil {
		return fmt.Errorf("set properties of %s: %w", name, err)
	}
	return nil
}

// unset takes a property of ours off.
func (t *tool) unset(ctx context.Context, name, property string) error {
	if _, err := t.run(ctx, name, "inherit", property, name); err != nil {
		return fmt.Errorf("take %s off %s: %w", property, name, err)
	}
	return nil
}

// holds reads our tags on those snapshots, sorted, and their pins.
func (t *tool) holds(ctx context.Context, snaps []string) (map[string][]dataset.Tag, map[string]*dataset.Pin, error) {
	all, pins := make(map[string][]dataset.Tag), make(map[string]*dataset.Pin)
	err := inBatches(snaps, func(some []string) error {
		out, err := t.run(ctx, some[0], append([]string{"holds", "-H"}, some...)...)
		if unless(err, dataset.ErrNotFound) != nil {
			return fmt.Errorf("holds of %s: %w", some[0], err)
		}
		found, err := parseHolds(out)
		for name, tags := range found {
			slices.Sort(tags)
			all[name] = tags
		}
		if err != nil {
			return err
		}
		theirs, err := parsePins(out)
		maps.Copy(pins, theirs)
		return err
	})
	return all, pins, err
}

// names are the full names of entries.
func names(all []entry) []string {
	list := make([]string, len(all))
	for i, e := range all {
		list[i] = e.name
	}
	return list
}

// ours keeps snapshots of ours, and bookmarks that stand for one that is gone.
func ours(all []entry, bookmarks bool) []entry { return including(all, bookmarks, nil) }

// including is ours and, of what others made, the snapshots that include names; nil names
// none. A bookmark of one that it does not name stays.
func including(all []entry, bookmarks bool, include func(name string) bool) []entry {
	isWanted := func(e entry) bool {
		if e.isOurs() {
			return e.isSnapshot() || bookmarks
		}
		return include != nil && e.isSnapshot() && foreignName(e.short()) == nil && include(e.short())
	}
	have := make(map[uint64]bool)
	for _, e := range all {
		have[e.guid] = have[e.guid] || e.isSnapshot() && isWanted(e)
	}
	return slices.DeleteFunc(slices.Clone(all), func(e entry) bool { return !isWanted(e) || e.isBookmark() && have[e.guid] })
}

// describe reads the times and holds of entries. Times never change: those of a
// snapshot that is known are not read again.
func describe(ctx context.Context, z *tool, list []entry, known []dataset.Snapshot) ([]dataset.Snapshot, error) {
	if len(list) == 0 {
		return nil, nil
	}
	of := make(map[entry]dataset.Snapshot, len(known))
	for _, s := range known {
		if guid, err := guidOf(s.ID); err == nil {
			of[entry{name: s.Name, guid: guid, txg: s.Order}] = s
		}
	}
	isKnown := func(e entry) bool { _, is := of[keyOf(e)]; return is }
	unread := names(slices.DeleteFunc(slices.Clone(list), isKnown))
	props := make(facts)
	var err error
	if len(unread) > 0 {
		if props, err = z.get(ctx, pointProps, unread); err != nil {
			return nil, err
		}
	}
	// Nothing tells who holds a snapshot but zfs holds, and that most are held by
	// nobody is told for free while they are new.
	free := func(e entry) bool { return e.isBookmark() || props[e.name]["userrefs"] == "0" }
	holds, pins, err := z.holds(ctx, names(slices.DeleteFunc(slices.Clone(list), free)))
	if err != nil {
		return nil, err
	}
	found := make([]dataset.Snapshot, 0, len(list))
	for _, e := range list {
		if s, is := of[keyOf(e)]; is {
			s.Holds, s.Pin = holds[e.name], pins[e.name]
			found = append(found, s)
		} else if _, there := props[e.name]; there { // else it was destroyed since
			s = snapshotOf(e, props, holds[e.name])
			s.Pin = pins[e.name]
			found = append(found, s)
		}
	}
	return found, nil
}

// keyOf tells a snapshot from others of its dataset.
func keyOf(e entry) entry { return entry{name: e.short(), guid: e.guid, txg: e.txg} }

// snapshots answers the snapshots of ds that pick picks, which is nil for those of a
// target: a kept list that the guard vouches for, or one that is read, and then kept.
// Of a target the times of a point are written after the point is there.
func (c *lists) snapshots(ctx context.Context, z *tool, now func() time.Time, path dataset.Path, ds string, g guard, pick func([]entry) []entry) ([]dataset.Snapshot, error) {
	if list, ok := c.get(ds, g); ok {
		return list, nil
	}
	drops, read := c.begin(path), now()
	all, err := z.list(ctx, ds)
	if err != nil {
		return nil, err
	}
	known := c.last(ds)
	if pick == nil {
		known = slices.DeleteFunc(known, func(s dataset.Snapshot) bool { return s.Received.IsZero() })
		pick = func(all []entry) []entry { return ours(all, false) }
	}
	list, err := describe(ctx, z, pick(all), known)
	if err != nil {
		return nil, err
	}
	c.put(path, ds, list, newestOf(all), g, read, drops)
	return list, nil
}

// newestOf is the newest snapshot of a list in order; zero where there is none.
func newestOf(all []entry) entry {
	for _, e := range slices.Backward(all) {
		if e.isSnapshot() {
			return e
		}
	}
	return entry{}
}

func snapshotOf(e entry, props facts, holds []dataset.Tag) dataset.Snapshot {
	s := dataset.Snapshot{Name: e.short(), ID: e.id(), Order: e.txg, Bookmark: e.isBookmark(), Foreign: !e.isOurs(), Holds: holds}
	s.Created = prop.TimeOf(props[e.name][prop.Created])
	if s.Created.IsZero() {
		s.Created = time.Unix(int64(props.number(e.name, "creation")), 0).UTC()
	}
	s.Received = prop.TimeOf(props[e.name][prop.Received])
	s.Retain = prop.TimeOf(props[e.name][prop.Retain])
	if s.Retain.IsZero() {
		s.Retain = s.Created
	}
	return s
}

// find looks up the snapshot of ds that still has that name and identity.
// Errors: ErrNotFound, ErrChanged.
func (t *tool) find(ctx context.Context, ds string, s dataset.Snapshot) (entry, error) {
	if err := listedName(s); err != nil {
		return entry{}, err
	}
	full := ds + "@" + s.Name
	out, err := t.run(ctx, ds, "list", "-Hp", "-t", "snapshot", "-o", listColumns, full)
	if err != nil {
		return entry{}, fmt.Errorf("look up %s: %w", full, err)
	}
	all, err := parseList(out)
	switch {
	case err != nil:
		return entry{}, err
	case len(all) != 1 || all[0].name != full:
		return entry{}, fmt.Errorf("look up %s: %w", full, dataset.ErrNotFound)
	case all[0].id() != s.ID:
		return entry{}, fmt.Errorf("%s is %s, not the snapshot %s: %w", full, all[0].id(), s.ID, dataset.ErrChanged)
	}
	return all[0], nil
}

// hold tags a snapshot.
func (t *tool) hold(ctx context.Context, ds string, s dataset.Snapshot, tag dataset.Tag) error {
	e, err := t.find(ctx, ds, s)
	if err != nil {
		return err
	}
	_, err = t.run(ctx, ds, "hold", prop.Namespace+string(tag), e.name)
	return unless(err, errNothing)
}

// release takes a tag off the snapshots of ds but those to keep.
func (t *tool) release(ctx context.Context, ds string, tag dataset.Tag, keep []dataset.ID) error {
	all, err := t.list(ctx, ds)
	if err != nil {
		return unless(err, dataset.ErrNotFound)
	}
	all = slices.DeleteFunc(all, func(e entry) bool { return !e.isSnapshot() || slices.Contains(keep, e.id()) })
	holds, _, err := t.holds(ctx, names(all))
	if err != nil {
		return err
	}
	var held []string
	for name, tags := range holds {
		if slices.Contains(tags, tag) {
			held = append(held, name)
		}
	}
	return inBatches(held, func(some []string) error {
		_, err := t.run(ctx, ds, append([]string{"release", prop.Namespace + string(tag)}, some...)...)
		return unless(err, errNothing, dataset.ErrNotFound)
	})
}
