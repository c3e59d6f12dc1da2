package drivertest

import (
	"bytes"
	"context"
	"errors"
	"io"

	"antipode/fsdrivers/dataset"
)

// running is a receive that has taken in half of its stream.
type running struct {
	w    *world
	st   dataset.Step
	rest []byte
	in   *io.PipeWriter
	stop func() // ends the context
	done chan error
}

// start makes a dataset and begins to receive it.
func (w *world) start(name string) *running {
	w.Helper()
	d := w.dataset(name, string(noise(9, 1<<20)))
	return w.startStep(step(d, dataset.Snapshot{}, w.snap(d)))
}

func (w *world) startStep(st dataset.Step) *running {
	w.Helper()
	whole := w.stream(st)
	r, in := io.Pipe()
	ctx, cancel := context.WithCancel(w.Context())
	stop := func() {
		cancel()
		in.CloseWithError(context.Canceled) // the reader ends when the context does
	}
	run := &running{w: w, st: st, rest: whole[len(whole)/2:], in: in, stop: stop, done: make(chan error, 1)}
	w.Cleanup(stop) // a case that fails must not leave it behind
	go func() {
		_, err := w.Target().Receive(ctx, incoming(st), r)
		r.CloseWithError(errors.New("receive has returned"))
		run.done <- err
	}()
	w.ends("the first half of a receive", func() {
		if _, err := in.Write(whole[:len(whole)/2]); err != nil {
			w.Errorf("receive: %v", err)
		}
	})
	return run
}

// finish gives it the other half.
func (r *running) finish() {
	r.w.Helper()
	r.w.ends("the second half of a receive", func() {
		if _, err := io.Copy(r.in, bytes.NewReader(r.rest)); err != nil {
			r.w.Errorf("write the second half: %v", err)
		}
		_ = r.in.Close() // never fails
	})
	r.w.must(r.err(), "finish the receive")
	r.w.wantContent(r.st.Dataset, r.st.To, "a", string(noise(9, 1<<20)))
}

// err waits for Receive to return.
func (r *running) err() (err error) {
	r.w.Helper()
	r.w.ends("receive", func() { err = <-r.done })
	return err
}

func secondReceive(w *world) {
	first := w.start("db")
	d := first.st.Dataset
	w.write(d, "b", "y")
	other := step(d, dataset.Snapshot{}, w.snap(d))
	for _, st := range []dataset.Step{first.st, other} {
		_, err := w.receive(st, w.stream(st))
		w.want(err, "a second receive of "+st.To.Name, dataset.ErrBusy)
	}
	w.wantPublished(d)
	first.finish()
	w.transfer(other)
	w.wantPublished(d, first.st.To, other.To)
}

func abortRunning(w *world) {
	first := w.start("db")
	w.want(w.Target().Abort(w.Context(), first.st.Dataset.Path), "abort", dataset.ErrBusy)
	first.finish()
	w.wantPublished(first.st.Dataset, first.st.To)
}

func sweepRunning(w *world) {
	first := w.start("db")
	w.must(w.Target().Sweep(w.Context()), "sweep the target")
	w.must(w.Source().Sweep(w.Context()), "sweep the source")
	first.finish()
	w.wantPublished(first.st.Dataset, first.st.To)
}

func sideBySide(w *world) {
	a, b := w.start("a"), w.start("b")
	b.finish()
	a.finish()
	w.wantPublished(a.st.Dataset, a.st.To)
	w.wantPublished(b.st.Dataset, b.st.To)
}

func cancelReceive(w *world) {
	first := w.start("db")
	first.stop()
	w.want(first.err(), "receive", context.Canceled)
	w.wantPublished(first.st.Dataset)
	w.wantClean(first.st.Dataset)
	w.must(w.Target().Abort(w.Context(), first.st.Dataset.Path), "abort")
	w.transfer(first.st)
	w.wantPublished(first.st.Dataset, first.st.To)
}

// startSend opens a big stream and reads a little of it.
func startSend(ctx context.Context, w *world) (dataset.Step, io.ReadCloser) {
	w.Helper()
	d := w.Make("db")
	w.must(w.Write(d.Path, "big", noise(10, big)), "write")
	st := step(d, dataset.Snapshot{}, w.snap(d))
	r, err := w.Source().Send(ctx, st, dataset.Checkpoint{})
	w.must(err, "send")
	w.Cleanup(func() { r.Close() })
	_, err = io.ReadFull(r, make([]byte, 1000))
	w.must(err, "read the beginning")
	return st, r
}

func cancelSend(w *world) {
	ctx, stop := context.WithCancel(w.Context())
	defer stop()
	st, r := startSend(ctx, w)
	stop()
	w.ends("a send without its context", func() {
		n, err := io.Copy(io.Discard, r)
		if err == nil {
			w.Errorf("read to the end: got io.EOF after %d more bytes, want an error", n)
		}
	})
	r.Close()
	w.transfer(st)
	w.wantPublished(st.Dataset, st.To)
}

func closeSend(w *world) {
	st, r := startSend(w.Context(), w)
	w.ends("close", func() { r.Close() })
	if _, err := io.Copy(io.Discard, r); err == nil {
		w.Error("read after Close: got io.EOF, want an error")
	}
	w.must(w.Source().Destroy(w.Context(), st.Dataset.Path, st.To), "destroy after Close")
}
