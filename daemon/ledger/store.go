package ledger

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	bolt "go.etcd.io/bbolt"
)

// kind is a bucket.
type kind string

const (
	runs         kind = "runs"
	steps        kind = "steps"
	destructions kind = "destructions"
	events       kind = "events"
	alerts       kind = "alerts"
	facts        kind = "facts"
	starts       kind = "starts"
)

var kinds = [...]kind{runs, steps, destructions, events, alerts, facts, starts}

// version of the records' encoding.
const version = 1

type envelope[T any] struct {
	Version int `json:"v"`
	Record  T   `json:"r"`
}

// Write stores a batch in one transaction and returns when it is durable. What
// can wait goes through Record. Texts longer than MaxText are cut.
func (l *Ledger) Write(b Batch) error {
	if b.isEmpty() {
		return nil
	}
	write := func(tx *bolt.Tx) error { return put(tx, &b) }
	if err := guard(func() error { return l.db.Update(write) }); err != nil {
		return fmt.Errorf("write ledger: %w", err)
	}
	return nil
}

func put(tx *bolt.Tx, b *Batch) error {
	return cmp.Or(
		add(tx, runs, MaxRuns, b.Runs, func(r *Run) { clip(&r.Error) }),
		add(tx, steps, MaxSteps, b.Steps, func(s *Step) { clip(&s.Error) }),
		add(tx, destructions, MaxDestructions, b.Destructions, func(d *Destruction) { clip(&d.Why, &d.Error) }),
		add(tx, events, MaxEvents, b.Events, func(e *Event) { clip(&e.Object, &e.Text) }),
		add(tx, alerts, MaxAlerts, b.Alerts, func(a *Alert) { clip(&a.Object, &a.Text, &a.Error) }),
		putFacts(tx, b.Facts, b.Forget),
		putStarts(tx, b.Starts),
	)
}

// add appends records and drops the oldest beyond limit.
func add[T any](tx *bolt.Tx, k kind, limit uint64, records []T, clean func(*T)) error {
	bucket := tx.Bucket([]byte(k))
	for _, r := range records {
		clean(&r)
		n, err := bucket.NextSequence()
		if err != nil {
			return fmt.Errorf("number a record of %s: %w", k, err)
		}
		if err := store(bucket, binary.BigEndian.AppendUint64(nil, n), r); err != nil {
			return fmt.Errorf("add to %s: %w", k, err)
		}
	}
	return dropOldest(bucket, limit)
}

func dropOldest(bucket *bolt.Bucket, limit uint64) error {
	newest := bucket.Sequence()
	if newest <= limit {
		return nil
	}
	c := bucket.Cursor()
	for k, _ := c.First(); len(k) == 8 && binary.BigEndian.Uint64(k) <= newest-limit; k, _ = c.First() {
		if err := c.Delete(); err != nil {
			return fmt.Errorf("drop the oldest: %w", err)
		}
	}
	return nil
}

func store[T any](bucket *bolt.Bucket, key []byte, record T) error {
	v, err := json.Marshal(envelope[T]{version, record})
	if err != nil {
		return fmt.Errorf("encode: %w", err)
	}
	return bucket.Put(key, v)
}

func putFacts(tx *bolt.Tx, put []Fact, forget []FactKey) error {
	bucket := tx.Bucket([]byte(facts))
	for _, k := range forget {
		if err := bucket.Delete(k.bytes()); err != nil {
			return fmt.Errorf("forget a fact: %w", err)
		}
	}
	for _, f := range put {
		if f.Error != nil {
			p := *f.Error // the caller's stays whole
			clip(&p.Text, &p.Next)
			f.Error = &p
		}
		if err := store(bucket, f.bytes(), f); err != nil {
			return fmt.Errorf("add to facts: %w", err)
		}
	}
	return dropStalest[Fact](bucket, MaxFacts, len(put))
}

func putStarts(tx *bolt.Tx, put []Start) error {
	bucket := tx.Bucket([]byte(starts))
	for _, s := range put {
		if err := store(bucket, s.bytes(), s); err != nil {
			return fmt.Errorf("add to starts: %w", err)
		}
	}
	return dropStalest[Start](bucket, MaxStarts, len(put))
}

// replacing is a record that replaces the one with its key.
type replacing interface {
	bytes() []byte
	since() time.Time
}

// dropStalest drops the oldest of records that replace each other. It looks at
// their number only now and then: counting reads the whole bucket.
func dropStalest[T replacing](bucket *bolt.Bucket, limit, written int) error {
	if before := bucket.Sequence(); before/1024 == (before+uint64(written))/1024 {
		return bucket.SetSequence(before + uint64(written))
	}
	if err := bucket.SetSequence(bucket.Sequence() + uint64(written)); err != nil {
		return fmt.Errorf("count records: %w", err)
	}
	all := decodeAll[T](bucket)
	slices.SortFunc(all, func(a, b T) int { return a.since().Compare(b.since()) })
	for _, r := range all[:max(0, len(all)-limit)] {
		if err := bucket.Delete(r.bytes()); err != nil {
			return fmt.Errorf("drop the oldest: %w", err)
		}
	}
	return nil
}

// bytes joins the parts with NUL, which none of them may hold.
func (k FactKey) bytes() []byte {
	return []byte(strings.Join([]string{string(k.Side), k.Job, k.Peer, string(k.Dataset)}, "\x00"))
}

func (k StartKey) bytes() []byte { return []byte(k.Kind + "\x00" + k.Job) }

func (f Fact) since() time.Time { return f.At }

func (s Start) since() time.Time { return s.At }

func clip(texts ...*string) {
	for _, t := range texts {
		if len(*t) > MaxText {
			*t = strings.ToValidUTF8((*t)[:MaxText], "") + "..."
		}
	}
}

// Runs returns at most n runs, newest first.
func (l *Ledger) Runs(n int) ([]Run, error) { return newest[Run](l, runs, n) }

// Steps returns at most n steps, newest first.
func (l *Ledger) Steps(n int) ([]Step, error) { return newest[Step](l, steps, n) }

// Destructions returns at most n destructions, newest first.
func (l *Ledger) Destructions(n int) ([]Destruction, error) {
	return newest[Destruction](l, destructions, n)
}

// Events returns at most n events, newest first.
func (l *Ledger) Events(n int) ([]Event, error) { return newest[Event](l, events, n) }

// Alerts returns at most n alerts, newest first.
func (l *Ledger) Alerts(n int) ([]Alert, error) { return newest[Alert](l, alerts, n) }

// Facts returns every fact, ordered by side, job, peer and dataset.
func (l *Ledger) Facts() ([]Fact, error) {
	var out []Fact
	err := l.read(facts, func(b *bolt.Bucket) { out = decodeAll[Fact](b) })
	return out, err
}

// Starts returns the last start of each job, ordered by kind and job.
func (l *Ledger) Starts() ([]Start, error) {
	var out []Start
	err := l.read(starts, func(b *bolt.Bucket) { out = decodeAll[Start](b) })
	return out, err
}

func newest[T any](l *Ledger, k kind, n int) ([]T, error) {
	var out []T
	err := l.read(k, func(b *bolt.Bucket) {
		c := b.Cursor()
		for key, v := c.Last(); key != nil && len(out) < n; key, v = c.Prev() {
			if r, ok := decode[T](v); ok {
				out = append(out, r)
			}
		}
	})
	return out, err
}

// read hands a bucket to f; a ledger that was never written to has none.
func (l *Ledger) read(k kind, f func(*bolt.Bucket)) error {
	view := func(tx *bolt.Tx) error {
		if b := tx.Bucket([]byte(k)); b != nil {
			f(b)
		}
		return nil
	}
	if err := guard(func() error { return l.db.View(view) }); err != nil {
		return fmt.Errorf("read %s of the ledger: %w", k, err)
	}
	return nil
}

func decodeAll[T any](b *bolt.Bucket) []T {
	var out []T
	c := b.Cursor()
	for k, v := c.First(); k != nil; k, v = c.Next() {
		if r, ok := decode[T](v); ok {
			out = append(out, r)
		}
	}
	return out
}

// decode skips what another release wrote and what cannot be read: history is
// worth showing in part.
func decode[T any](v []byte) (r T, ok bool) {
	var e envelope[T]
	err := json.NewDecoder(bytes.NewReader(v)).Decode(&e)
	return e.Record, err == nil && e.Version == version
}
