package replicate

import (
	"context"
	"slices"
	"sync"
	"time"
)

// slots lets a number of errands run at once, first come, first served: who
// enters in the order of the deadlines is served in that order.
type slots struct {
	mu    sync.Mutex // guards below
	limit int
	used  int
	queue []chan struct{}
	tempo *tempo // what the limit follows; nil: it stays
}

func newSlots(n int) *slots { return &slots{limit: n} }

// newTempoSlots are slots whose number follows how fast steps get done.
func newTempoSlots() *slots {
	t := newTempo()
	return &slots{limit: t.limit, tempo: &t}
}

// enter takes a place in the queue at once. The place is served when the channel
// is closed; it must be left, served or not.
func (s *slots) enter() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	place := make(chan struct{})
	s.queue = append(s.queue, place)
	s.serve()
	return place
}

// serve lets in as many as may; s.mu is held.
func (s *slots) serve() {
	for s.used < s.limit && len(s.queue) > 0 {
		close(s.queue[0])
		s.queue = s.queue[1:]
		s.used++
	}
}

// leave gives the slot to the next in the queue, or gives the place up.
func (s *slots) leave(place chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.queue, place); i >= 0 {
		s.queue = slices.Delete(s.queue, i, i+1)
		return
	}
	s.used--
	s.serve()
}

// stepped tells how long a small step took. It counts only while others wait: a
// few steps say nothing about many.
func (s *slots) stepped(took time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tempo == nil || len(s.queue) == 0 {
		return
	}
	s.tempo.step(took)
	s.limit = s.tempo.limit
	s.serve()
}

// await returns nil when the place is served.
func await(ctx context.Context, place chan struct{}) error {
	select {
	case <-place:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
