package drivertest

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing/iotest"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

func refuseCases() []testCase {
	return []testCase{
		{"what is gone cannot be sent", sendGone},
		{"without its base nothing is sent", sendWithoutBase},
		{"a checkpoint that does not fit is recognised", sendStale},
		{"without its base nothing is received", receiveWithoutBase},
		{"a stream of another snapshot is refused", wrongIdentity},
		{"a stream from another base is refused", wrongBase},
		{"noise is refused", noiseRefused},
		{"a damaged stream is refused", damaged},
		{"nothing may follow the end mark", trailing},
		{"a stream beyond its bound is refused", tooLong},
		{"a name that another identity has is refused", nameTaken},
	}
}

func foreignCases() []testCase {
	return []testCase{{"a foreign copy of the base changes nothing", foreignCopy}}
}

// sendErr opens a stream and reads it to its end or error.
func sendErr(w *world, s dataset.Step, from dataset.Checkpoint) error {
	return sendFrom(w, w.Source(), s, from)
}

func sendFrom(w *world, source fsdrivers.Sender, s dataset.Step, from dataset.Checkpoint) error {
	r, err := source.Send(w.Context(), s, from)
	if err != nil {
		return err
	}
	defer r.Close()
	_, err = io.Copy(io.Discard, r)
	return err
}

func sendGone(w *world) {
	d := w.dataset("db", "x")
	s := w.snap(d)
	w.must(w.Source().Destroy(w.Context(), d.Path, s), "destroy")
	w.want(sendErr(w, step(d, dataset.Snapshot{}, s), dataset.Checkpoint{}), "send", dataset.ErrNotFound)
	gone := dataset.Dataset{Path: w.Path("none"), ID: d.ID}
	w.want(sendErr(w, step(gone, dataset.Snapshot{}, s), dataset.Checkpoint{}), "send of no dataset", dataset.ErrNotFound)
}

func sendWithoutBase(w *world) {
	d := w.dataset("db", "x")
	s1, s2 := w.snap(d), w.snap(d)
	w.must(w.Source().Destroy(w.Context(), d.Path, s1), "destroy the base")
	w.want(sendErr(w, step(d, s1, s2), dataset.Checkpoint{}), "send", dataset.ErrBaseMissing)
}

func sendStale(w *world) {
	d := w.dataset("db", "x")
	st := step(d, dataset.Snapshot{}, w.snap(d))
	for _, c := range []dataset.Checkpoint{
		{Kind: "of no driver", Step: st.ID(), Done: 7},
		{Kind: "of no driver", Step: "0123456789abcdef0123456789abcdef", Done: 1 << 50, Opaque: []byte("x")},
	} {
		w.want(sendErr(w, st, c), "send from "+c.Kind, dataset.ErrStaleCheckpoint)
	}
}

func receiveWithoutBase(w *world) {
	d := w.dataset("db", "x")
	s1, s2 := w.snap(d), w.snap(d)
	st := step(d, s1, s2)
	_, err := w.receive(st, w.stream(st))
	w.want(err, "receive", dataset.ErrBaseMissing)
	w.wantPublished(d)
}

// refused receives a stream that is not st's, and then the right one.
func refused(w *world, st dataset.Step, stream []byte, wanted ...error) {
	w.Helper()
	before := w.published(st.Dataset)
	_, err := w.receive(st, stream)
	w.want(err, "receive", wanted...)
	w.wantPublished(st.Dataset, before...)
	w.wantClean(st.Dataset)
	w.must(w.Target().Abort(w.Context(), st.Dataset.Path), "abort")
	w.transfer(st)
	w.wantPublished(st.Dataset, append(before, st.To)...)
}

func wrongIdentity(w *world) {
	d := w.dataset("db", "x")
	s1 := w.snap(d)
	w.write(d, "a", "y")
	s2 := w.snap(d)
	refused(w, step(d, dataset.Snapshot{}, s1), w.stream(step(d, dataset.Snapshot{}, s2)), dataset.ErrRefused)
}

func wrongBase(w *world) {
	d, s1 := w.sent("db", "x")
	w.write(d, "a", "y")
	s2 := w.snap(d)
	w.transfer(step(d, s1, s2))
	s3, s4 := w.snap(d), w.snap(d)
	full, on1 := w.stream(step(d, dataset.Snapshot{}, s3)), w.stream(step(d, s1, s3))
	refused(w, step(d, s2, s3), full, dataset.ErrRefused)
	w.must(w.Target().Destroy(w.Context(), d.Path, s3), "destroy")
	refused(w, step(d, s2, s3), on1, dataset.ErrRefused)
	refused(w, step(d, dataset.Snapshot{}, s4), w.stream(step(d, s3, s4)), dataset.ErrRefused)
}

func noiseRefused(w *world) {
	d := w.dataset("db", "x")
	refused(w, step(d, dataset.Snapshot{}, w.snap(d)), noise(4, 100_000), dataset.ErrRefused)
}

func damaged(w *world) {
	d := w.dataset("db", string(noise(5, 20_000)))
	st := step(d, dataset.Snapshot{}, w.snap(d))
	whole := w.stream(st)
	for _, at := range []int{0, 9, 20, 40, 100, len(whole) / 2, len(whole) - 11, len(whole) - 5, len(whole) - 1} {
		bad := slices.Clone(whole)
		bad[at] ^= 0x10
		_, err := w.receive(st, bad)
		if !errors.Is(err, dataset.ErrRefused) && !errors.Is(err, dataset.ErrCut) {
			w.Errorf("a bit of byte %d of %d flipped: got error %v, want refused or cut", at, len(whole), err)
		}
		w.wantPublished(d)
		w.must(w.Target().Abort(w.Context(), d.Path), "abort")
	}
	_, err := w.receive(st, whole)
	w.must(err, "receive the undamaged stream")
}

func trailing(w *world) {
	d := w.dataset("db", "x")
	st := step(d, dataset.Snapshot{}, w.snap(d))
	whole := w.stream(st)
	refused(w, st, append(slices.Clone(whole), 0), dataset.ErrRefused)
	w.must(w.Target().Destroy(w.Context(), d.Path, st.To), "destroy")
	refused(w, st, append(slices.Clone(whole), whole...), dataset.ErrRefused)
}

func tooLong(w *world) {
	d := w.dataset("db", string(noise(6, 100_000)))
	st := step(d, dataset.Snapshot{}, w.snap(d))
	whole := w.stream(st)
	in := incoming(st)
	in.MaxBytes = int64(len(whole)) - 1
	_, err := w.Target().Receive(w.Context(), in, bytes.NewReader(whole))
	w.want(err, "receive a byte too many", dataset.ErrRefused)
	w.wantPublished(d)
	w.must(w.Target().Abort(w.Context(), d.Path), "abort")
	in.MaxBytes++
	_, err = w.Target().Receive(w.Context(), in, bytes.NewReader(whole))
	w.must(err, "receive just as many bytes as allowed")
}

func nameTaken(w *world) {
	d, s := w.sent("db", "old")
	w.must(w.Source().Destroy(w.Context(), d.Path, s), "destroy on the source")
	w.write(d, "a", "new")
	again := w.snapAs(d, s.Name)
	st := step(d, dataset.Snapshot{}, again)
	_, err := w.receive(st, w.stream(st))
	w.want(err, "receive", dataset.ErrExists)
	w.wantPublished(d, s)
	w.wantContent(d, s, "a", "old")
}

func madeAnew(w *world) {
	v := ability[Vanisher](w)
	d, s := w.sent("db", "old")
	v.Vanish(d.Path)
	anew := w.dataset("db", "new")
	if anew.ID == d.ID {
		w.Fatalf("the harness made the same dataset again, %s", d.ID)
	}
	st := step(anew, dataset.Snapshot{}, w.snap(anew))
	_, err := w.receive(st, w.stream(st))
	w.want(err, "receive", dataset.ErrDiverged)
	w.wantPublished(d, s)
	w.wantContent(d, s, "a", "old")
}

func foreignCopy(w *world) {
	c := ability[Copier](w)
	d, s1 := w.sent("db", "one")
	c.ForeignCopy(d.Path, s1.Name)
	w.wantPublished(d, s1)
	w.write(d, "b", "two")
	s2 := w.snap(d)
	w.transfer(step(d, s1, s2))
	w.wantPublished(d, s1, s2)
	w.wantContent(d, s2, "a", "one")
	w.wantContent(d, s2, "b", "two")
	found, err := w.Target().Find(w.Context(), "/", true)
	w.must(err, "find replicas")
	wantPaths(w, found, d)
}

func baseRemoved(w *world) {
	r := ability[Remover](w)
	d, s1 := w.sent("db", "one")
	w.write(d, "a", "two")
	s2 := w.snap(d)
	r.RemoveReceived(d.Path, s1.Name)
	w.wantPublished(d)
	st := step(d, s1, s2)
	_, err := w.receive(st, w.stream(st))
	w.want(err, "receive on the removed base", dataset.ErrBaseMissing)
	r.RemoveSent(d.Path, s1.Name)
	w.want(sendErr(w, st, dataset.Checkpoint{}), "send from the removed base", dataset.ErrBaseMissing)
	w.transfer(step(d, dataset.Snapshot{}, s2))
	w.wantContent(d, s2, "a", "two")
}

func interruptCases() []testCase {
	return []testCase{
		{"an empty stream is cut", emptyStream},
		{"a cut stream leaves nothing published", cutAnywhere},
		{"a failure after the last byte is not a success", failAtEnd},
		{"a resumed receive goes on from its checkpoint", resume},
		{"without its checkpoint a step is received from its first byte", resumeAnew},
		{"another step takes the place of an unfinished one", otherStep},
		{"aborting nothing is success", abortNothing},
		{"a second receive on a replica is busy", secondReceive},
		{"a running receive is not aborted", abortRunning},
		{"a restart in the middle of a receive publishes nothing", restart},
		{"a sweep leaves a running receive alone", sweepRunning},
		{"receives into two replicas run side by side", sideBySide},
		{"a receive ends with its context", cancelReceive},
		{"a send ends with its context", cancelSend},
		{"a closed send answers no end of file", closeSend},
	}
}

func resumeCases() []testCase {
	return []testCase{{"a checkpoint that does not fit is stale, and the step is received anew", staleCheckpoints}}
}

func emptyStream(w *world) {
	d := w.dataset("db", "x")
	refused(w, step(d, dataset.Snapshot{}, w.snap(d)), nil, dataset.ErrCut)
}

func cutAnywhere(w *world) {
	d, s1 := w.sent("db", "base")
	w.must(w.Write(d.Path, "big", noise(7, 1<<20)), "write")
	st := step(d, s1, w.snap(d))
	whole := w.stream(st)
	for _, at := range []int{1, 17, 30, 200, len(whole) / 2, len(whole) - 10, len(whole) - 1} {
		_, err := w.receive(st, whole[:at])
		w.want(err, "receive a cut stream", dataset.ErrCut)
		w.wantPublished(d, s1)
		w.wantClean(d)
		if c, err := w.Target().Pending(w.Context(), d.Path); err != nil || c.Done > int64(at) {
			w.Errorf("after %d bytes: got checkpoint %+v, %v", at, c, err)
		}
		w.must(w.Target().Abort(w.Context(), d.Path), "abort")
		if c, err := w.Target().Pending(w.Context(), d.Path); err != nil || !c.IsZero() {
			w.Errorf("after abort: got checkpoint %+v, %v, want none", c, err)
		}
	}
	_, err := w.receive(st, whole)
	w.must(err, "receive the whole stream")
	w.wantContent(d, st.To, "big", string(noise(7, 1<<20)))
}

func failAtEnd(w *world) {
	d := w.dataset("db", "x")
	st := step(d, dataset.Snapshot{}, w.snap(d))
	broken := errors.New("send exited with 1")
	r := io.MultiReader(bytes.NewReader(w.stream(st)), iotest.ErrReader(broken))
	_, err := w.Target().Receive(w.Context(), incoming(st), r)
	w.want(err, "receive", dataset.ErrCut)
	w.wantPublished(d)
	w.must(w.Target().Abort(w.Context(), d.Path), "abort")
	w.transfer(st)
	w.wantPublished(d, st.To)
}

func resume(w *world) {
	d := w.dataset("db", string(noise(8, big)))
	st := step(d, dataset.Snapshot{}, w.snap(d))
	whole := w.stream(st)
	_, err := w.receive(st, whole[:len(whole)/2])
	w.want(err, "receive half", dataset.ErrCut)
	w.Reopen()
	w.must(w.Target().Sweep(w.Context()), "sweep")
	c, err := w.Target().Pending(w.Context(), d.Path)
	w.must(err, "pending")
	if c.Done > int64(len(whole)/2) || len(c.Opaque) > dataset.MaxCheckpointBytes || !c.IsZero() && c.Step != st.ID() {
		w.Errorf("got checkpoint %+v of step %s after %d bytes", c, st.ID(), len(whole)/2)
	}
	r, err := w.Source().Send(w.Context(), st, c) // zero too: then all is sent again
	w.must(err, "send from the checkpoint")
	defer r.Close()
	in := incoming(st)
	in.Checkpoint = c
	_, err = w.Target().Receive(w.Context(), in, r)
	w.must(err, "receive the rest")
	w.wantPublished(d, st.To)
	w.wantContent(d, st.To, "a", string(noise(8, big)))
	if c, err := w.Target().Pending(w.Context(), d.Path); err != nil || !c.IsZero() {
		w.Errorf("after publishing: got checkpoint %+v, %v, want none", c, err)
	}
}

// halfway leaves half of a step behind, and what a daemon finds of it that starts.
func halfway(w *world) (dataset.Step, dataset.Checkpoint) {
	w.Helper()
	d := w.dataset("db", string(noise(8, big)))
	st := step(d, dataset.Snapshot{}, w.snap(d))
	whole := w.stream(st)
	_, err := w.receive(st, whole[:len(whole)/2])
	w.want(err, "receive half", dataset.ErrCut)
	w.Reopen()
	w.must(w.Target().Sweep(w.Context()), "sweep")
	c, err := w.Target().Pending(w.Context(), d.Path)
	w.must(err, "pending")
	return st, c
}

// wantAll sends the step from its first byte, and wants all of it on the target.
func wantAll(w *world, st dataset.Step) {
	w.Helper()
	w.transfer(st)
	w.wantPublished(st.Dataset, st.To)
	w.wantContent(st.Dataset, st.To, "a", string(noise(8, big)))
	c, err := w.Target().Pending(w.Context(), st.Dataset.Path)
	if err != nil || !c.IsZero() {
		w.Errorf("after publishing: got checkpoint %+v, %v, want none", c, err)
	}
	w.wantClean(st.Dataset)
}

func resumeAnew(w *world) {
	st, _ := halfway(w)
	wantAll(w, st)
}

func staleCheckpoints(w *world) {
	st, c := halfway(w)
	if c.IsZero() {
		w.Fatal("half a step left no checkpoint")
	}
	for name, change := range map[string]func(*dataset.Checkpoint){
		"of another kind":    func(c *dataset.Checkpoint) { c.Kind = "none" },
		"of another step":    func(c *dataset.Checkpoint) { c.Step = "00000000000000000000000000000000" },
		"that was damaged":   func(c *dataset.Checkpoint) { c.Opaque = []byte("noise") },
		"that holds nothing": func(c *dataset.Checkpoint) { c.Opaque = nil },
	} {
		bad := c
		change(&bad)
		r, err := w.Source().Send(w.Context(), st, bad)
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			r.Close()
		}
		w.want(err, "send from a checkpoint "+name, dataset.ErrStaleCheckpoint)
	}
	wantAll(w, st)
}

func otherStep(w *world) {
	st, _ := halfway(w)
	w.write(st.Dataset, "b", "newer")
	other := step(st.Dataset, dataset.Snapshot{}, w.snap(st.Dataset))
	w.transfer(other)
	w.wantPublished(st.Dataset, other.To)
	w.wantContent(st.Dataset, other.To, "b", "newer")
	c, err := w.Target().Pending(w.Context(), st.Dataset.Path)
	if err != nil || !c.IsZero() {
		w.Errorf("after another step: got checkpoint %+v, %v, want none", c, err)
	}
	w.wantClean(st.Dataset)
}

func abortNothing(w *world) {
	d, s := w.sent("db", "x")
	w.must(w.Target().Abort(w.Context(), d.Path), "abort")
	w.must(w.Target().Abort(w.Context(), w.Path("none")), "abort of no replica")
	w.must(w.Source().Sweep(w.Context()), "sweep the source")
	w.must(w.Target().Sweep(w.Context()), "sweep the target")
	w.wantPublished(d, s)
}
