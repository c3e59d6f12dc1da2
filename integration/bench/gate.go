package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"time"

	"antipode/fsdrivers/btrfs/stream"
	"antipode/integration/stage"
)

// gateBytes of a real stream are passed through the gate again and again.
const gateBytes = 256 << 20

// gate compares how fast the gate passes a real stream with how fast that comes
// out of `btrfs send`, both in turn.
func (b *bench) gate(ctx context.Context) error {
	point := filepath.Join(b.source.Dir, "gate")
	if _, err := stage.Tool(ctx, "btrfs", "subvolume", "snapshot", "-r", b.dataset, point); err != nil {
		return err
	}
	b.Later(func(ctx context.Context) error {
		_, err := stage.Tool(ctx, "btrfs", "subvolume", "delete", point)
		return err
	})
	var gates, sends []float64
	var head []byte
	for range b.rounds {
		all, part, took, err := send(ctx, point)
		if err != nil {
			return err
		}
		head = part
		sends = append(sends, float64(all)/1e6/took.Seconds())
		passed, took, err := pass(head)
		if err != nil {
			return err
		}
		gates = append(gates, float64(passed)/1e6/took.Seconds())
	}
	figure("gate_mb_per_s", median(gates), "MB/s")
	figure("send_mb_per_s", median(sends), "MB/s")
	figure("gate_vs_stream", median(gates)/median(sends), "times")
	return nil
}

// send runs `btrfs send` to nowhere and keeps the beginning of the stream.
func send(ctx context.Context, point string) (all int64, head []byte, took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, pipeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "btrfs", "send", "-q", point)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, nil, 0, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return 0, nil, 0, err
	}
	head = make([]byte, gateBytes)
	n, err := io.ReadFull(out, head)
	rest, restErr := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{out}, make([]byte, 1<<20))
	took = time.Since(began)
	for _, e := range []error{err, restErr, cmd.Wait()} {
		if e != nil {
			return 0, nil, 0, fmt.Errorf("send: %w", e)
		}
	}
	return int64(n) + rest, head, took, nil
}

// pass lets the beginning of a stream through the gate. That it breaks off there
// is the one error that is right.
func pass(head []byte) (int64, time.Duration, error) {
	input := stream.NewReader(bytes.NewReader(head))
	first, err := stream.Head(input)
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	at, err := stream.Copy(io.Discard, input, stream.Plan{UUID: first.UUID}, stream.Segment{Name: "received", UUID: stream.UUID{1}})
	if at.Done < int64(len(head))-stream.MaxCommandV2 {
		return 0, 0, fmt.Errorf("the gate took %d of %d bytes: %w", at.Done, len(head), err)
	}
	return at.Done, time.Since(began), nil
}
