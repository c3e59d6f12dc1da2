package drivertest

import (
	"bytes"
	"io"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

func onwardCases() []testCase {
	return []testCase{
		{"what was received is sent on with its identity and content", sendOn},
		{"what was received in several full copies is sent on", sendOnAfterFull},
		{"only published points of the dataset are sent on", sendOnOthers},
		{"a point is sent on while the next one comes in", sendOnWhileReceiving},
		{"what was received is sent on after a restart", sendOnAfterRestart},
	}
}

func onwardResumeCases() []testCase {
	return []testCase{{"a step that was broken off is sent on from its checkpoint", sendOnFromCheckpoint}}
}

func onwardMoveCases() []testCase {
	return []testCase{{"a moved replica is sent on, whatever of it is on its way", sendOnMoved}}
}

func (w *world) onward() fsdrivers.Onward {
	w.Helper()
	f, _ := w.Target().(fsdrivers.Forwarder) // the cases need one
	return f.Onward()
}

// sendOnto takes a step from the target in between to the one beyond it.
func (w *world) sendOnto(s dataset.Step, from dataset.Checkpoint) dataset.Snapshot {
	w.Helper()
	r, err := w.onward().Send(w.Context(), s, from)
	w.must(err, "send %s on", s.To.Name)
	return w.arrives(s, from, r)
}

func (w *world) arrives(s dataset.Step, from dataset.Checkpoint, r io.ReadCloser) dataset.Snapshot {
	w.Helper()
	in := incoming(s)
	in.Checkpoint = from
	got, err := ability[Chainer](w).Beyond().Receive(w.Context(), in, r)
	w.must(err, "receive %s beyond", s.To.Name)
	w.must(r.Close(), "close the stream of %s", s.To.Name)
	return got
}

// wantBeyond compares what is published beyond.
func (w *world) wantBeyond(d dataset.Dataset, want ...dataset.Snapshot) {
	w.Helper()
	list, err := ability[Chainer](w).Beyond().Snapshots(w.Context(), d.Path)
	w.must(err, "list what is published beyond")
	wantIDs(w, "published beyond", list, want)
	for i, s := range list {
		if i < len(want) && !s.Created.Equal(want[i].Created) {
			w.Errorf("%s was made at %s, beyond it says %s", s.Name, want[i].Created, s.Created)
		}
	}
}

func (w *world) wantContentBeyond(d dataset.Dataset, s dataset.Snapshot, file, want string) {
	w.Helper()
	got, err := ability[Chainer](w).ReadBeyond(d.Path, s.Name, file)
	if err != nil || string(got) != want {
		w.Errorf("%s of %s beyond: got %.40q (%d bytes), %v, want %.40q (%d bytes)", file, s.Name, got, len(got), err, want, len(want))
	}
}

func sendOn(w *world) {
	d, s1 := w.sent("db", "one")
	w.write(d, "a", "two")
	w.must(w.Write(d.Path, "big", noise(21, big)), "write big")
	s2 := w.snap(d)
	w.transfer(step(d, s1, s2))
	first, second := step(d, dataset.Snapshot{}, s1), step(d, s1, s2)
	w.sendOnto(first, dataset.Checkpoint{})
	if n, err := w.onward().Estimate(w.Context(), second); err != nil || n < big/2 || n > 2*big {
		w.Errorf("the estimate of %d bytes is %d, %v", big, n, err)
	}
	w.sendOnto(second, dataset.Checkpoint{})
	w.wantBeyond(d, s1, s2)
	w.wantContentBeyond(d, s1, "a", "one")
	w.wantContentBeyond(d, s2, "a", "two")
	w.wantContentBeyond(d, s2, "big", string(noise(21, big)))
	w.sendOnto(first, dataset.Checkpoint{}) // it is there already
	w.wantBeyond(d, s1, s2)
}

// sendOnAfterFull: the source lost the base, and began anew; the increments on that go on.
func sendOnAfterFull(w *world) {
	d, s1 := w.sent("db", "one")
	w.sendOnto(step(d, dataset.Snapshot{}, s1), dataset.Checkpoint{})
	w.write(d, "a", "two")
	s2 := w.snap(d)
	w.transfer(step(d, dataset.Snapshot{}, s2))
	w.sendOnto(step(d, dataset.Snapshot{}, s2), dataset.Checkpoint{})
	w.write(d, "a", "three")
	s3 := w.snap(d)
	w.transfer(step(d, s2, s3))
	w.sendOnto(step(d, s2, s3), dataset.Checkpoint{})
	w.wantBeyond(d, s1, s2, s3)
	w.wantContentBeyond(d, s3, "a", "three")
}

func sendOnOthers(w *world) {
	d, s1 := w.sent("db", "one")
	w.write(d, "a", "two")
	unsent := w.snap(d)
	other, theirs := w.sent("other", "x")
	for name, c := range map[string]struct {
		step dataset.Step
		want error
	}{
		"a point that was not received":   {step(d, s1, unsent), dataset.ErrNotFound},
		"on a base that was not received": {step(d, unsent, s1), dataset.ErrBaseMissing},
		"another dataset's point":         {step(d, dataset.Snapshot{}, theirs), dataset.ErrNotFound},
		"under another identity":          {step(dataset.Dataset{Path: d.Path, ID: other.ID}, dataset.Snapshot{}, s1), dataset.ErrNotFound},
		"under another path":              {step(dataset.Dataset{Path: w.Path("none"), ID: d.ID}, dataset.Snapshot{}, s1), dataset.ErrNotFound},
	} {
		r, err := w.onward().Send(w.Context(), c.step, dataset.Checkpoint{})
		if err == nil { // some tell it only where they read
			_, err = io.ReadAll(r)
			w.must(r.Close(), "close")
		}
		w.want(err, "send on "+name, c.want)
		_, err = w.onward().Estimate(w.Context(), c.step)
		w.want(err, "estimate "+name, c.want)
	}
}

func sendOnWhileReceiving(w *world) {
	d := w.dataset("db", string(noise(22, big)))
	s1 := w.snap(d)
	w.transfer(step(d, dataset.Snapshot{}, s1))
	st := step(d, dataset.Snapshot{}, s1)
	r, err := w.onward().Send(w.Context(), st, dataset.Checkpoint{})
	w.must(err, "send on")
	w.write(d, "a", "two")
	s2 := w.snap(d)
	w.transfer(step(d, s1, s2))
	w.arrives(st, dataset.Checkpoint{}, r)
	w.sendOnto(step(d, s1, s2), dataset.Checkpoint{})
	w.wantBeyond(d, s1, s2)
	w.wantContentBeyond(d, s1, "a", string(noise(22, big)))
	w.wantContentBeyond(d, s2, "a", "two")
}

func sendOnAfterRestart(w *world) {
	d, s1 := w.sent("db", "one")
	w.Reopen()
	w.must(w.Target().Sweep(w.Context()), "sweep")
	w.sendOnto(step(d, dataset.Snapshot{}, s1), dataset.Checkpoint{})
	w.wantBeyond(d, s1)
}

func sendOnFromCheckpoint(w *world) {
	d := w.dataset("db", string(noise(23, big)))
	s1 := w.snap(d)
	st := step(d, dataset.Snapshot{}, s1)
	w.transfer(st)
	r, err := w.onward().Send(w.Context(), st, dataset.Checkpoint{})
	w.must(err, "send on")
	beyond := ability[Chainer](w).Beyond()
	_, err = beyond.Receive(w.Context(), incoming(st), io.LimitReader(r, big/2))
	w.want(err, "receive a part", dataset.ErrCut)
	w.must(r.Close(), "close")
	c, err := beyond.Pending(w.Context(), d.Path)
	w.must(err, "pending")
	w.sendOnto(st, c) // zero too: then all is sent again
	w.wantBeyond(d, s1)
	w.wantContentBeyond(d, s1, "a", string(noise(23, big)))
}

func sendOnMoved(w *world) {
	d := w.dataset("db", string(noise(24, big)))
	s1 := w.snap(d)
	w.transfer(step(d, dataset.Snapshot{}, s1))
	st := step(d, dataset.Snapshot{}, s1)
	r, err := w.onward().Send(w.Context(), st, dataset.Checkpoint{})
	w.must(err, "send on")
	first := make([]byte, 1) // so that it has found what it sends
	_, err = io.ReadFull(r, first)
	w.must(err, "read what is sent on")
	moved, err := w.move(d, w.Path("new"))
	w.must(err, "move")
	w.arrives(st, dataset.Checkpoint{}, struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(first), r), r})
	w.wantContentBeyond(d, s1, "a", string(noise(24, big)))
	again, err := w.onward().Send(w.Context(), st, dataset.Checkpoint{})
	if err == nil {
		_, err = io.ReadAll(again)
		w.must(again.Close(), "close")
	}
	w.want(err, "send on under the old path", dataset.ErrNotFound)
	if _, err := w.onward().Estimate(w.Context(), step(moved, dataset.Snapshot{}, s1)); err != nil {
		w.Errorf("under the new path: %v", err)
	}
}
