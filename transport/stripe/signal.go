package stripe

// signal wakes all who wait; its owner's mutex guards it. A channel and not a
// sync.Cond, so that waiting can end with a context.
type signal struct{ c chan struct{} }

// wait returns what the next fire closes.
func (s *signal) wait() <-chan struct{} {
	if s.c == nil {
		s.c = make(chan struct{})
	}
	return s.c
}

func (s *signal) fire() {
	if s.c != nil {
		close(s.c)
		s.c = nil
	}
}
