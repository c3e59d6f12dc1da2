package prune

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"antipode/daemon/policy"
	"antipode/fsdrivers/dataset"
)

func TestEmptyListGivesNoVerdicts(t *testing.T) {
	if got := Decide(Input{Keep: policy.Keep{Last: 1}, Now: start}); got != nil {
		t.Errorf("verdicts %v on no points, want none", got)
	}
}

func TestFrozenKeepsEverythingAndSaysWhy(t *testing.T) {
	keep := policy.Keep{Last: 1}
	tests := []struct {
		name   string
		change func(*Input)
		says   string // "" for not frozen
		silent bool   // the next point ends it
	}{
		{name: "all is well", change: func(*Input) {}},
		{name: "clock an instant before the newest receipt", change: func(in *Input) {
			in.Points[2].Received = in.Now.Add(time.Nanosecond)
		}, says: "was set back"},
		{name: "received this instant", change: func(in *Input) { in.Points[2].Received = in.Now }},
		{name: "an older point was received in the future", change: func(in *Input) {
			in.Points[0].Received = in.Now.Add(oneDay)
		}, says: "antipode_db_20260301T120000Z is from 2026-03-02"},
		{name: "names run a little ahead of the clock", change: func(in *Input) { in.Points[2].Retain = in.Now.Add(ClampAhead) }},
		{name: "a source's clock was set back", change: func(in *Input) {
			in.Points[2].Retain = in.Now.Add(ClampAhead + 1)
		}, says: "was set back"},
		{name: "silence that may be a weekend or a month", change: func(in *Input) { in.Now = in.Points[2].Retain.Add(MaxSilence) }},
		{name: "silence too long", change: func(in *Input) {
			in.Now = in.Points[2].Retain.Add(MaxSilence + 1)
		}, says: "nothing came for more than 45 days", silent: true},
		{name: "a point without identity", change: func(in *Input) { in.Points[1].ID = "" }, says: "no identity"},
		{name: "base not listed", change: func(in *Input) { in.Peers = []Peer{{Name: "sin1", Base: "f"}} }, says: "base with sin1"},
		{name: "base not known", change: func(in *Input) { in.Peers = []Peer{{Name: "sin1"}} }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := Input{Side: Target, Points: every(time.Hour, 3, start), Keep: keep, Now: start.Add(3 * time.Hour)}
			tt.change(&in)
			verdicts := Decide(in)
			kept := len(survivors(verdicts))
			if tt.says == "" {
				if kept != 1 {
					t.Errorf("%d points stay, want 1 under last = 1", kept)
				}
				return
			}
			if kept != 3 {
				t.Errorf("%d points stay, want all 3", kept)
			}
			for _, v := range verdicts {
				r := v.Reasons[0]
				if want := map[bool]Kind{true: Silent, false: Frozen}[tt.silent]; r.Kind != want || !strings.Contains(r.Text(), tt.says) {
					t.Errorf("reason %+v, want %s because %q", r, want, tt.says)
				}
				if of := strings.Contains(tt.says, "set back") || strings.Contains(tt.says, "is from"); of != r.At.After(in.Now) {
					t.Errorf("reason %+v, want an end: %t", r, of)
				}
			}
		})
	}
}

func TestRulesOneByOne(t *testing.T) {
	// Points on the first of January to June, and one on each day of June's first week.
	var points []dataset.Snapshot
	for m := range 6 {
		points = append(points, made(uint64(m+1), time.Date(2026, time.Month(m+1), 1, 6, 0, 0, 0, time.UTC)))
	}
	points = append(points, every(oneDay, 6, time.Date(2026, 6, 2, 6, 0, 0, 0, time.UTC))...)
	for i := range points {
		points[i].Order, points[i].ID = uint64(i+1), dataset.ID(fmt.Sprintf("%x", i+1))
	}
	tests := []struct {
		name string
		keep policy.Keep
		want string // month and day of what stays
	}{
		{"nothing but the newest", policy.Keep{Last: 1}, "6/7"},
		{"last", policy.Keep{Last: 3}, "6/5 6/6 6/7"},
		{"daily", policy.Keep{Daily: 2}, "6/6 6/7"},
		{"weeks begin on Monday, and the first point of each stays", policy.Keep{Weekly: 2}, "5/1 6/1 6/7"},
		{"monthly", policy.Keep{Monthly: 3}, "4/1 5/1 6/1 6/7"},
		{"yearly", policy.Keep{Yearly: 5}, "1/1 6/7"},
		{"within", policy.Keep{Within: 2 * oneDay}, "6/5 6/6 6/7"},
		{"rules add up", policy.Keep{Last: 2, Yearly: 1}, "1/1 6/6 6/7"},
		{"more than there is", policy.Keep{Monthly: 99}, "1/1 2/1 3/1 4/1 5/1 6/1 6/7"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, s := range survivors(Decide(Input{Side: Source, Points: points, Keep: tt.keep, Now: points[11].Retain})) {
				got = append(got, fmt.Sprintf("%d/%d", s.Retain.Month(), s.Retain.Day()))
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("%v stay, want %s", got, tt.want)
			}
		})
	}
}

func TestProtectIsTheTargetsAlone(t *testing.T) {
	for side, want := range map[Side]int{Source: 1, Target: 3} {
		in := Input{Side: side, Points: every(time.Hour, 3, start), Keep: policy.Keep{Last: 1}, Now: start.Add(2 * time.Hour), Protect: oneDay}
		if got := len(survivors(Decide(in))); got != want {
			t.Errorf("%s: %d points stay, want %d", side, got, want)
		}
	}
}

func TestProtectEndsOnTime(t *testing.T) {
	for age, want := range map[time.Duration]int{oneDay - 1: 2, oneDay: 1} {
		points := every(time.Hour, 2, start)
		in := Input{Side: Target, Points: points, Keep: policy.Keep{Last: 1}, Now: start.Add(age), Protect: oneDay}
		if got := len(survivors(Decide(in))); got != want {
			t.Errorf("received %s ago under protect = 24h: %d points stay, want %d", age, got, want)
		}
	}
}

func TestEveryReasonIsGiven(t *testing.T) {
	points := every(time.Hour, 2, start)
	points[0].Holds = []dataset.Tag{"base.db.sin1", "step.db.sin1"}
	points[0].Received, points[1].Received = start, start.Add(time.Hour)
	verdicts := Decide(Input{
		Side: Target, Points: points, Now: start.Add(2 * time.Hour), Protect: 3 * time.Hour,
		Keep:     policy.Keep{Last: 2, Hourly: 2, Daily: 1, Weekly: 1, Monthly: 1, Yearly: 1, Within: time.Hour},
		InFlight: []dataset.ID{points[0].ID}, Peers: []Peer{{Name: "sin1", Base: points[0].ID}},
	})
	var got []string
	for _, r := range verdicts[0].Reasons {
		got = append(got, string(r.Kind)+": "+r.Text())
	}
	want := []string{
		"held: held by base.db.sin1", "held: held by step.db.sin1", "in-flight: needed by an unfinished step", "base: base of sin1",
		"protected: protected until 2026-03-01 15:00:00 UTC", "last: last 2 of 2", "hourly: hourly 2 of 2", "daily: daily 1 of 1",
		"weekly: weekly 1 of 1", "monthly: monthly 1 of 1", "yearly: yearly 1 of 1", "within: within 1h of the newest",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("reasons\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestVerdictsSurviveJSON(t *testing.T) {
	want := Decide(Input{Side: Source, Points: every(time.Hour, 3, start), Keep: policy.Keep{Last: 1}, Now: start.Add(3 * time.Hour)})
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got []Verdict
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("after JSON %+v, want %+v", got, want)
	}
}

func TestClampRetain(t *testing.T) {
	now, none := start, time.Time{}
	tests := []struct {
		name                   string
		declared, newest, want time.Time
	}{
		{"honest", now.Add(-time.Hour), now.Add(-2 * time.Hour), now.Add(-time.Hour)},
		{"first point", now.Add(-time.Hour), none, now.Add(-time.Hour)},
		{"first point from before time", time.Time{}, none, time.Unix(0, 0)},
		{"older than the newest", now.Add(-3 * time.Hour), now.Add(-2 * time.Hour), now.Add(-2*time.Hour + 1)},
		{"as old as the newest", now.Add(-time.Hour), now.Add(-time.Hour), now.Add(-time.Hour + 1)},
		{"a year ahead", now.AddDate(1, 0, 0), now.Add(-time.Hour), now.Add(ClampAhead)},
		{"within the skew", now.Add(ClampAhead), none, now.Add(ClampAhead)},
		{"again a year ahead", now.AddDate(1, 0, 0), now.Add(ClampAhead), now.Add(ClampAhead + 1)},
		{"our clock was set back", now, now.AddDate(0, 1, 0), now.AddDate(0, 1, 0).Add(1)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := ClampRetain(tt.declared, tt.newest, now); !got.Equal(tt.want) {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

// destroyer answers for a snapshot's identity, and remembers what it did.
type destroyer struct {
	answer map[dataset.ID]error
	calls  []dataset.ID
	after  func()
}

func (d *destroyer) Destroy(_ context.Context, _ dataset.Path, s dataset.Snapshot) error {
	d.calls = append(d.calls, s.ID)
	if d.after != nil {
		d.after()
	}
	return d.answer[s.ID]
}

func TestExecute(t *testing.T) {
	stuck := errors.New("disk on fire")
	tests := []struct {
		name        string
		answer      map[dataset.ID]error
		calls, done string
		is          []error
	}{
		{name: "all goes well", calls: "[1 2 3]", done: "[1 2 3]"},
		{name: "one was held meanwhile", answer: map[dataset.ID]error{"2": dataset.ErrHeld}, calls: "[1 2 3]", done: "[1 3]", is: []error{dataset.ErrHeld}},
		{
			name: "two are not what they were", answer: map[dataset.ID]error{"1": dataset.ErrChanged, "3": dataset.ErrHeld},
			calls: "[1 2 3]", done: "[2]", is: []error{dataset.ErrChanged, dataset.ErrHeld},
		},
		{name: "the file system fails", answer: map[dataset.ID]error{"2": stuck}, calls: "[1 2]", done: "[1]", is: []error{stuck}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			verdicts := Decide(Input{Side: Source, Points: every(time.Hour, 4, start), Keep: policy.Keep{Last: 1}, Now: start.Add(4 * time.Hour)})
			by := &destroyer{answer: tt.answer}
			done, err := Execute(t.Context(), "/data/db", verdicts, by)
			if got := fmt.Sprint(by.calls); got != tt.calls {
				t.Errorf("asked to destroy %s, want %s", got, tt.calls)
			}
			var ids []dataset.ID
			for _, v := range done {
				if ids = append(ids, v.Snapshot.ID); v.Reasons[0].Kind != Expired {
					t.Errorf("%s was destroyed because of %+v, want expired", v.Snapshot.ID, v.Reasons)
				}
			}
			if got := fmt.Sprint(ids); got != tt.done {
				t.Errorf("says that it destroyed %s, want %s", got, tt.done)
			}
			if (err != nil) != (len(tt.is) > 0) {
				t.Errorf("error %v, want %v", err, tt.is)
			}
			for _, want := range tt.is {
				if !errors.Is(err, want) || !strings.Contains(err.Error(), "/data/db") {
					t.Errorf("error %v, want %v and the dataset", err, want)
				}
			}
		})
	}
}

func TestExecuteStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	verdicts := Decide(Input{Side: Source, Points: every(time.Hour, 4, start), Keep: policy.Keep{Last: 1}, Now: start.Add(4 * time.Hour)})
	by := &destroyer{after: cancel}
	done, err := Execute(ctx, "/data/db", verdicts, by)
	if len(by.calls) != 1 || len(done) != 1 || !errors.Is(err, context.Canceled) {
		t.Errorf("%d calls, %d done, %v; want one of each and context.Canceled", len(by.calls), len(done), err)
	}
}
