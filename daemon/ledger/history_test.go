package ledger

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

func TestHistoryAnswersQueries(t *testing.T) {
	l := openTest(t, filepath.Join(t.TempDir(), "l"))
	at := func(h int) time.Time { return noon.Add(time.Duration(h) * time.Hour) }
	err := l.Write(Batch{
		Runs:         []Run{{Job: "db", Cause: "schedule", Started: at(0), Ended: at(1), Snapshots: 2, Held: time.Second}, {Job: "www", Kind: RunReplicate, Cause: "trigger", Started: at(4), Ended: at(4), Steps: 3}},
		Steps:        []Step{{Side: Source, Job: "db", Dataset: "/data/db", Peer: "sin1", From: "a", To: "b", Started: at(1), Ended: at(3), Bytes: 7}},
		Destructions: []Destruction{{Side: Source, Job: "db", Dataset: "/data/db", Snapshot: "a", Why: "nothing keeps it", At: at(2)}},
		Events:       []Event{{At: at(3), Kind: "rate", Job: "www", Text: "x"}, {At: at(3), Kind: "pinned", Object: "/data/old", Text: "of an earlier release"}},
		Alerts: []Alert{{
			FactKey: FactKey{Side: Source, Job: "db", Dataset: "/data/db", Peer: "sin1"}, At: at(5), Kind: "rpo-missed", Object: "/data/db of job db to sin1", Text: "late",
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		q    Query
		want string
	}{
		{"all", Query{}, "[alert run event event destruction step run]"},
		{"a dataset", Query{Dataset: "/data/db"}, "[alert destruction step]"},
		{"a job", Query{Job: "db"}, "[alert destruction step run]"},
		{"a dataset that only an object names", Query{Dataset: "/data/old"}, "[event]"},
		{"a job's alerts", Query{Job: "db", Kind: EntryAlert}, "[alert]"},
		{"another job", Query{Job: "www"}, "[run event]"},
		{"a kind", Query{Kind: EntryDestruction}, "[destruction]"},
		{"since", Query{Since: at(3)}, "[alert run event event]"},
		{"until, which is not in it", Query{Until: at(2)}, "[step run]"},
		{"limit", Query{Limit: 2}, "[alert run]"},
		{"nothing", Query{Job: "x"}, "[]"},
	} {
		entries, err := l.History(c.q)
		kinds := []EntryKind{}
		for _, e := range entries {
			kinds = append(kinds, e.Kind)
		}
		if got := fmt.Sprint(kinds); err != nil || got != c.want {
			t.Errorf("%s: got %s, %v, want %s", c.name, got, err, c.want)
		}
	}
	runs, _ := l.History(Query{Kind: EntryRun})
	if sends, snaps := runs[0], runs[1]; sends.Text != "replicate, trigger" || *sends.Run != (Ran{Does: RunReplicate, Steps: 3}) ||
		snaps.Text != "schedule" || *snaps.Run != (Ran{Does: RunSnapshot, Snapshots: 2, Held: time.Second}) {
		t.Errorf("got %+v %+v and %+v %+v", sends, sends.Run, snaps, snaps.Run)
	}
	steps, _ := l.History(Query{Kind: EntryStep})
	if s := steps[0]; s.Took != 2*time.Hour || s.Bytes != 7 || s.Text != "from a" || s.Snapshot != "b" {
		t.Errorf("got %+v", s)
	}
}
