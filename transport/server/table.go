package server

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"antipode/transport/stripe"
	"antipode/transport/wire"
)

// remembered is how many incarnations that are over keep their answer.
const remembered = 1024

// minWindow lets one chunk come while another is delivered; maxWindow is what
// a stripe.Receiver can compare repetitions of. In chunks.
const (
	minWindow = 2
	maxWindow = 1 << 10
)

// table is the transfers, by what they receive into and by incarnation.
type table struct {
	mu      sync.Mutex // guards what follows
	closed  bool
	running map[key]*transfer
	whole   int                  // of those that run: steps in one request
	byName  map[string]*transfer // also those that are over
	over    []string             // names of those, oldest first
}

func newTable() *table {
	return &table{running: map[key]*transfer{}, byName: map[string]*transfer{}}
}

func (b *table) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
}

func (b *table) list() []*transfer {
	b.mu.Lock()
	defer b.mu.Unlock()
	var ts []*transfer
	for _, t := range b.running {
		ts = append(ts, t)
	}
	slices.SortFunc(ts, func(x, y *transfer) int { return x.started.Compare(y.started) })
	return ts
}

// find returns the peer's incarnation. Another peer's looks like one that does
// not exist.
func (b *table) find(peer, incarnation string) (*transfer, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.byName[incarnation]; t != nil && t.peer == peer {
		return t, nil
	}
	return nil, wire.ErrUnknown
}

// enter notes a connection of a lane, within what its peer may have.
func (b *table) enter(t *transfer, n int) (v *visit, leave func(), err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	lanes := 0
	for _, other := range b.running {
		if other.peer == t.peer {
			lanes += other.connections()
		}
	}
	if lanes >= wire.MaxPeerLanes {
		return nil, nil, fmt.Errorf("%w: %d lanes of %s are connected", wire.ErrTooMany, lanes, t.peer)
	}
	return t.enter(n)
}

// retire moves a transfer that is over out of the way of the next one.
func (b *table) retire(t *transfer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.running, t.key())
	if t.whole {
		b.whole--
	}
	b.over = append(b.over, t.open.Incarnation)
	if len(b.over) > remembered {
		delete(b.byName, b.over[0])
		b.over = b.over[1:]
	}
}

// open returns the transfer of the announcement: the one that it started
// before, or a new one, once the earlier incarnation is over and its child
// reaped. whole says that all of it comes in this request.
func (s *Server) open(ctx context.Context, peer string, o wire.Open, whole bool) (*transfer, error) {
	for {
		t, earlier, err := s.tryOpen(peer, o, whole)
		if err != nil || t != nil {
			return t, err
		}
		earlier.end(fmt.Errorf("%w: %s", wire.ErrSuperseded, o.Incarnation))
		if err := earlier.wait(ctx); err != nil {
			return nil, fmt.Errorf("wait for the end of incarnation %s: %w", earlier.open.Incarnation, err)
		}
	}
}

// tryOpen returns either a transfer or the earlier one that is in its way.
func (s *Server) tryOpen(peer string, o wire.Open, whole bool) (t, earlier *transfer, err error) {
	b := s.transfers
	b.mu.Lock()
	defer b.mu.Unlock()
	if t := b.byName[o.Incarnation]; t != nil {
		switch {
		case t.peer != peer:
			return nil, nil, wire.ErrUnknown
		case t.open.Step.ID() != o.Step.ID() || t.open.Driver != o.Driver:
			return nil, nil, fmt.Errorf("%w: incarnation %s is of another step", wire.ErrMalformed, o.Incarnation)
		}
		t.heard()
		return t, nil, nil
	}
	t = s.newTransfer(peer, o)
	t.whole = whole
	switch {
	case b.closed:
		return nil, nil, fmt.Errorf("%w: the daemon stops", wire.ErrAborted)
	case b.running[t.key()] != nil:
		return nil, b.running[t.key()], nil
	case !whole && len(b.running)-b.whole >= s.opts.MaxTransfers:
		return nil, nil, fmt.Errorf("%w: %d are running here", wire.ErrTooMany, len(b.running)-b.whole)
	case whole && b.whole >= maxWhole:
		return nil, nil, fmt.Errorf("%w: %d small steps are running here", wire.ErrTooMany, b.whole)
	}
	if whole {
		b.whole++
	}
	b.running[t.key()], b.byName[o.Incarnation] = t, t
	s.start(t)
	return t, nil, nil
}

func (s *Server) newTransfer(peer string, o wire.Open) *transfer {
	return &transfer{
		peer: peer, open: o, started: s.opts.Now(), now: s.opts.Now, patient: s.opts.WaitForLink(o), over: make(chan struct{}),
		rx: stripe.NewReceiver(stripe.ReceiverOptions{
			Pool: s.pool, ChunkBytes: o.ChunkBytes,
			Window: func() int { return min(s.memory.Window(s.opts.Window, o.ChunkBytes, minWindow), maxWindow) },
		}),
	}
}

// start runs the receive. Its life is not that of the request that opened it:
// it ends by t.end alone, which Serve calls for all.
func (s *Server) start(t *transfer) {
	ctx, cancel := context.WithCancelCause(context.Background())
	t.cancel, t.ending = cancel, ctx.Done()
	t.heard()
	log := s.opts.Log.With().Str("peer", t.peer).Stringer("dataset", t.open.Step.Dataset.Path).
		Str("incarnation", t.open.Incarnation).Logger()
	log.Info().Str("snapshot", t.open.Step.To.Name).Msg("receive starts")
	leave := func() {}
	if !t.whole { // what comes whole does not narrow the windows of others
		leave = s.memory.Join()
	}
	go func() {
		t.run(ctx, s.opts.Backend)
		leave()
		s.transfers.retire(t)
		close(t.over)
		received, _ := t.rx.Received()
		if t.final.Error != nil {
			log.Warn().Err(t.final.Error).Int64("bytes", received).Msg("receive ended")
			return
		}
		log.Info().Int64("bytes", received).Msg("receive published")
	}()
}
