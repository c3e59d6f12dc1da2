package ledger

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	bolt "go.etcd.io/bbolt"
)

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return noon }

func openTest(t *testing.T, path string) *Ledger {
	t.Helper()
	l, err := Open(path, clock)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestEveryKindComesBackNewestFirstAfterReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	l := openTest(t, path)
	for i := range 3 {
		text := fmt.Sprint(i)
		err := l.Write(Batch{
			Runs:         []Run{{Job: text, Started: noon}},
			Steps:        []Step{{Side: Target, To: text}},
			Destructions: []Destruction{{Snapshot: text}},
			Events:       []Event{{Text: text}},
			Alerts:       []Alert{{Text: text, Delivered: true}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	l.Close()
	l, err := OpenReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	runs, _ := l.Runs(2)
	steps, _ := l.Steps(9)
	destroyed, _ := l.Destructions(9)
	events, _ := l.Events(9)
	alerts, err := l.Alerts(1)
	got := strings.TrimSpace(fmt.Sprintln(len(runs), runs[0].Job, runs[1].Job, len(steps), steps[0].To, destroyed[2].Snapshot, events[0].Text, len(alerts), alerts[0].Delivered, err))
	if want := "2 2 1 3 2 0 2 1 true <nil>"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if !runs[0].Started.Equal(noon) {
		t.Errorf("run started %v, want %v", runs[0].Started, noon)
	}
}

func TestAKindIsBoundedAndDropsTheOldest(t *testing.T) {
	l := openTest(t, filepath.Join(t.TempDir(), "l"))
	for round := range 4 {
		var b Batch
		for i := range MaxAlerts / 2 {
			b.Alerts = append(b.Alerts, Alert{Text: fmt.Sprint(round*MaxAlerts/2 + i)})
		}
		if err := l.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	alerts, _ := l.Alerts(10 * MaxAlerts)
	if len(alerts) != MaxAlerts || alerts[0].Text != fmt.Sprint(2*MaxAlerts-1) || alerts[MaxAlerts-1].Text != fmt.Sprint(MaxAlerts) {
		t.Errorf("got %d alerts from %s to %s, want the newest %d", len(alerts), alerts[0].Text, alerts[len(alerts)-1].Text, MaxAlerts)
	}
}

func TestFactsAreBoundedByTheirAge(t *testing.T) {
	l := openTest(t, filepath.Join(t.TempDir(), "l"))
	var b Batch
	for i := range 2000 {
		b.Facts = append(b.Facts, Fact{FactKey: FactKey{Side: Source, Job: fmt.Sprintf("%04d", i)}, At: noon.Add(time.Duration(i))})
	}
	if err := l.Write(b); err != nil {
		t.Fatal(err)
	}
	err := l.db.Update(func(tx *bolt.Tx) error { return dropStalest[Fact](tx.Bucket([]byte(facts)), 10, 1024) })
	got, _ := l.Facts()
	if err != nil || len(got) != 10 || got[0].Job != "1990" {
		t.Errorf("kept %d facts, error %v, want the newest 10", len(got), err)
	}
}

func TestAFactIsReplacedAndForgotten(t *testing.T) {
	l := openTest(t, filepath.Join(t.TempDir(), "l"))
	key := FactKey{Side: Source, Job: "db", Dataset: "/data/db", Peer: "sin1"}
	other := FactKey{Side: Target, Dataset: "/data/db", Peer: "sin1"}
	writes := []Batch{
		{Facts: []Fact{{FactKey: key, State: "ok"}, {FactKey: other}}},
		{Facts: []Fact{{FactKey: key, State: "missed", RPO: time.Hour, Error: &Problem{Text: strings.Repeat("x", 2*MaxText)}}}},
		{Forget: []FactKey{other}},
	}
	for _, b := range writes {
		if err := l.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	facts, err := l.Facts()
	if err != nil || len(facts) != 1 || facts[0].State != "missed" || facts[0].RPO != time.Hour || facts[0].FactKey != key {
		t.Fatalf("got %+v, %v; want the second fact of %v only", facts, err, key)
	}
	if n := len(facts[0].Error.Text); n != MaxText+3 {
		t.Errorf("text has %d bytes, want it cut to %d", n, MaxText+3)
	}
	if n := len(writes[1].Facts[0].Error.Text); n != 2*MaxText {
		t.Errorf("the caller's text was cut to %d bytes", n)
	}
}

func TestStartsOutliveWhatRunsAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "l")
	l := openTest(t, path)
	night, sends := StartKey{Job: "night"}, StartKey{Job: "night", Kind: RunReplicate}
	l.RecordLater(Batch{Starts: []Start{{night, noon}, {sends, noon}}})
	l.RecordLater(Batch{Starts: []Start{{night, noon.Add(time.Hour)}}})
	if got, err := l.Starts(); err != nil || len(got) != 0 {
		t.Errorf("before anything was to be written there are %v, %v", got, err)
	}
	l.Record(Batch{Runs: slices.Repeat([]Run{{Job: "often", Started: noon}}, MaxRuns)})
	l.Close()
	l = openTest(t, path)
	got, err := l.Starts()
	if want := []Start{{night, noon.Add(time.Hour)}, {sends, noon}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

func TestWhatMayWaitIsWrittenInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openTest(t, filepath.Join(t.TempDir(), "l"))
		ctx, cancel := context.WithCancel(t.Context())
		go l.Serve(ctx, func(err error) { t.Error(err) })
		l.RecordLater(Batch{Starts: []Start{{StartKey{Job: "db"}, noon}}})
		time.Sleep(LaterDelay - time.Second)
		early, _ := l.Starts()
		time.Sleep(2 * time.Second)
		late, _ := l.Starts()
		if len(early) != 0 || len(late) != 1 {
			t.Errorf("got %v and then %v, want it written after %v", early, late, LaterDelay)
		}
		cancel()
		synctest.Wait()
	})
}

// TestALedgerWithoutStartsTakesThoseOfItsRuns: it was written before starts were kept.
func TestALedgerWithoutStartsTakesThoseOfItsRuns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "l")
	l := openTest(t, path)
	err := l.Write(Batch{Runs: []Run{
		{Job: "db", Started: noon.Add(time.Hour)},
		{Job: "db", Started: noon},
		{Job: "db", Kind: RunReplicate, Started: noon.Add(time.Minute)},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.db.Update(func(tx *bolt.Tx) error { return tx.DeleteBucket([]byte(starts)) }); err != nil {
		t.Fatal(err)
	}
	l.Close()
	before, err := OpenReadOnly(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := before.Starts(); err != nil || len(got) != 0 {
		t.Errorf("read only: got %v, %v, want none", got, err)
	}
	before.Close()
	l = openTest(t, path)
	got, err := l.Starts()
	if want := []Start{{StartKey{Job: "db"}, noon.Add(time.Hour)}, {StartKey{"db", RunReplicate}, noon.Add(time.Minute)}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v, want %v", got, err, want)
	}
}

func TestADamagedFileIsMovedAsideAndSaid(t *testing.T) {
	sound := func(t *testing.T, path string) []byte {
		l := openTest(t, path)
		var b Batch
		for i := range 3000 {
			b.Events = append(b.Events, Event{Text: fmt.Sprint("event", i)})
		}
		if err := l.Write(b); err != nil {
			t.Fatal(err)
		}
		l.Close()
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	cases := map[string]func([]byte) []byte{
		"no ledger at all": func([]byte) []byte { return []byte(strings.Repeat("not a database ", 5000)) },
		"a few bytes":      func(raw []byte) []byte { return raw[:100] },
		"metas only":       func(raw []byte) []byte { return raw[:2*os.Getpagesize()] },
		"cut in half":      func(raw []byte) []byte { return raw[:len(raw)/4/4096*4096] },
		"zeroed pages":     func(raw []byte) []byte { clear(raw[4*os.Getpagesize():]); return raw },
		"ones everywhere": func(raw []byte) []byte {
			for i := 4 * os.Getpagesize(); i < len(raw); i++ {
				raw[i] = 0xff
			}
			return raw
		},
	}
	for name, damage := range cases {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "ledger.db")
			if err := os.WriteFile(path, damage(sound(t, path)), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := OpenReadOnly(path); !errors.Is(err, ErrDamaged) {
				t.Errorf("read-only: got %v, want ErrDamaged", err)
			}
			l := openTest(t, path)
			if _, err := os.Stat(l.SetAside()); err != nil {
				t.Errorf("the damaged file is not kept: %v", err)
			}
			events, err := l.Events(9)
			if err != nil || len(events) != 1 || events[0].Kind != "ledger-damaged" || !strings.Contains(events[0].Text, l.SetAside()) {
				t.Errorf("got events %+v, %v; want one that names %s", events, err, l.SetAside())
			}
		})
	}
}

func TestADeletedFileCostsHistoryOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	l := openTest(t, path)
	if err := l.Write(Batch{Events: []Event{{Text: "x"}}}); err != nil {
		t.Fatal(err)
	}
	l.Close()
	os.Remove(path)
	if _, err := OpenReadOnly(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("read-only: got %v, want ErrNotExist", err)
	}
	l = openTest(t, path)
	if events, err := l.Events(9); len(events) != 0 || err != nil || l.SetAside() != "" {
		t.Errorf("got %v, %v, aside %q; want an empty ledger", events, err, l.SetAside())
	}
}

func TestASecondProcessIsToldThatItIsLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	openTest(t, path)
	if _, err := OpenReadOnly(path); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v, want ErrLocked", err)
	}
	if _, err := Open(path, clock); !errors.Is(err, ErrLocked) {
		t.Errorf("got %v, want ErrLocked", err)
	}
}

func TestARecordOfAnotherReleaseIsSkipped(t *testing.T) {
	l := openTest(t, filepath.Join(t.TempDir(), "l"))
	if err := l.Write(Batch{Events: []Event{{Text: "ours"}}}); err != nil {
		t.Fatal(err)
	}
	err := l.db.Update(func(tx *bolt.Tx) error {
		return tx.Bucket([]byte(events)).Put([]byte("zzzzzzzz"), []byte(`{"v":2,"r":{"text":[1]}}`))
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := l.Events(9)
	if err != nil || len(got) != 1 || got[0].Text != "ours" {
		t.Errorf("got %+v, %v; want ours only", got, err)
	}
}

// A round over hundreds of datasets may cost one transaction, not hundreds.
func TestRecordsOfARoundShareATransaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openTest(t, filepath.Join(t.TempDir(), "l"))
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- l.Serve(ctx, func(err error) { t.Error(err) }) }()
		before := txid(l)
		for i := range 500 {
			key := FactKey{Side: Source, Job: "db", Dataset: "/d", Peer: fmt.Sprint(i % 5)}
			l.Record(Batch{Steps: []Step{{To: fmt.Sprint(i)}}, Facts: []Fact{{FactKey: key, State: fmt.Sprint(i)}}})
		}
		time.Sleep(2 * FlushDelay)
		steps, _ := l.Steps(1000)
		facts, _ := l.Facts()
		if n := txid(l) - before; len(steps) != 500 || len(facts) != 5 || facts[4].State != "499" || n != 1 {
			t.Errorf("got %d steps and facts %+v in %d transactions, want 500 and 5 in 1", len(steps), facts, n)
		}
		l.Record(Batch{Events: []Event{{Text: "last words"}}, Forget: []FactKey{facts[0].FactKey}})
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
		events, _ := l.Events(1)
		facts, _ = l.Facts()
		if len(events) != 1 || len(facts) != 4 {
			t.Errorf("got %d events and %d facts after the end, want 1 and 4", len(events), len(facts))
		}
	})
}

func txid(l *Ledger) (id int) {
	l.db.View(func(tx *bolt.Tx) error { id = tx.ID(); return nil })
	return id
}

func TestWhatCannotBeWrittenWaitsWithinABound(t *testing.T) {
	l := openTest(t, filepath.Join(t.TempDir(), "l"))
	l.db.Close()
	for i := range maxBuffered + 5 {
		l.Record(Batch{Events: []Event{{Text: fmt.Sprint(i)}}})
	}
	if err := l.Flush(); err == nil {
		t.Fatal("a closed database was written to")
	}
	if got := len(l.pending.Events); got != maxBuffered || l.pending.Events[0].Text != "5" {
		t.Errorf("%d events wait, the first %s; want the newest %d", got, l.pending.Events[0].Text, maxBuffered)
	}
}
