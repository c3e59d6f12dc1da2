package shape

import (
	"context"
	"io"
)

// Writer returns a writer that gives w what the budget grants, slice by slice.
// ctx ends a write that waits; like any short write it returns how far it got.
func (b *Budget) Writer(ctx context.Context, w io.Writer) io.Writer {
	return writerFunc(func(p []byte) (int, error) {
		done := 0
		for done < len(p) {
			k := min(len(p)-done, b.slice())
			if err := b.Wait(ctx, k); err != nil {
				return done, err
			}
			n, err := w.Write(p[done : done+k])
			done += n
			if err != nil {
				return done, err
			}
		}
		return done, nil
	})
}

// Reader returns a reader that passes on what r gives as fast as the budget
// grants it: for a request's body, which net/http pulls. ctx ends a read that
// waits; what it had read is lost with it.
func (b *Budget) Reader(ctx context.Context, r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		n, err := r.Read(p[:min(len(p), b.slice())])
		if waitErr := b.Wait(ctx, n); waitErr != nil {
			return 0, waitErr
		}
		return n, err
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
