package receive

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

const (
	// guardEvery is how many bytes pass between two looks at the free space.
	guardEvery = 16 << 20
	// guardPoll is how often a full disk is looked at again.
	guardPoll = 2 * time.Second
	// settle is how long written data may be on its way to the disk without
	// being counted as used: a file system with delayed allocation shows them as free
	// until they are written back, which Linux does within 35 s
	// (vm.dirty_expire_centisecs and vm.dirty_writeback_centisecs).
	settle = 45 * time.Second
)

// guard stops reading before the disk is full and goes on by itself when there
// is room again. Not reading closes the sender's credit, so that nothing piles up
// here and the sender knows that it has to wait.
//
// The context is that of the one Receive call that the guard lives in.
type guard struct {
	ctx    context.Context //nolint:containedctx // an io.Reader has no other way to be told
	room   *Room
	path   dataset.Path
	stream io.Reader
	unseen int // bytes that may still pass before the next look
	dirty  []passed
}

// passed is what went to the driver between two looks.
type passed struct {
	at    time.Time
	bytes int64
}

// noticer is a stream whose sender can be told why nothing is read.
type noticer interface{ Notice(why error) }

func (g *guard) Read(p []byte) (int, error) {
	if g.unseen <= 0 {
		if err := g.await(); err != nil {
			return 0, err
		}
		g.unseen = guardEvery
	}
	n, err := g.stream.Read(p)
	g.unseen -= n
	if last := len(g.dirty) - 1; last >= 0 {
		g.dirty[last].bytes += int64(n)
	}
	return n, err
}

// await returns when there is room, or with the reason why there is none when
// the context ends.
func (g *guard) await() error {
	lack, err := g.lack()
	if err != nil || lack == nil {
		return err
	}
	if n, ok := g.stream.(noticer); ok {
		n.Notice(lack)
		defer n.Notice(nil)
	}
	poll := time.NewTicker(guardPoll)
	defer poll.Stop()
	for lack != nil {
		select {
		case <-g.ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(g.ctx), lack)
		case <-poll.C:
		}
		if lack, err = g.lack(); err != nil {
			return err
		}
	}
	return nil
}

// lack reports what is missing until min_free is kept; nil when there is room.
// What passed lately counts as used, whether the file system shows it yet or not.
func (g *guard) lack() (*dataset.SpaceError, error) {
	usage, err := g.room.Driver.Space(g.ctx, g.path)
	if err != nil {
		return nil, fmt.Errorf("look for space: %w", err)
	}
	now := g.room.Now()
	g.dirty = slices.DeleteFunc(g.dirty, func(p passed) bool { return now.Sub(p.at) > settle })
	for _, p := range g.dirty {
		usage.Free -= p.bytes
	}
	g.dirty = append(g.dirty, passed{at: now})
	usage.Free = max(usage.Free, 0)
	return Lack(usage, g.room.Accept().MinFree.Of(usage.Size)), nil
}

// Lack is nil when at least minFree bytes are free, and names what is missing
// otherwise.
func Lack(usage fsdrivers.Usage, minFree int64) *dataset.SpaceError {
	if usage.Free > minFree {
		return nil
	}
	return &dataset.SpaceError{Where: usage.Where, Free: usage.Free, Need: minFree + 1}
}
