package main

import (
	"context"
	"fmt"
	"math"
	"path/filepath"
	"time"
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
	mark := len(b.undo)
	defer func() {
		if strikeErr := b.strikeTo(mark); err == nil {
			err = strikeErr
		}
	}()
	var between *proxy
	p, err := b.pair(ctx, limit, func(target string) (string, error) {
		between, err = openProxy("127.0.0.3:0", target)
		if err != nil {
			return "", err
		}
		b.later(func(context.Context) error { return between.close() })
		return between.address(), nil
	})
	if err != nil {
		return err
	}
	first := make(chan error, 1)
	go func() {
		_, _, err := p.trigger(ctx)
		first <- err
	}()
	rate, err := between.rate(ctx)
	if err != nil {
		return err
	}
	b.note("%.4g bytes/s at the proxy, sender to target", rate)
	figure("rate_limit_error_percent", 100*math.Abs(rate/limitBytes-1), "percent")
	if err := p.configure(between.address(), ""); err != nil {
		return err
	}
	if _, err := p.near.run(ctx, "reload"); err != nil {
		return err
	}
	if err := <-first; err != nil {
		return fmt.Errorf("first copy: %w", err)
	}
	return b.increment(ctx, p, between)
}

// increment counts all bytes of a run after a change of 1 MiB, in both
// directions, questions and acknowledgements included.
func (b *bench) increment(ctx context.Context, p *pair, between *proxy) error {
	if err := overwrite(filepath.Join(b.dataset, "film-1.mkv"), 33<<20, overwriteBytes, 1); err != nil {
		return err
	}
	there, back := between.there.Load(), between.back.Load()
	took, stream, err := p.trigger(ctx)
	if err != nil {
		return fmt.Errorf("increment: %w", err)
	}
	there, back = between.there.Load()-there, between.back.Load()-back
	b.note("increment: stream of %d bytes, %d there, %d back, %v", stream, there, back, took)
	figure("incremental_1mib_bytes", float64(there+back), "bytes")
	return nil
}

// rate measures bytes per second towards the target, once it is even.
func (l *proxy) rate(ctx context.Context) (float64, error) {
	if err := until(ctx, func() (bool, error) { return l.there.Load() > 1<<20, nil }); err != nil {
		return 0, err
	}
	if err := pause(ctx, limitSettle); err != nil {
		return 0, err
	}
	began, before := time.Now(), l.there.Load()
	if err := pause(ctx, limitMeasure); err != nil {
		return 0, err
	}
	bytes, took := l.there.Load()-before, time.Since(began)
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
