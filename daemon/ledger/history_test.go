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
		Runs:         []Run{{Job: "db", Cause: "schedule", Started: at(0), Ended: at(1)}, {Job: "www", Cause: "trigger", Started: at(4), Ended: at(4)}},
		Steps:        []Step{{Side: Source, Job: "db", Dataset: "/data/db", Peer: "sin1", From: "a", To: "b", Started: at(1), Ended: at(3), Bytes: 7}},
		Destructions: []Destruction{{Side: Source, Job: "db", Dataset: "/data/db", Snapshot: "a", Why: "nothing keeps it", At: at(2)}},
		Events:       []Event{{At: at(3), Kind: "reload", Object: "/data/www", Text: "x"}},
		Alerts:       []Alert{{At: at(5), Kind: "rpo-missed", Object: "/data/db", Text: "late"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		q    Query
		want string
	}{
		{"all", Query{}, "[alert run event destruction step run]"},
		{"a dataset", Query{Dataset: "/data/db"}, "[alert destruction step]"},
		{"a job", Query{Job: "db"}, "[destruction step run]"},
		{"a kind", Query{Kind: EntryDestruction}, "[destruction]"},
		{"since", Query{Since: at(3)}, "[alert run event]"},
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
	steps, _ := l.History(Query{Kind: EntryStep})
	if s := steps[0]; s.Took != 2*time.Hour || s.Bytes != 7 || s.Text != "from a" || s.Snapshot != "b" {
		t.Errorf("got %+v", s)
	}
}
