package replicate

import (
	"cmp"
	"context"
	"slices"
	"time"

	"antipode/daemon/policy"
	"antipode/daemon/status"
	"antipode/fsdrivers/dataset"
	"antipode/transport/wire"
)

// A dataset in which nothing is written gets no snapshots, and its newest point
// grows old while nothing is lost. Confirming is telling the target, from time to
// time, that the source is alive and still holds exactly that point.
const (
	// confirmShare of the shorter rpo passes between two confirmations, so that
	// several may get lost before somebody is told of a miss.
	confirmShare = 4
	confirmLeast = 5 * time.Second
	confirmMost  = 10 * time.Minute
)

// still is a live dataset that held exactly what a snapshot holds.
type still struct {
	snapshot dataset.Snapshot
	at       time.Time // when somebody looked
}

// Unchanged notes that the dataset held exactly what s, its newest snapshot, holds.
func (c *Courier) Unchanged(path dataset.Path, s dataset.Snapshot, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stills[path] = still{s, at}
}

// Changed notes that it was written to, or that nobody can tell.
func (c *Courier) Changed(path dataset.Path) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.stills, path)
}

// stillOf is what is known of a dataset; zero for nothing.
func (c *Courier) stillOf(path dataset.Path) still {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stills[path]
}

// Rests reports whether a visit would tell the peer nothing new: it is known to
// have the newest snapshot of every dataset, nothing was written since, and it was
// told so lately.
func (c *Courier) Rests() bool {
	job := c.job.Load()
	points := map[dataset.Path]status.Point{}
	for _, path := range c.Board.Datasets(job.ID) {
		c.Board.Pair(c.key(path), func(p *status.Pair) {
			if p.LastError == nil {
				points[path] = p.LastPoint
			} else {
				points[path] = status.Point{}
			}
		})
	}
	now, every := c.Now(), c.confirmEvery(job.RPO)
	for path, point := range points {
		is := c.stillOf(path)
		if is.at.IsZero() || point.Name != is.snapshot.Name || now.Sub(point.Fresh()) >= every {
			return false
		}
	}
	return len(points) > 0
}

// confirmEvery is the time between two confirmations.
func (c *Courier) confirmEvery(rpo time.Duration) time.Duration {
	c.mu.Lock()
	theirs := c.peerRPO
	c.mu.Unlock()
	shorter := min(cmp.Or(rpo, policy.MaxDuration), cmp.Or(theirs, policy.MaxDuration))
	return max(confirmLeast, min(shorter/confirmShare, confirmMost))
}

// stillSides are the sides whose live dataset still held what the peer's newest
// point should hold, and the earliest moment at which somebody looked.
func (c *Courier) stillSides(sides []side) (stills []bool, at time.Time) {
	stills = make([]bool, len(sides))
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, s := range sides {
		is, known := c.stills[s.dataset.Path]
		stills[i] = known && !s.base.ID.IsZero() && s.base.ID == s.newest && s.newest == is.snapshot.ID
		if stills[i] && (at.IsZero() || is.at.Before(at)) {
			at = is.at
		}
	}
	return stills, at
}

func (c *Courier) age(at time.Time) time.Duration {
	if at.IsZero() {
		return 0
	}
	return max(0, c.Now().Sub(at))
}

// confirmPage notes what the peer was told of unchanged datasets. Where it has
// something unexpected it could not tell which those are, and is told once more, of
// what it said itself.
func (c *Courier) confirmPage(ctx context.Context, q wire.TipsRequest, v wire.Tips, sides []side, stills []bool, at time.Time) error {
	if !slices.Contains(stills, true) {
		return nil
	}
	if !v.Same {
		q.Datasets, q.Still, q.Age = nil, wire.Bits(stills), c.age(at)
		q.Expect = wire.SumTips(v.All())
		again, err := c.Far.Tips(ctx, q)
		if err != nil || !again.Same {
			return err // something arrived in between; the next round tells it
		}
	}
	for i := range sides {
		if stills[i] {
			sides[i].confirmed = at
		}
	}
	return nil
}

// confirmed notes that the peer has what the live dataset held at a moment, and
// knows that.
func (c *Courier) confirmed(path dataset.Path, base dataset.Snapshot, at time.Time) {
	c.Board.Pair(c.key(path), func(p *status.Pair) {
		if p.LastPoint.Name == base.Name && at.After(p.LastPoint.Confirmed) {
			p.LastPoint.Confirmed = at
		}
	})
	c.remember(path, base, at)
}
