package replicate

import (
	"context"
	"sync"
)

// slots lets a number of errands run at once, first come, first served: who
// enters in the order of the deadlines is served in that order.
type slots struct {
	mu    sync.Mutex // guards both
	free  int
	queue []chan struct{}
}

func newSlots(n int) *slots { return &slots{free: n} }

// enter takes a place in the queue at once. The place is served when the channel
// is closed; it must be left, served or not.
func (s *slots) enter() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	place := make(chan struct{})
	if s.free > 0 {
		s.free--
		close(place)
	} else {
		s.queue = append(s.queue, place)
	}
	return place
}

// leave gives the slot to the next in the queue, or gives the place up.
func (s *slots) leave(place chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, waiting := range s.queue {
		if waiting == place {
			s.queue = append(s.queue[:i], s.queue[i+1:]...)
			return
		}
	}
	if len(s.queue) == 0 {
		s.free++
		return
	}
	close(s.queue[0])
	s.queue = s.queue[1:]
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
