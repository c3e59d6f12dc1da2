package receive

import (
	"context"
	"fmt"
	"io"
	"time"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

const (
	// guardEvery is how many bytes pass between two looks at the free space.
	guardEvery = 16 << 20
	// guardPoll is how often a full disk is looked at again.
	guardPoll = 2 * time.Second
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
	return n, err
}

// await returns when there is room, or with the reason why there is none when
// the context ends.
func (g *guard) await() error {
	lack, err := g.room.lack(g.ctx, g.path)
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
		if lack, err = g.room.lack(g.ctx, g.path); err != nil {
			return err
		}
	}
	return nil
}

// lack reports what is missing until min_free is kept; nil when there is room.
func (r *Room) lack(ctx context.Context, path dataset.Path) (*dataset.SpaceError, error) {
	usage, err := r.Driver.Space(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("look for space: %w", err)
	}
	return Lack(usage, r.Accept.MinFree.Of(usage.Size)), nil
}

// Lack is nil when at least minFree bytes are free, and names what is missing
// otherwise.
func Lack(usage fsdrivers.Usage, minFree int64) *dataset.SpaceError {
	if usage.Free > minFree {
		return nil
	}
	return &dataset.SpaceError{Where: usage.Where, Free: usage.Free, Need: minFree + 1}
}
