package receive_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"antipode/fsdrivers/btrfs/btrfstest"
	"antipode/fsdrivers/btrfs/btrfstest/pair"
	"antipode/fsdrivers/btrfs/progs"
	"antipode/fsdrivers/btrfs/send"
	"antipode/fsdrivers/dataset"
)

// Version 2 with compressed data: in one piece, in pieces with restarts between
// them, and the next incremental in version 1 on top.
func TestCompressedDataCross(t *testing.T) {
	p := newQuickPair(t)
	btrfstest.Tool(t, "btrfs", "property", "set", string(p.DB), "compression", "zstd")
	btrfstest.Fill(t, string(p.DB))
	text := bytes.Repeat([]byte("a line that compresses well, as a log's do\n"), 400_000)
	btrfstest.Write(t, filepath.Join(string(p.DB), "log"), text)
	noise(t, filepath.Join(string(p.DB), "noise"), 3<<20)
	s1 := p.Snapshot(p.DB, 1)
	step := p.Step(p.DB, dataset.Snapshot{}, s1)
	plain := len(p.Stream(step))
	step.Flags = send.Compressed
	whole := p.Stream(step)
	if len(whole) > plain-len(text)/2 || whole[len("btrfs-stream\x00")] != 2 {
		t.Fatalf("a stream of %d bytes, uncompressed %d, version %d: nothing is tested", len(whole), plain, whole[13])
	}
	crossInPieces(p, step)
	if n, err := p.Source.Estimate(context.Background(), step); err != nil || n < int64(len(whole)) {
		t.Errorf("Estimate = %d, %v, the stream has %d bytes", n, err, len(whole))
	}
	btrfstest.Change(t, string(p.DB))
	s2 := p.Snapshot(p.DB, 2)
	p.MustCross(p.Step(p.DB, s1, s2))
	btrfstest.SameTree(t, btrfstest.AtSource(p.DB, s2), p.Published(p.DB, s2))
}

func TestFlagsThatNobodyKnowsAreRefused(t *testing.T) {
	p := pair.New(t)
	btrfstest.Fill(t, string(p.DB))
	step := p.Step(p.DB, dataset.Snapshot{}, p.Snapshot(p.DB, 1))
	data := p.Stream(step)
	step.Flags = "raw"
	if _, err := p.Source.Send(context.Background(), step, dataset.Checkpoint{}); !errors.Is(err, dataset.ErrRefused) {
		t.Errorf("Send: %v, want ErrRefused", err)
	}
	if _, err := p.Receive(step, data); !errors.Is(err, dataset.ErrRefused) {
		t.Errorf("Receive: %v, want ErrRefused", err)
	}
	old := t.TempDir()
	btrfstest.Must(t, os.MkdirAll(filepath.Join(old, "features"), 0o755))
	if err := progs.KnowsEncoded(old); !errors.Is(err, dataset.ErrRefused) {
		t.Errorf("a kernel that does not say: %v, want ErrRefused", err)
	}
	btrfstest.Write(t, filepath.Join(old, "features/send_stream_version"), []byte("1\n"))
	if err := progs.KnowsEncoded(old); !errors.Is(err, dataset.ErrRefused) {
		t.Errorf("a kernel that knows version 1 alone: %v, want ErrRefused", err)
	}
}
