package listing

import (
	"context"
	"slices"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/pool"
	"antipode/fsdrivers/zfs/prop"
)

// PointProps are what a listing needs to know of each snapshot.
const PointProps = "creation,userrefs," + prop.Created + "," + prop.Received + "," + prop.Retain

// Describe reads the times and holds of entries. Times never change: those of a
// snapshot that is known are not read again.
func Describe(ctx context.Context, z *pool.Host, list []pool.Entry, known []dataset.Snapshot) ([]dataset.Snapshot, error) {
	if len(list) == 0 {
		return nil, nil
	}
	of := make(map[pool.Entry]dataset.Snapshot, len(known))
	for _, s := range known {
		if guid, err := naming.GUIDOf(s.ID); err == nil {
			of[pool.Entry{Name: s.Name, GUID: guid, TXG: s.Order}] = s
		}
	}
	isKnown := func(e pool.Entry) bool { _, is := of[keyOf(e)]; return is }
	unread := pool.Names(slices.DeleteFunc(slices.Clone(list), isKnown))
	props := make(pool.Facts)
	var err error
	if len(unread) > 0 {
		if props, err = z.Get(ctx, PointProps, unread); err != nil {
			return nil, err
		}
	}
	// Nothing tells who holds a snapshot but zfs holds, and that most are held by
	// nobody is told for free while they are new.
	free := func(e pool.Entry) bool { return e.IsBookmark() || props[e.Name]["userrefs"] == "0" }
	holds, pins, err := z.Holds(ctx, pool.Names(slices.DeleteFunc(slices.Clone(list), free)))
	if err != nil {
		return nil, err
	}
	found := make([]dataset.Snapshot, 0, len(list))
	for _, e := range list {
		if s, is := of[keyOf(e)]; is {
			s.Holds, s.Pin = holds[e.Name], pins[e.Name]
			found = append(found, s)
		} else if _, there := props[e.Name]; there { // else it was destroyed since
			s = SnapshotOf(e, props, holds[e.Name])
			s.Pin = pins[e.Name]
			found = append(found, s)
		}
	}
	return found, nil
}

// keyOf tells a snapshot from others of its dataset.
func keyOf(e pool.Entry) pool.Entry { return pool.Entry{Name: e.Short(), GUID: e.GUID, TXG: e.TXG} }

// newestOf is the newest snapshot of a list in order; zero where there is none.
func newestOf(all []pool.Entry) pool.Entry {
	for _, e := range slices.Backward(all) {
		if e.IsSnapshot() {
			return e
		}
	}
	return pool.Entry{}
}

// SnapshotOf is an entry with the times among its properties; without any it is the pool's.
func SnapshotOf(e pool.Entry, props pool.Facts, holds []dataset.Tag) dataset.Snapshot {
	s := dataset.Snapshot{Name: e.Short(), ID: e.ID(), Order: e.TXG, Bookmark: e.IsBookmark(), Foreign: !e.IsOurs(), Holds: holds}
	s.Created = prop.TimeOf(props[e.Name][prop.Created])
	if s.Created.IsZero() {
		s.Created = time.Unix(int64(props.Number(e.Name, "creation")), 0).UTC()
	}
	s.Received = prop.TimeOf(props[e.Name][prop.Received])
	s.Retain = prop.TimeOf(props[e.Name][prop.Retain])
	if s.Retain.IsZero() {
		s.Retain = s.Created
	}
	return s
}
