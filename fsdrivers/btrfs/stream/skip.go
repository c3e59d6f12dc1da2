package stream

import "fmt"

// Mark is a place in a stream that was received once, and the digest of what lies
// before it.
type Mark struct {
	// Done counts the bytes before it from the end of the first command on, whose
	// length may differ from run to run.
	Done   int64
	Digest Digest
}

// Skip reads a stream, whose Head was read, up to the last of the marks, which
// rise, and tells how many of them it agrees with, from the first on. Only when
// that is all of them the reader stands at the last one. tell is told how much
// was read. Errors: dataset.ErrCut, *RefusedError.
func Skip(r *Reader, marks []Mark, tell func(done int64)) (agreed int, err error) {
	p := newPrefix()
	for agreed < len(marks) {
		here := r.taken - r.headSize
		if m := marks[agreed]; here >= m.Done {
			if here != m.Done || p.digest() != m.Digest {
				return agreed, nil
			}
			agreed++
			tell(here)
			continue
		}
		if !r.Buffered() {
			tell(here)
		}
		t, err := r.peek()
		if err != nil {
			return agreed, fmt.Errorf("read again: %w", err)
		}
		if t == End { // it was longer then
			return agreed, nil
		}
		c, err := r.Next()
		if err != nil {
			return agreed, fmt.Errorf("read again: %w", err)
		}
		p.add(c)
	}
	return agreed, nil
}
