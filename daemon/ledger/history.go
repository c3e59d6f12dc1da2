package ledger

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"antipode/fsdrivers/dataset"
)

// EntryKind is what an Entry tells of.
type EntryKind string

// The kinds of entries.
const (
	EntryRun         EntryKind = "run"
	EntryStep        EntryKind = "step"
	EntryDestruction EntryKind = "destruction"
	EntryEvent       EntryKind = "event"
	EntryAlert       EntryKind = "alert"
)

// ParseEntryKind reads one; "" is all of them.
func ParseEntryKind(s string) (EntryKind, error) {
	switch k := EntryKind(s); k {
	case "", EntryRun, EntryStep, EntryDestruction, EntryEvent, EntryAlert:
		return k, nil
	}
	return "", fmt.Errorf("%q is no kind; want run, step, destruction, event or alert", s)
}

// Entry is one line of history, of any kind.
type Entry struct {
	At       time.Time     `json:"at"` // when it began, or was
	Kind     EntryKind     `json:"kind"`
	Side     Side          `json:"side,omitempty"`
	Job      string        `json:"job,omitempty"` // of a destruction on a target, the peer
	Dataset  dataset.Path  `json:"dataset,omitempty"`
	Peer     string        `json:"peer,omitempty"`
	Snapshot string        `json:"snapshot,omitempty"`
	Object   string        `json:"object,omitempty"` // of an event or alert, in words
	Text     string        `json:"text"`
	Bytes    int64         `json:"bytes,omitempty"`
	Took     time.Duration `json:"took_ns,omitempty"`
	Error    string        `json:"error,omitempty"`
	Run      *Ran          `json:"run,omitempty"` // of a run
}

// Ran is what only a run has.
type Ran struct {
	Does      string        `json:"does"` // RunSnapshot or RunReplicate
	Snapshots int           `json:"snapshots"`
	Held      time.Duration `json:"held_ns,omitempty"` // by the hooks
	Steps     int           `json:"steps"`
}

// RunSnapshot is what a run does whose Kind is "".
const RunSnapshot = "snapshot"

// Query selects entries; what is zero selects all.
type Query struct {
	Job     string       `json:"job,omitempty"`
	Dataset dataset.Path `json:"dataset,omitempty"`
	Kind    EntryKind    `json:"kind,omitempty"`
	Since   time.Time    `json:"since,omitzero"`
	Until   time.Time    `json:"until,omitzero"`
	Limit   int          `json:"limit,omitempty"` // at most so many, the newest; 0 is MaxSteps
}

func (q Query) selects(e Entry) bool {
	// What an earlier release wrote has a dataset only as its object.
	return (q.Job == "" || q.Job == e.Job) && (q.Dataset == "" || q.Dataset == e.Dataset || string(q.Dataset) == e.Object) && (q.Kind == "" || q.Kind == e.Kind) &&
		!e.At.Before(q.Since) && (q.Until.IsZero() || e.At.Before(q.Until))
}

// History returns what the query selects, newest first. What was recorded and not
// written yet is not in it: see Flush.
func (l *Ledger) History(q Query) ([]Entry, error) {
	limit := q.Limit
	if limit <= 0 {
		limit = MaxSteps
	}
	var all []Entry
	for _, read := range []func() error{
		func() error { return gather(l, runs, q, limit, &all, Run.entry) },
		func() error { return gather(l, steps, q, limit, &all, Step.entry) },
		func() error { return gather(l, destructions, q, limit, &all, Destruction.entry) },
		func() error { return gather(l, events, q, limit, &all, Event.entry) },
		func() error { return gather(l, alerts, q, limit, &all, Alert.entry) },
	} {
		if err := read(); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(all, func(a, b Entry) int { return b.At.Compare(a.At) })
	return all[:min(limit, len(all))], nil
}

// gather adds the newest records of a kind that the query selects, limit at most.
func gather[T any](l *Ledger, k kind, q Query, limit int, all *[]Entry, entry func(T) Entry) error {
	records, err := newest[T](l, k, MaxSteps)
	found := 0
	for _, r := range records {
		if e := entry(r); found < limit && q.selects(e) {
			*all = append(*all, e)
			found++
		}
	}
	return err
}

func (r Run) entry() Entry {
	text := r.Cause
	if r.Kind != "" {
		text = r.Kind + ", " + text
	}
	ran := Ran{Does: cmp.Or(r.Kind, RunSnapshot), Snapshots: r.Snapshots, Held: r.Held, Steps: r.Steps}
	return Entry{
		At: r.Started, Kind: EntryRun, Side: Source, Job: r.Job, Text: text, Bytes: r.Bytes, Took: r.Ended.Sub(r.Started), Error: r.Error,
		Run: &ran,
	}
}

func (s Step) entry() Entry {
	text := "full copy"
	if s.From != "" {
		text = "from " + s.From
	}
	return Entry{
		At: s.Started, Kind: EntryStep, Side: s.Side, Job: s.Job, Dataset: s.Dataset, Peer: s.Peer, Snapshot: s.To, Text: text,
		Bytes: s.Bytes, Took: s.Ended.Sub(s.Started), Error: s.Error,
	}
}

func (d Destruction) entry() Entry {
	return Entry{At: d.At, Kind: EntryDestruction, Side: d.Side, Job: d.Job, Dataset: d.Dataset, Snapshot: d.Snapshot, Text: d.Why, Error: d.Error}
}

func (e Event) entry() Entry {
	return Entry{At: e.At, Kind: EntryEvent, Job: e.Job, Dataset: e.Dataset, Peer: e.Peer, Object: e.Object, Text: e.Kind + ": " + e.Text}
}

func (a Alert) entry() Entry {
	return Entry{
		At: a.At, Kind: EntryAlert, Side: a.Side, Job: a.Job, Dataset: a.Dataset, Peer: a.Peer, Object: a.Object, Text: a.Kind + ": " + a.Text, Error: a.Error,
	}
}
