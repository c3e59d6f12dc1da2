package daemon

import (
	"context"
	"fmt"
	"sync"

	"antipode/daemon/board"
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/transport/wire"
)

// known is what a room remembers so that it need not be told, or read, again. It
// is never an answer by itself: a list is named by its own digest, and a tip counts
// only while the disk still has the version that it was read at.
type known struct {
	mu    sync.Mutex // guards below
	lists []knownList
	tips  map[dataset.Path]knownTip
}

// knownList is a list of datasets that a source sent.
type knownList struct {
	sum  string
	asks []wire.InventoryAsk
}

// knownTip is what was read of one replica.
type knownTip struct {
	version string
	tip     wire.Tip
	mark    dataset.Mark
	newest  dataset.Snapshot // of the points, zero for none
}

// maxKnownDatasets bounds the lists of one room, over all of them.
const maxKnownDatasets = 2 * wire.MaxTipDatasets

// list returns the list that q is about; it remembers one that q brings.
func (k *known) list(q wire.TipsRequest) ([]wire.InventoryAsk, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, l := range k.lists {
		if l.sum == q.List { // what was used last is forgotten last
			copy(k.lists[1:i+1], k.lists[:i])
			k.lists[0] = l
			return l.asks, true
		}
	}
	if len(q.Datasets) == 0 {
		return nil, false
	}
	k.lists = append([]knownList{{q.List, q.Datasets}}, k.lists...)
	sum := 0
	for i, l := range k.lists {
		if sum += len(l.asks); sum > maxKnownDatasets {
			k.lists = k.lists[:i]
			break
		}
	}
	return q.Datasets, true
}

// tip returns what is known of a replica, if that is still its version.
func (k *known) tip(path dataset.Path, version string) (knownTip, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	t, ok := k.tips[path]
	return t, ok && version != "" && t.version == version
}

// merge remembers what was read, of replicas that are there and of no others.
func (k *known) merge(read map[dataset.Path]knownTip, held map[dataset.Path]dataset.ID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for path, t := range k.tips {
		if _, still := held[path]; still && read[path].version == "" {
			read[path] = t
		}
	}
	k.tips = read
}

// Tips tells whether this node holds of a list of datasets what their source
// expects, and if not, of which it does not.
func (t target) Tips(ctx context.Context, from string, q wire.TipsRequest) (wire.Tips, error) {
	t.d.heard(from)
	r, err := t.room(from, q.Driver)
	if err != nil {
		return wire.Tips{}, err
	}
	answer := wire.Tips{Now: t.d.Now(), RPO: r.Accept().RPO}
	asks, ok := r.known.list(q)
	if !ok {
		answer.Unknown = true
		return answer, nil
	}
	if usage, err := r.driver.Space(ctx, "/"); err == nil {
		answer.Usage = wire.Usage{Free: usage.Free, Size: usage.Size}
	}
	all, err := t.tips(ctx, from, r, asks)
	if err != nil {
		return wire.Tips{}, err
	}
	tips := make([]wire.Tip, len(all))
	for i, now := range all {
		tips[i] = now.tip
	}
	if answer.Same = wire.SumTips(tips) == q.Expect; !answer.Same {
		answer.Tips = wire.JoinTips(tips)
		return answer, nil
	}
	for i, now := range all {
		if q.IsStill(i) {
			t.d.confirm(from, asks[i].Dataset.Path, now.newest, q.Age)
		}
	}
	return answer, nil
}

// tips reads the tips of a list, and judges the marks that the source shows.
func (t target) tips(ctx context.Context, from string, r *room, asks []wire.InventoryAsk) ([]knownTip, error) {
	ids, err := r.held(ctx)
	if err == nil && t.arrange(ctx, from, r, asks, ids) {
		ids, err = r.held(ctx)
	}
	if err != nil {
		return nil, err
	}
	versions, err := r.versions(ctx, ids)
	if err != nil {
		return nil, err
	}
	fresh := make(map[dataset.Path]knownTip, len(ids))
	tips := make([]knownTip, len(asks))
	for i, ask := range asks {
		path := ask.Dataset.Path
		id, isHeld := ids[path]
		if !isHeld { // there is nothing to read, nor to raise an alarm about
			tips[i].tip = wire.Replica{Path: path}.Tip()
			continue
		}
		now, ok := r.known.tip(path, versions[path])
		if !ok {
			replica := r.replica(ctx, dataset.Dataset{Path: path, ID: id})
			now = knownTip{version: versions[path], tip: replica.Tip(), mark: replica.Mark}
			if n := len(replica.Snapshots); n > 0 {
				now.newest = replica.Snapshots[n-1]
			}
		}
		if tips[i] = now; now.tip != (wire.Tip{}) {
			fresh[path] = now
			t.d.judgeSource(ctx, board.ReplicaKey{From: from, Dataset: path}, r, now.mark, ask.Mark)
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	r.known.merge(fresh, ids)
	return tips, nil
}

// held lists the replicas of a room with the datasets that they were received
// from.
func (r *room) held(ctx context.Context) (map[dataset.Path]dataset.ID, error) {
	held, err := r.driver.Find(ctx, "/", true)
	if err != nil {
		return nil, fmt.Errorf("list replicas: %w", err)
	}
	ids := make(map[dataset.Path]dataset.ID, len(held))
	for _, h := range held {
		ids[h.Path] = h.ID
	}
	return ids, nil
}

// versions asks the driver for the versions of replicas; none from one that
// cannot tell them.
func (r *room) versions(ctx context.Context, ids map[dataset.Path]dataset.ID) (map[dataset.Path]string, error) {
	v, ok := r.driver.(fsdrivers.Versioner)
	if !ok || len(ids) == 0 {
		return nil, nil
	}
	paths := make([]dataset.Path, 0, len(ids))
	for p := range ids {
		paths = append(paths, p)
	}
	list, err := v.Versions(ctx, paths)
	if err != nil {
		return nil, fmt.Errorf("look for changes: %w", err)
	}
	versions := make(map[dataset.Path]string, len(paths))
	for i, p := range paths {
		versions[p] = list[i]
	}
	return versions, nil
}
