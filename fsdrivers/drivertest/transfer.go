package drivertest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"reflect"
	"testing/iotest"

	"antipode/fsdrivers/dataset"
)

func transferCases() []testCase {
	return []testCase{
		{"a full copy and its incrementals have the content of each snapshot", fullAndIncrementals},
		{"an empty dataset is sent", sendEmpty},
		{"many files are sent", sendMany},
		{"a received snapshot has the announced identity and times", receivedFacts},
		{"received snapshots are listed in the order in which they came", receivedOrder},
		{"a stream is consumed to its end of file", consumesAll},
		{"a stream may come in small pieces", smallPieces},
		{"a step that is published is answered without reading", answeredWithoutReading},
		{"an incremental may skip snapshots", skipSnapshots},
		{"a full copy may follow others", fullAfterFull},
		{"an estimate is a number of bytes", estimate},
	}
}

func fullAndIncrementals(w *world) {
	d := w.dataset("db", "one")
	w.write(d, "same", "same")
	s1 := w.snap(d)
	w.transfer(step(d, dataset.Snapshot{}, s1))
	w.write(d, "a", "two")
	w.must(w.Write(d.Path, "big", noise(1, big)), "write big")
	s2 := w.snap(d)
	w.transfer(step(d, s1, s2))
	w.write(d, "a", "three")
	w.must(w.Delete(d.Path, "big"), "delete")
	s3 := w.snap(d)
	w.transfer(step(d, s2, s3))

	w.wantPublished(d, s1, s2, s3)
	w.wantContent(d, s1, "a", "one")
	w.wantContent(d, s2, "a", "two")
	w.wantContent(d, s3, "a", "three")
	for _, s := range []dataset.Snapshot{s1, s2, s3} {
		w.wantContent(d, s, "same", "same")
	}
	w.wantNoFile(d, s1, "big")
	w.wantContent(d, s2, "big", string(noise(1, big)))
	w.wantNoFile(d, s3, "big")
}

func sendEmpty(w *world) {
	d := w.Make("empty")
	s1 := w.snap(d)
	w.transfer(step(d, dataset.Snapshot{}, s1))
	s2 := w.snap(d)
	w.transfer(step(d, s1, s2))
	w.wantPublished(d, s1, s2)
	w.wantNoFile(d, s2, "a")
}

func sendMany(w *world) {
	d := w.Make("many")
	for i := range 100 {
		w.must(w.Write(d.Path, fmt.Sprintf("file %d", i), noise(uint64(i), i*37)), "write")
	}
	w.write(d, "-rf", "a dash")
	w.write(d, "nothing", "")
	s := w.snap(d)
	w.transfer(step(d, dataset.Snapshot{}, s))
	for i := range 100 {
		w.wantContent(d, s, fmt.Sprintf("file %d", i), string(noise(uint64(i), i*37)))
	}
	w.wantContent(d, s, "-rf", "a dash")
	w.wantContent(d, s, "nothing", "")
}

func receivedFacts(w *world) {
	d := w.dataset("db", "x")
	s := w.snap(d)
	st := step(d, dataset.Snapshot{}, s)
	got := w.transfer(st)
	if got.Name != s.Name || got.ID != s.ID {
		w.Errorf("got %s=%s, want %s=%s", got.Name, got.ID, s.Name, s.ID)
	}
	if want := incoming(st).Retain; !got.Created.Equal(s.Created) || !got.Retain.Equal(want) || !got.Received.Equal(w.Now()) {
		w.Errorf("got created %v, retain %v, received %v; want %v, %v, %v",
			got.Created, got.Retain, got.Received, s.Created, want, w.Now())
	}
	for _, when := range []string{"at once", "after a restart"} {
		list := w.published(d)
		if len(list) != 1 || !reflect.DeepEqual(list[0], got) {
			w.Errorf("listed %s: got %+v, want only %+v", when, list, got)
		}
		w.Reopen()
	}
}

func receivedOrder(w *world) {
	d := w.dataset("db", "x")
	a := w.snapAs(d, namePrefix+"b")
	w.write(d, "a", "y")
	b := w.snapAs(d, namePrefix+"a")
	w.transfer(step(d, dataset.Snapshot{}, a))
	w.transfer(step(d, a, b))
	w.wantPublished(d, a, b)
	if list := w.published(d); len(list) == 2 && list[0].Order >= list[1].Order {
		w.Errorf("orders do not rise: %d, %d", list[0].Order, list[1].Order)
	}
}

func replicasApart(w *world) {
	a, sa := w.sent("a", "of a")
	below, sb := w.sent("a/below", "of below")
	c, sc := w.sent("ab", "of ab")
	w.wantPublished(a, sa)
	w.wantPublished(below, sb)
	w.wantPublished(c, sc)
	w.wantContent(a, sa, "a", "of a")
	w.wantContent(below, sb, "a", "of below")
	w.wantContent(c, sc, "a", "of ab")
}

// watched notes whether a reader was read, and to its end.
type watched struct {
	io.Reader
	reads int
	eof   bool
}

func (r *watched) Read(p []byte) (int, error) {
	r.reads++
	n, err := r.Reader.Read(p)
	r.eof = r.eof || errors.Is(err, io.EOF)
	return n, err
}

func consumesAll(w *world) {
	d := w.dataset("db", "x")
	st := step(d, dataset.Snapshot{}, w.snap(d))
	r := &watched{Reader: bytes.NewReader(w.stream(st))}
	_, err := w.Target().Receive(w.Context(), incoming(st), r)
	w.must(err, "receive")
	if !r.eof {
		w.Error("the stream was not read to io.EOF")
	}
}

func smallPieces(w *world) {
	d := w.dataset("db", string(noise(2, 3000)))
	st := step(d, dataset.Snapshot{}, w.snap(d))
	for name, wrap := range map[string]func(io.Reader) io.Reader{
		"a byte a read": iotest.OneByteReader, "the end with the data": iotest.DataErrReader,
	} {
		_, err := w.Target().Receive(w.Context(), incoming(st), wrap(bytes.NewReader(w.stream(st))))
		w.must(err, "receive with %s", name)
		w.wantContent(d, st.To, "a", string(noise(2, 3000)))
		w.must(w.Target().Destroy(w.Context(), d.Path, st.To), "destroy")
	}
}

func answeredWithoutReading(w *world) {
	d, s := w.sent("db", "x")
	want := w.published(d)[0]
	for _, when := range []string{"at once", "after a restart"} {
		r := &watched{Reader: iotest.ErrReader(errors.New("it was read"))}
		got, err := w.Target().Receive(w.Context(), incoming(step(d, dataset.Snapshot{}, s)), r)
		if err != nil || !reflect.DeepEqual(got, want) || r.reads != 0 {
			w.Errorf("%s: got %+v, %v after %d reads, want %+v after none", when, got, err, r.reads, want)
		}
		w.Reopen()
	}
}

func skipSnapshots(w *world) {
	d, s1 := w.sent("db", "one")
	w.write(d, "a", "two")
	w.snap(d)
	w.write(d, "b", "three")
	s3 := w.snap(d)
	w.transfer(step(d, s1, s3))
	w.wantPublished(d, s1, s3)
	w.wantContent(d, s3, "a", "two")
	w.wantContent(d, s3, "b", "three")
}

func fullAfterFull(w *world) {
	d, s1 := w.sent("db", "one")
	w.write(d, "a", "two")
	s2 := w.snap(d)
	w.transfer(step(d, dataset.Snapshot{}, s2))
	w.wantPublished(d, s1, s2)
	w.wantContent(d, s2, "a", "two")
}

func estimate(w *world) {
	d := w.Make("db")
	w.must(w.Write(d.Path, "big", noise(3, big)), "write")
	s1 := w.snap(d)
	w.write(d, "a", "little")
	s2 := w.snap(d)
	full, err := w.Source().Estimate(w.Context(), step(d, dataset.Snapshot{}, s1))
	w.must(err, "estimate a full copy")
	incremental, err := w.Source().Estimate(w.Context(), step(d, s1, s2))
	w.must(err, "estimate an incremental")
	if full < big/2 || full > 2*big || incremental < 0 || incremental > big/2 {
		w.Errorf("got %d for a full copy of %d, %d for an incremental of little", full, big, incremental)
	}
	other := w.Make("other")
	_, err = w.Source().Estimate(w.Context(), step(dataset.Dataset{Path: d.Path, ID: other.ID}, dataset.Snapshot{}, s1))
	w.want(err, "estimate under another identity", dataset.ErrNotFound)
}
