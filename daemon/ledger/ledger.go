// Package ledger remembers what happened: runs, steps, destructions, events and
// alerts, the last fact of each replication, which `health` reads when the daemon
// is down, and the last start of each job, by which a schedule catches up. It
// holds history only: losing the file loses neither data nor the ability to go on
// incrementally (each job runs once), so a damaged one is moved aside and a new one
// started. It does not know why anything is remembered.
//
// The file is a bbolt database. Each kind has a bucket whose keys are rising
// 64-bit big-endian numbers; the bucket "facts" is keyed by side, job, peer and
// dataset, and "starts" by kind and job. A value is a JSON object {"v": 1, "r": record}; one with another v
// was written by another release and is skipped. Every kind is bounded: the
// oldest records make room for the new.
package ledger

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	bolt "go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

// Limits of what is kept, in records of a kind, and of one text in bytes. They
// keep the file below some tens of megabytes.
const (
	MaxRuns         = 5_000
	MaxSteps        = 20_000
	MaxDestructions = 20_000
	MaxEvents       = 5_000
	MaxAlerts       = 2_000
	MaxFacts        = 20_000
	MaxStarts       = 5_000
	MaxText         = 2_048
)

// lockWait bounds how long opening waits for another process.
const lockWait = time.Second

// ErrLocked means that another process has the ledger open.
var ErrLocked = errors.New("ledger is in use by another process")

// ErrDamaged means that the file cannot be read as a ledger.
var ErrDamaged = errors.New("ledger is damaged")

// Ledger is an open ledger. Its methods may be called concurrently.
type Ledger struct {
	db       *bolt.DB
	setAside string
	buffer
}

// Open opens or makes the ledger at path, whose directory exists. A damaged
// file is moved aside (see SetAside), and the new ledger begins with an event
// that says so. Errors: ErrLocked, and those of the file system.
func Open(path string, now func() time.Time) (*Ledger, error) {
	l, err := open(path, false)
	if err == nil || !errors.Is(err, ErrDamaged) {
		return l, err
	}
	aside := fmt.Sprintf("%s.damaged-%s", path, now().UTC().Format("20060102T150405.000000000Z"))
	if err := os.Rename(path, aside); err != nil {
		return nil, fmt.Errorf("move damaged ledger %s aside: %w", path, err)
	}
	cause := err
	if l, err = open(path, false); err != nil {
		return nil, fmt.Errorf("start a new ledger: %w", err)
	}
	l.setAside = aside
	text := fmt.Sprintf("%v; moved to %s; history starts anew, replication is not affected", cause, aside)
	return l, errors.Join(l.Write(Batch{Events: []Event{{At: now(), Kind: "ledger-damaged", Object: path, Text: text}}}))
}

// OpenReadOnly opens an existing ledger for reading, for a command that runs
// beside no daemon. Errors: ErrLocked (a daemon has it), ErrDamaged,
// os.ErrNotExist.
func OpenReadOnly(path string) (*Ledger, error) { return open(path, true) }

// SetAside returns where Open moved a damaged file to; "" when it was sound.
func (l *Ledger) SetAside() string { return l.setAside }

// Close writes what Record took and closes the file.
func (l *Ledger) Close() error { return errors.Join(l.Flush(), l.db.Close()) }

func open(path string, readOnly bool) (*Ledger, error) {
	if readOnly { // bbolt would make the file
		if _, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("open ledger: %w", err)
		}
	}
	l := &Ledger{buffer: buffer{wake: make(chan struct{}, 1)}}
	err := guard(func() (err error) {
		l.db, err = bolt.Open(path, 0o600, &bolt.Options{Timeout: lockWait, ReadOnly: readOnly})
		return err
	})
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("open ledger %s: %w", path, ErrLocked)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrVersionMismatch), errors.Is(err, berrors.ErrChecksum):
		return nil, fmt.Errorf("open ledger %s: %w: %w", path, ErrDamaged, err)
	case err != nil:
		return nil, fmt.Errorf("open ledger %s: %w", path, err)
	}
	if err := l.prepare(readOnly); err != nil {
		// A damaged tree may hold a page lock; closing only drops the descriptor.
		return nil, errors.Join(fmt.Errorf("open ledger %s: %w", path, err), guard(l.db.Close))
	}
	return l, nil
}

// prepare makes the buckets and reads every page once: bbolt notices most
// damage only when it steps on it, which must not be in the middle of a run.
func (l *Ledger) prepare(readOnly bool) error {
	if err := guard(func() error { return l.db.View(walk) }); err != nil || readOnly {
		return err
	}
	return guard(func() error {
		return l.db.Update(func(tx *bolt.Tx) error {
			began := tx.Bucket([]byte(starts)) != nil
			for _, k := range kinds {
				if _, err := tx.CreateBucketIfNotExists([]byte(k)); err != nil {
					return fmt.Errorf("make bucket %s: %w", k, err)
				}
			}
			if began {
				return nil
			}
			return startsOfRuns(tx)
		})
	})
}

// startsOfRuns gives a file from before starts were kept those that its runs tell:
// no job would be known to have run.
func startsOfRuns(tx *bolt.Tx) error {
	last := map[StartKey]Start{}
	for _, r := range decodeAll[Run](tx.Bucket([]byte(runs))) {
		if key := (StartKey{r.Job, r.Kind}); r.Started.After(last[key].At) {
			last[key] = Start{key, r.Started}
		}
	}
	return putStarts(tx, slices.Collect(maps.Values(last)))
}

func walk(tx *bolt.Tx) error {
	return tx.ForEach(func(name []byte, b *bolt.Bucket) error {
		return b.ForEach(func(_, v []byte) error {
			if len(v) > 0 && v[0] != '{' {
				return fmt.Errorf("%w: bucket %s holds what is no record", ErrDamaged, name)
			}
			return nil
		})
	})
}

// guard turns the panics that bbolt answers a damaged page with, and the fault
// of a file shorter than its map, into ErrDamaged.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v", ErrDamaged, p)
		}
	}()
	return f()
}

// Path returns where the ledger of a state directory is.
func Path(stateDir string) string { return filepath.Join(stateDir, "ledger.db") }
