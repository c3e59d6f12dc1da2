package stream

import (
	"bytes"
	"io"
	"testing"
)

// BenchmarkCopy passes what a first copy is mostly made of: writes of 48 KiB.
func BenchmarkCopy(b *testing.B) {
	in := streamOf(b, 1, fullFirst(), func(e *Encoder) {
		data := make([]byte, 48<<10)
		for range 1000 {
			e.Command(Write, write("some/path/to/a/file", data)...)
		}
	})
	src := bytes.NewReader(in)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		src.Reset(in)
		if _, err := Copy(io.Discard, NewReader(src), fullPlan(), oneSegment()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCopySmall passes what a tree of small files is made of.
func BenchmarkCopySmall(b *testing.B) {
	in := streamOf(b, 1, fullFirst(), func(e *Encoder) {
		for range 100_000 {
			e.Command(Chmod, Text(AttrPath, "some/path/to/a/file"), Uint64(AttrMode, 0o644))
		}
	})
	src := bytes.NewReader(in)
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		src.Reset(in)
		if _, err := Copy(io.Discard, NewReader(src), fullPlan(), oneSegment()); err != nil {
			b.Fatal(err)
		}
	}
}
