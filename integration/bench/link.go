package main

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"time"

	"antipode/integration/link"
	"antipode/integration/stage"
)

const (
	limit          = "80Mbit/s"
	limitBytes     = 10e6 // of it, per second
	limitSettle    = 2 * time.Second
	limitMeasure   = 12 * time.Second
	overwriteBytes = 1 << 20
)

// link measures what passes a proxy between the daemons: the rate limit during a
// first copy, then, the limit lifted, an increment.
func (b *bench) link(ctx context.Context) (err error) {
	mark := b.Mark()
	defer func() {
		if strikeErr := b.StrikeTo(mark); err == nil {
			err = strikeErr
		}
	}()
	var between *link.Link
	p, err := b.pair(ctx, limit, func(target string) (string, error) {
		between, err = link.Open("127.0.0.3:0", target)
		if err != nil {
			return "", err
		}
		b.Later(func(context.Context) error { return between.Close() })
		return between.Address(), nil
	})
	if err != nil {
		return err
	}
	first := make(chan error, 1)
	go func() {
		_, _, err := p.trigger(ctx)
		first <- err
	}()
	rate, err := rateOf(ctx, between)
	if err != nil {
		return err
	}
	b.note("%.4g bytes/s at the proxy, sender to target", rate)
	figure("rate_limit_error_percent", 100*math.Abs(rate/limitBytes-1), "percent")
	if err := p.configure(between.Address(), ""); err != nil {
		return err
	}
	if _, err := p.near.Run(ctx, "reload"); err != nil {
		return err
	}
	if err := <-first; err != nil {
		return fmt.Errorf("first copy: %w", err)
	}
	return b.increment(ctx, p, between)
}

// increment counts all bytes of a run after a change of 1 MiB, in both
// directions, questions and acknowledgements included.
func (b *bench) increment(ctx context.Context, p *pair, between *link.Link) error {
	if err := overwrite(filepath.Join(b.dataset, "film-1.mkv"), 33<<20, overwriteBytes, 1); err != nil {
		return err
	}
	there, total := between.There(), between.Total()
	took, stream, err := p.trigger(ctx)
	if err != nil {
		return fmt.Errorf("increment: %w", err)
	}
	there, total = between.There()-there, between.Total()-total
	b.note("increment: stream of %d bytes, %d of the link's were to the target, %v", stream, there, took)
	figure("incremental_1mib_bytes", float64(total), "bytes")
	return nil
}

// rateOf measures bytes per second towards the target, once it is even.
func rateOf(ctx context.Context, l *link.Link) (float64, error) {
	if err := stage.Until(ctx, func() (bool, error) { return l.There() > 1<<20, nil }); err != nil {
		return 0, err
	}
	if err := pause(ctx, limitSettle); err != nil {
		return 0, err
	}
	began, before := time.Now(), l.There()
	if err := pause(ctx, limitMeasure); err != nil {
		return 0, err
	}
	bytes, took := l.There()-before, time.Since(began)
	return float64(bytes) / took.Seconds(), nil
}

// pause lets what is measured run.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
