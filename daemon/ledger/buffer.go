package ledger

import (
	"context"
	"slices"
	"sync"
	"time"
)

// FlushDelay is how long a recorded batch may wait for company. A crash loses
// that much history; in exchange a schedule of ten seconds over hundreds of
// datasets costs one fsync in this time and not one for each dataset.
const FlushDelay = 2 * time.Second

// LaterDelay is how long what RecordLater took may wait.
const LaterDelay = 10 * time.Minute

// maxBuffered bounds the records of a kind that wait while the disk fails.
const maxBuffered = 10_000

// buffer gathers what Record took until Serve or Flush writes it.
type buffer struct {
	mu      sync.Mutex // guards pending
	pending Batch
	wake    chan struct{} // holds one token while pending is to be written
}

// Record takes a batch and returns at once; Serve writes it within FlushDelay.
// While the disk refuses to be written to, the oldest records are dropped.
func (l *Ledger) Record(b Batch) {
	if b.isEmpty() {
		return
	}
	l.RecordLater(b)
	select {
	case l.wake <- struct{}{}:
	default: // Serve knows already
	}
}

// RecordLater takes a batch that is no reason to write: it goes with the next that
// is, within LaterDelay at the latest, and with Close.
func (l *Ledger) RecordLater(b Batch) {
	l.mu.Lock()
	l.pending.merge(b)
	l.mu.Unlock()
}

// Serve writes what Record takes until ctx ends, and once more then. An error of
// a write goes to report and stops nothing: history is not worth a replication.
func (l *Ledger) Serve(ctx context.Context, report func(error)) error {
	later := time.NewTicker(LaterDelay)
	defer later.Stop()
	for {
		select {
		case <-ctx.Done():
		case <-later.C:
		case <-l.wake:
			l.delay(ctx)
		}
		if err := l.Flush(); err != nil {
			report(err)
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

func (l *Ledger) delay(ctx context.Context) {
	t := time.NewTimer(FlushDelay)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// Flush writes what Record took so far. What could not be written is kept, up
// to a bound, for the next time.
func (l *Ledger) Flush() error {
	l.mu.Lock()
	b := l.pending
	l.pending = Batch{}
	l.mu.Unlock()
	err := l.Write(b)
	if err != nil {
		l.mu.Lock()
		b.merge(l.pending)
		l.pending = b
		l.mu.Unlock()
	}
	return err
}

// merge puts next behind b. A start and a fact replace the one with their key, and a
// fact is undone by a later Forget, as it would be by one transaction after the other.
func (b *Batch) merge(next Batch) {
	b.Runs = appendBounded(b.Runs, next.Runs)
	b.Steps = appendBounded(b.Steps, next.Steps)
	b.Destructions = appendBounded(b.Destructions, next.Destructions)
	b.Events = appendBounded(b.Events, next.Events)
	b.Alerts = appendBounded(b.Alerts, next.Alerts)
	for _, s := range next.Starts {
		b.Starts = slices.DeleteFunc(b.Starts, func(o Start) bool { return o.StartKey == s.StartKey })
	}
	b.Starts = appendBounded(b.Starts, next.Starts)
	if len(next.Facts)+len(next.Forget) == 0 {
		return
	}
	replaced := make(map[FactKey]bool, len(next.Facts)+len(next.Forget))
	for _, f := range next.Facts {
		replaced[f.FactKey] = true
	}
	for _, k := range next.Forget {
		replaced[k] = true
	}
	kept := make([]Fact, 0, len(b.Facts)+len(next.Facts))
	for _, f := range b.Facts {
		if !replaced[f.FactKey] {
			kept = append(kept, f)
		}
	}
	b.Facts = appendBounded(kept, next.Facts)
	b.Forget = appendBounded(b.Forget, next.Forget)
}

func appendBounded[T any](old, next []T) []T {
	all := append(old, next...)
	return all[max(0, len(all)-maxBuffered):]
}
