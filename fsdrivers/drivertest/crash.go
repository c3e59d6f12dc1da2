package drivertest

import (
	"errors"
	"io"

	"antipode/fsdrivers/dataset"
)

func crashCases() []testCase {
	return []testCase{
		{"a sweep removes what a crash left", sweepLitter},
		{"a receive works after a crash with the same step", receiveAfterCrash},
		{"a receive works after a crash with another step", otherAfterCrash},
	}
}

func vanishCases() []testCase {
	return []testCase{
		{"a dataset that vanishes breaks its send", vanish},
		{"a dataset made anew under an old path has diverged", madeAnew},
	}
}

// litter leaves half of a big step behind and starts the drivers again.
func litter(w *world) (Litterer, dataset.Step) {
	w.Helper()
	l := ability[Litterer](w)
	d, s1 := w.sent("db", "base")
	w.must(w.Write(d.Path, "big", noise(11, big)), "write")
	st := step(d, s1, w.snap(d))
	whole := w.stream(st)
	l.Litter(incoming(st), whole[:len(whole)/2])
	w.Reopen()
	if len(l.Leftovers()) == 0 {
		w.Fatal("the harness left nothing behind")
	}
	return l, st
}

func sweepLitter(w *world) {
	l, st := litter(w)
	w.must(w.Target().Sweep(w.Context()), "sweep")
	c, err := w.Target().Pending(w.Context(), st.Dataset.Path)
	w.must(err, "pending")
	if left := l.Leftovers(); c.IsZero() && len(left) != 0 {
		w.Errorf("after a sweep: got %q, want nothing, as nothing can go on from it", left)
	}
	w.must(w.Target().Abort(w.Context(), st.Dataset.Path), "abort")
	if left := l.Leftovers(); len(left) != 0 {
		w.Errorf("after an abort: got %q, want nothing", left)
	}
	w.must(w.Target().Sweep(w.Context()), "sweep again")
	w.wantPublished(st.Dataset, st.From)
}

func receiveAfterCrash(w *world) {
	l, st := litter(w)
	w.must(w.Target().Sweep(w.Context()), "sweep")
	w.transfer(st)
	w.wantPublished(st.Dataset, st.From, st.To)
	w.wantContent(st.Dataset, st.To, "big", string(noise(11, big)))
	if left := l.Leftovers(); len(left) != 0 {
		w.Errorf("after publishing: got %q, want nothing", left)
	}
}

func otherAfterCrash(w *world) {
	_, st := litter(w)
	w.must(w.Target().Sweep(w.Context()), "sweep")
	w.write(st.Dataset, "a", "newer")
	other := step(st.Dataset, st.From, w.snap(st.Dataset))
	w.transfer(other)
	w.wantPublished(st.Dataset, st.From, other.To)
	w.wantContent(st.Dataset, other.To, "a", "newer")
}

// vanish may break the stream or let it finish, as the file system has it; it
// must not end it early as if it were whole.
func vanish(w *world) {
	v := ability[Vanisher](w)
	st, r := startSend(w.Context(), w)
	whole := int64(len(w.stream(st)))
	v.Vanish(st.Dataset.Path)
	w.ends("a send of what vanished", func() {
		n, err := io.Copy(io.Discard, r)
		if n += 1000; err == nil && n != whole {
			w.Errorf("got io.EOF after %d of %d bytes", n, whole)
		}
		if err != nil && !errors.Is(err, dataset.ErrCut) && !errors.Is(err, dataset.ErrNotFound) {
			w.Errorf("got error %v, want cut or not found", err)
		}
	})
	r.Close()
	_, err := w.Source().Find(w.Context(), st.Dataset.Path, false)
	w.want(err, "find it", dataset.ErrNotFound)
	w.must(w.Source().Destroy(w.Context(), st.Dataset.Path, st.To), "destroy a snapshot of it")
}

func restart(w *world) {
	first := w.start("db")
	first.stop()
	if err := first.err(); err == nil {
		w.Error("receive without its context: got no error")
	}
	w.Reopen()
	w.must(w.Target().Sweep(w.Context()), "sweep")
	w.wantPublished(first.st.Dataset)
	w.must(w.Target().Abort(w.Context(), first.st.Dataset.Path), "abort")
	w.transfer(first.st)
	w.wantPublished(first.st.Dataset, first.st.To)
}
