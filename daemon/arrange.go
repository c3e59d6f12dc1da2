package daemon

import (
	"context"
	"errors"
	"fmt"
	"regexp"

	"antipode/daemon/activate"
	"antipode/daemon/board"
	"antipode/daemon/ledger"
	"antipode/daemon/status"
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/transport/wire"
)

// A replica is bound to the dataset that it was received from, not to that one's
// path. When the source's dataset was renamed, the replica follows; when another
// dataset has taken its path, the replica is set aside under a name, where it stays
// under retention. Nothing is copied again and nothing is destroyed.

// setAsideRole is the role of a replica whose path another dataset has taken: no
// point comes any more, and nothing is late.
const setAsideRole = "set-aside"

// asidePattern recognises what asidePath made. A source's dataset that is called so
// is no objective here.
var asidePattern = regexp.MustCompile(`\.was-[0-9a-f]{1,8}$`)

// asidePath is where the replica of a dataset goes whose path was taken.
func asidePath(path dataset.Path, id dataset.ID) dataset.Path {
	short := id
	if len(short) > 8 {
		short = short[:8]
	}
	return dataset.Path(fmt.Sprintf("%s.was-%s", path, short))
}

func isAside(path dataset.Path) bool { return asidePattern.MatchString(string(path)) }

// relocation is a replica that goes from d.Path to another.
type relocation struct {
	dataset.Dataset
	to    dataset.Path
	aside bool // its path was taken
}

// relocations tells how replicas have to move so that each dataset that is asked
// about has its replica, if there is one, under its own path. They are to be made in
// order. A dataset that is asked about under two paths has none: it is one dataset
// seen twice, and its replica would go back and forth.
func relocations(asks []wire.InventoryAsk, ids map[dataset.Path]dataset.ID) []relocation {
	at := make(map[dataset.ID]dataset.Path, len(ids))
	for path, id := range ids {
		at[id] = path
	}
	asked := make(map[dataset.ID]int, len(asks))
	for _, a := range asks {
		asked[a.Dataset.ID]++
	}
	holder := make(map[dataset.Path]dataset.ID) // as it is after the moves so far
	holds := func(path dataset.Path) dataset.ID {
		if id, moved := holder[path]; moved {
			return id
		}
		return ids[path]
	}
	var all []relocation
	move := func(id dataset.ID, to dataset.Path, aside bool) {
		all = append(all, relocation{dataset.Dataset{Path: at[id], ID: id}, to, aside})
		holder[at[id]], holder[to] = "", id
		at[id] = to
	}
	for _, a := range asks {
		path, want := a.Dataset.Path, a.Dataset.ID
		there := holds(path)
		if there == want || want.IsZero() || asked[want] > 1 {
			continue
		}
		if !there.IsZero() {
			if holds(asidePath(path, there)) != "" {
				continue
			}
			move(there, asidePath(path, there), true)
		}
		if _, isHeld := at[want]; isHeld {
			move(want, path, false)
		}
	}
	return all
}

// errStays is why a replica is not moved.
var errStays = errors.New("the replica stays where it is")

// mayMove reports whether a replica may go, and whether it has anything to take
// with it. What becomes of one that this node is primary of is for the operator.
func (r *room) mayMove(ctx context.Context, l relocation) (hasPoints bool, err error) {
	if _, can := r.driver.(fsdrivers.Mover); !can {
		return false, fmt.Errorf("%w: this driver cannot move one", errStays)
	}
	mark, err := r.driver.Mark(ctx, l.Path)
	if err != nil {
		return false, err
	}
	if activate.MayReceive(mark, r.Node) != nil {
		return false, fmt.Errorf("%w: it was promoted", errStays)
	}
	points, err := r.driver.Snapshots(ctx, l.Path)
	return len(points) > 0, err
}

// arrange brings the paths of replicas in line with what a source asks about. It
// reports whether any was moved. One that cannot be moved stays, with those that wait
// for its path, and shows as a conflict.
func (t target) arrange(ctx context.Context, from string, r *room, asks []wire.InventoryAsk, ids map[dataset.Path]dataset.ID) (moved bool) {
	all := relocations(asks, ids)
	if len(all) == 0 || r.promoting.Load() > 0 || r.tending.take(ctx) != nil {
		return false
	}
	defer r.tending.give()
	for _, l := range all {
		hasPoints, err := r.mayMove(ctx, l)
		if err == nil && l.aside && !hasPoints {
			continue // nothing is lost: the path is bound anew
		}
		if err == nil {
			err = r.driver.(fsdrivers.Mover).Move(ctx, l.Dataset, l.to) //nolint:forcetypeassert // mayMove looked
		}
		log := t.d.Log.With().Str("peer", from).Stringer("dataset", l.Path).Stringer("to", l.to).Logger()
		if err != nil { // in every round, and the source shows the conflict
			log.Debug().Err(err).Msg("a replica was not moved to its dataset's path")
			return moved
		}
		moved = true
		kind, text := "replica-moved", fmt.Sprintf("its dataset is called %s now on %s; the replica followed", l.to, from)
		if l.aside {
			kind, text = "replica-set-aside", fmt.Sprintf("another dataset has its path on %s; the replica is kept as %s", from, l.to)
		}
		log.Info().Str("event", kind).Msg(text)
		t.d.ledger.Record(ledger.Batch{Events: []ledger.Event{{At: t.d.Now(), Kind: kind, Dataset: l.Path, Peer: from, Text: text}}})
		t.d.Board.ForgetReplica(board.ReplicaKey{From: from, Dataset: l.Path})
		t.d.background(func(ctx context.Context) { t.d.tendReplica(ctx, from, l.to, r) })
	}
	return moved
}

// foresee tells, without moving anything, where the replica of each path is that is
// asked about, and what a round would say of it.
func (r *room) foresee(ctx context.Context, asks []wire.InventoryAsk, ids map[dataset.Path]dataset.ID) (places map[dataset.Path]dataset.Dataset, notes map[dataset.Path]string) {
	places, notes = map[dataset.Path]dataset.Dataset{}, map[dataset.Path]string{}
	for _, l := range relocations(asks, ids) {
		if was, moved := places[l.Path]; moved {
			l.Path = was.Path // it is to be moved twice, and is where it is
		}
		if _, err := r.mayMove(ctx, l); err != nil {
			return places, notes
		}
		at := l.Path
		if l.aside {
			notes[l.Path] = fmt.Sprintf("sets the replica of another dataset aside as %s", l.to)
			places[l.Path] = dataset.Dataset{}
		} else {
			notes[l.to] = fmt.Sprintf("moves the replica from %s: its dataset was renamed", at)
		}
		places[l.to] = dataset.Dataset{Path: at, ID: l.ID}
	}
	return places, notes
}

// showAside has the board show what was set aside as that.
func showAside(line *status.Replica) {
	if isAside(line.Path) {
		line.Role, line.RPO = setAsideRole, 0
	}
}
