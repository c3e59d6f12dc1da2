package plan

import (
	"hash/maphash"
	"slices"

	"antipode/fsdrivers/dataset"
)

// index finds the snapshots of one list by identity. It is a hash table with open
// addressing that is used again for the next dataset: with ten million snapshots
// in ten thousand lists, making maps would take most of the time. The seed keeps
// a peer from choosing identities that meet in one place.
type index struct {
	seed  maphash.Seed
	slots []uint64 // the upper half of a hash, and 1 + the place in the list; 0 is free
}

// reset empties the index and makes room for n.
func (x *index) reset(n int) {
	if x.seed == (maphash.Seed{}) {
		x.seed = maphash.MakeSeed()
	}
	size := 16
	for size < 2*n {
		size *= 2
	}
	x.slots = slices.Grow(x.slots[:0], size)[:size]
	clear(x.slots)
}

const placeMask = 1<<32 - 1

// slot is where the identity with that hash is, or would be. list is what was added.
func (x *index) slot(list []dataset.Snapshot, id dataset.ID, h uint64) (at int, found bool) {
	for at = int(h) & (len(x.slots) - 1); x.slots[at] != 0; at = (at + 1) & (len(x.slots) - 1) {
		s := x.slots[at]
		if s&^placeMask == h&^placeMask && list[s&placeMask-1].ID == id {
			return at, true
		}
	}
	return at, false
}

// add puts list[n] in; false if its identity is there.
func (x *index) add(list []dataset.Snapshot, n int) bool {
	h := maphash.String(x.seed, string(list[n].ID))
	at, found := x.slot(list, list[n].ID, h)
	if found {
		return false
	}
	x.slots[at] = h&^placeMask | uint64(n+1)
	return true
}

// find returns the place of id in list; -1 for none.
func (x *index) find(list []dataset.Snapshot, id dataset.ID) int {
	at, found := x.slot(list, id, maphash.String(x.seed, string(id)))
	if !found {
		return -1
	}
	return int(x.slots[at]&placeMask) - 1
}
