package fake

import (
	"context"
	"fmt"
	"io"
	"sync"

	"antipode/fsdrivers/dataset"
)

// sending is an open send stream. Close may be called while Read waits.
type sending struct {
	ctx    context.Context // of the child that a real driver would have started
	cancel context.CancelFunc
	disk   *Disk
	crash  <-chan struct{}
	snap   *snapshot
	once   sync.Once

	enc *encoder // Read's own
	buf []byte   // made and not read yet
}

// Read answers io.EOF only after the end mark.
//
// Cases: "a send ends with its context", "a closed send answers no end of file".
func (s *sending) Read(p []byte) (int, error) {
	if len(s.buf) == 0 {
		if err := s.usable(); err != nil {
			return 0, err
		}
		if s.buf = s.enc.next(); s.buf == nil {
			return 0, io.EOF
		}
		if err := s.disk.pace(s.ctx, s.crash, len(s.buf)); err != nil {
			s.buf = nil
			s.cancel() // what was dropped must not be missing from the middle
			return 0, fmt.Errorf("send %s: %w: %w", s.snap.Name, dataset.ErrCut, err)
		}
	}
	n := copy(p, s.buf)
	s.buf = s.buf[n:]
	return n, nil
}

// usable fails once the stream cannot become whole.
func (s *sending) usable() error {
	select {
	case <-s.snap.gone:
		return fmt.Errorf("send %s: it was removed: %w", s.snap.Name, dataset.ErrCut)
	default:
	}
	if err := s.ctx.Err(); err != nil {
		return fmt.Errorf("send %s: %w: %w", s.snap.Name, dataset.ErrCut, context.Cause(s.ctx))
	}
	return nil
}

// Close ends the stream; the snapshot can be destroyed again.
func (s *sending) Close() error {
	s.once.Do(func() {
		s.cancel()
		s.disk.mu.Lock()
		defer s.disk.mu.Unlock()
		select {
		case <-s.crash: // the crash closed it
		default:
			s.snap.sends--
		}
	})
	return nil
}
