package btrfs

import "io"

// flushEvery is how many bytes of a stream pass between two flushes.
const flushEvery = 64 << 20

// flusher passes a stream on to btrfs receive and has what came of it so far
// written to the disk beside that. Otherwise the kernel gathers dirty data by its
// own measure, a part of all memory, and all of it is left for the end, when
// everybody waits for the sync that makes the segment durable. That sync stays:
// this one proves nothing.
type flusher struct {
	to   io.Writer
	sync func() error

	since   int64      // bytes since the last flush began
	running chan error // of the flush that runs; nil for none
}

// Write passes p on. An error of a flush that has ended is answered too: writing
// back tells it once, so the sync at the end would not.
func (f *flusher) Write(p []byte) (int, error) {
	n, err := f.to.Write(p)
	f.since += int64(n)
	if err == nil && f.since >= flushEvery {
		err = f.maybeBegin()
	}
	return n, err
}

// maybeBegin begins a flush unless one runs.
func (f *flusher) maybeBegin() error {
	if f.running != nil {
		select {
		case err := <-f.running:
			f.running = nil
			if err != nil {
				return err
			}
		default:
			return nil // the disk is slower than the stream; the next Write looks again
		}
	}
	f.since = 0
	ended := make(chan error, 1)
	f.running = ended
	go func() { ended <- f.sync() }()
	return nil
}

// wait waits for the flush that runs, and returns its error.
func (f *flusher) wait() error {
	if f.running == nil {
		return nil
	}
	err := <-f.running
	f.running = nil
	return err
}
