package stream

import (
	"bytes"
	"io"
	"testing"
)

// BenchmarkCopy passes what a first copy is mostly made of: blocks of 128 KiB.
func BenchmarkCopy(b *testing.B) {
	benchmark(b, streamOf(opening(), func(e *Encoder) {
		block := make([]byte, 128<<10)
		for object := range uint64(400) {
			e.File(to, object+1, block)
		}
	}))
}

// BenchmarkCopySmall passes what a tree of small files is made of.
func BenchmarkCopySmall(b *testing.B) {
	benchmark(b, streamOf(opening(), func(e *Encoder) {
		block := make([]byte, 512)
		for object := range uint64(50_000) {
			e.File(to, object+1, block)
		}
	}))
}

func benchmark(b *testing.B, in []byte) {
	src := bytes.NewReader(in)
	b.SetBytes(int64(len(in)))
	b.ReportAllocs()
	for b.Loop() {
		src.Reset(in)
		if _, err := Copy(io.Discard, NewReader(src), Plan{ToGUID: to}); err != nil {
			b.Fatal(err)
		}
	}
}
