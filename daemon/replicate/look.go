package replicate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"antipode/daemon/policy"
	"antipode/daemon/send"
	"antipode/daemon/status"
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/transport/wire"
)

// side is what the source holds of one dataset when a round begins, without the
// list of its snapshots: that is read where something is to be sent.
type side struct {
	dataset   dataset.Dataset
	mark      dataset.Mark
	newest    dataset.ID       // of the snapshots, zero for none
	base      dataset.Snapshot // what this side believes to be the peer's newest point; zero for none
	unsettled bool             // a hold for an unfinished step is left
	version   string           // of all that, "" if the driver cannot tell
	idle      bool             // may be worked on in this round
	same      bool             // the peer has what is expected
	confirmed time.Time        // when the live dataset still held what the peer's newest point holds, as the peer was told
}

// isSettled holds if nothing is to be done where the peer has what is expected.
func (s side) isSettled() bool {
	return !s.base.ID.IsZero() && s.base.ID == s.newest && !s.unsettled
}

// look reads this side of every dataset, so that the question to the peer is the
// same from round to round; only those that are idle are worked on. One of these
// that cannot be read is put on the board and left out.
func (c *Courier) look(ctx context.Context, job policy.Job, force bool) ([]side, error) {
	c.expire()
	paths := c.Board.Datasets(job.ID)
	versions := c.versions(ctx, paths)
	seen := make(map[dataset.Path]side, len(paths))
	var sides []side
	var errs []error
	for i, path := range paths {
		idle := c.idle(path, force)
		s, known := c.seen[path]
		if !known || versions == nil || versions[i] == "" || versions[i] != s.version {
			var err error
			if s, err = c.read(ctx, job, path); err != nil {
				if idle {
					errs = append(errs, err)
					c.fail(ctx, path, err)
				}
				continue
			}
			if versions != nil {
				s.version = versions[i]
			}
		}
		seen[path] = s
		s.idle = idle
		switch {
		case s.mark.IsForeign(c.Node):
			if idle {
				c.Board.Pair(c.key(path), func(p *status.Pair) { p.State = status.StateFenced })
			}
		case !s.newest.IsZero():
			sides = append(sides, s)
		}
	}
	c.seen = seen // and nothing of datasets that are gone
	maps.DeleteFunc(c.theirs, func(path dataset.Path, _ dataset.Mark) bool { _, still := seen[path]; return !still })
	return sides, errors.Join(errs...)
}

// versions are those of the paths, in order; nil if the driver cannot tell them.
// They are read before what they stand for, so that they can only be too old.
func (c *Courier) versions(ctx context.Context, paths []dataset.Path) []string {
	v, ok := c.Near.(fsdrivers.Versioner)
	if !ok {
		return nil
	}
	list, err := v.Versions(ctx, paths)
	if err != nil || len(list) != len(paths) {
		return nil // what is wrong is for reading to say
	}
	return list
}

// read looks at the mark first: a dataset that was fenced is read-only, and no
// driver finds it any more.
func (c *Courier) read(ctx context.Context, job policy.Job, path dataset.Path) (side, error) {
	mark, err := c.Near.Mark(ctx, path)
	if err != nil {
		return side{}, fmt.Errorf("read mark of %s: %w", path, err)
	}
	if mark.IsForeign(c.Node) {
		return side{mark: mark}, nil
	}
	found, err := c.Near.Find(ctx, path, false)
	if err != nil {
		return side{}, fmt.Errorf("look at %s: %w", path, err)
	}
	if len(found) != 1 {
		return side{}, fmt.Errorf("look at %s: %w", path, dataset.ErrNotFound)
	}
	snapshots, err := c.Near.Snapshots(ctx, path)
	if err != nil {
		return side{}, fmt.Errorf("list snapshots of %s: %w", path, err)
	}
	s := side{dataset: found[0], mark: mark}
	base, step := send.BaseTag(job.ID, c.Peer), send.StepTag(job.ID, c.Peer)
	for _, snap := range snapshots {
		s.newest = snap.ID
		if slices.Contains(snap.Holds, base) {
			s.base = snap
		}
		s.unsettled = s.unsettled || slices.Contains(snap.Holds, step)
	}
	return s, nil
}

// expect is what the peer holds if all went as this side knows: the base that is
// held for it, and the mark that it was seen to have.
func (c *Courier) expect(s side) wire.Replica {
	r := wire.Replica{Path: s.dataset.Path, Mark: s.mark}
	if theirs, known := c.theirs[s.dataset.Path]; known {
		r.Mark = theirs
	}
	if !s.base.ID.IsZero() {
		r.ID, r.Snapshots = s.dataset.ID, []dataset.Snapshot{s.base}
	}
	return r
}

// noteMark remembers the peer's mark where it is not the one to expect anyway.
func (c *Courier) noteMark(s side, theirs dataset.Mark) {
	if theirs.Same(s.mark) {
		delete(c.theirs, s.dataset.Path)
		return
	}
	c.theirs[s.dataset.Path] = theirs
}

// compare asks the peer, in one exchange for all of a page, which of the sides it
// has as expected, and notes that on them.
func (c *Courier) compare(ctx context.Context, job policy.Job, sides []side) error {
	page := 0
	for part := range slices.Chunk(sides, wire.MaxTipDatasets) {
		if page == len(c.told) {
			c.told = append(c.told, "")
		}
		if err := c.comparePage(ctx, job, part, &c.told[page]); err != nil {
			return err
		}
		page++
	}
	return nil
}

func (c *Courier) comparePage(ctx context.Context, job policy.Job, sides []side, told *string) error {
	asks, tips := make([]wire.InventoryAsk, len(sides)), make([]wire.Tip, len(sides))
	for i, s := range sides {
		asks[i] = wire.InventoryAsk{Dataset: s.dataset, Mark: s.mark}
		tips[i] = c.expect(s).Tip()
	}
	stills, at := c.stillSides(sides)
	q := wire.TipsRequest{
		Job: job.ID, Driver: string(job.Driver), List: wire.SumList(asks), Expect: wire.SumTips(tips),
		Still: wire.Bits(stills), Age: c.age(at),
	}
	if q.List != *told {
		q.Datasets = asks
	}
	v, err := c.Far.Tips(ctx, q)
	if err == nil && v.Unknown && q.Datasets == nil {
		q.Datasets = asks // it was restarted since, or was told of others
		v, err = c.Far.Tips(ctx, q)
	}
	if err == nil && (v.Unknown || !v.IsAbout(len(sides))) {
		err = fmt.Errorf("%w: %d bytes of tips for %d datasets", send.ErrMisanswered, len(v.Tips), len(sides))
	}
	c.contact(ctx, v.Now, err)
	if err != nil {
		return err
	}
	*told = q.List
	c.mu.Lock()
	c.peerRPO = v.RPO
	c.mu.Unlock()
	for i := range sides {
		sides[i].same = v.Same || v.Tip(i) == tips[i]
		stills[i] = stills[i] && sides[i].same
	}
	return c.confirmPage(ctx, q, v, sides, stills, at)
}

// lists asks what the peer holds of datasets of which it has something unexpected.
func (c *Courier) lists(ctx context.Context, job policy.Job, sides []side) ([]wire.Replica, error) {
	q := wire.InventoryRequest{Job: job.ID, Driver: string(job.Driver), MayPromote: job.MayPromote}
	for _, s := range sides {
		q.Datasets = append(q.Datasets, wire.InventoryAsk{Dataset: s.dataset, Mark: s.mark})
	}
	v, err := c.Far.Inventory(ctx, q)
	if err == nil && len(v.Replicas) != len(sides) {
		err = fmt.Errorf("%w: %d replicas in the answer for %d datasets", send.ErrMisanswered, len(v.Replicas), len(sides))
	}
	c.contact(ctx, v.Now, err)
	return v.Replicas, err
}
