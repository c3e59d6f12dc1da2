package btrfs

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"antipode/fsdrivers/dataset"
)

// Version 2 with compressed data: in one piece, in pieces with restarts between
// them, and the next incremental in version 1 on top.
func TestCompressedDataCross(t *testing.T) {
	p := newQuickPair(t)
	tool(t, "btrfs", "property", "set", string(p.db), "compression", "zstd")
	fill(t, string(p.db))
	text := bytes.Repeat([]byte("a line that compresses well, as a log's do\n"), 400_000)
	write(t, filepath.Join(string(p.db), "log"), text)
	noise(t, filepath.Join(string(p.db), "noise"), 3<<20)
	s1 := p.snapshot(p.db, 1)
	step := p.step(p.db, dataset.Snapshot{}, s1)
	plain := len(p.stream(step))
	step.Flags = FlagCompressed
	whole := p.stream(step)
	if len(whole) > plain-len(text)/2 || whole[len("btrfs-stream\x00")] != 2 {
		t.Fatalf("a stream of %d bytes, uncompressed %d, version %d: nothing is tested", len(whole), plain, whole[13])
	}
	p.crossInPieces(step)
	if n, err := p.source.Estimate(context.Background(), step); err != nil || n < int64(len(whole)) {
		t.Errorf("Estimate = %d, %v, the stream has %d bytes", n, err, len(whole))
	}
	change(t, string(p.db))
	s2 := p.snapshot(p.db, 2)
	p.mustCross(p.step(p.db, s1, s2))
	sameTree(t, atSource(p.db, s2), p.published(p.db, s2))
}

func TestFlagsThatNobodyKnowsAreRefused(t *testing.T) {
	p := newPair(t)
	fill(t, string(p.db))
	step := p.step(p.db, dataset.Snapshot{}, p.snapshot(p.db, 1))
	data := p.stream(step)
	step.Flags = "raw"
	if _, err := p.source.Send(context.Background(), step, dataset.Checkpoint{}); !errors.Is(err, dataset.ErrRefused) {
		t.Errorf("Send: %v, want ErrRefused", err)
	}
	if _, err := p.receive(step, data); !errors.Is(err, dataset.ErrRefused) {
		t.Errorf("Receive: %v, want ErrRefused", err)
	}
	old := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(old, "features"), 0o755))
	if err := mustKnowEncoded(old); !errors.Is(err, dataset.ErrRefused) {
		t.Errorf("a kernel that does not say: %v, want ErrRefused", err)
	}
	write(t, filepath.Join(old, "features/send_stream_version"), []byte("1\n"))
	if err := mustKnowEncoded(old); !errors.Is(err, dataset.ErrRefused) {
		t.Errorf("a kernel that knows version 1 alone: %v, want ErrRefused", err)
	}
}
