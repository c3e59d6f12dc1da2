package plan

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"antipode/fsdrivers/dataset"
)

// A plan is the value that is carried out: what was printed is followed step by step,
// whatever is newer by now, or refused as a whole.
func TestAPlanIsFollowedAsItIsOrNotAtAll(t *testing.T) {
	tests := []struct {
		name   string
		change func(in *Input, p *Plan) // after a->b, b->c was planned
		want   string
		says   string
	}{
		{name: "nothing has changed", want: "a->b b->c"},
		{name: "something newer came", change: func(in *Input, _ *Plan) { in.Source = list("@a,1 @b,2 @c,3 @d,4") }, want: "a->b b->c"},
		{name: "of fewer steps the rest is left", change: func(_ *Input, p *Plan) { p.Steps = p.Steps[:1] }, want: "a->b"},
		{name: "a snapshot was renamed", change: func(in *Input, _ *Plan) { in.Source = list("@a,1 @new=b,2 @c,3") }, want: "a->b b->c"},
		{name: "a snapshot is gone", change: func(in *Input, _ *Plan) { in.Source = list("@a,1 @c,3") }, says: "b (b) is not there any more"},
		{name: "a snapshot is a bookmark", change: func(in *Input, _ *Plan) { in.Source = list("@a,1 @b,2 #c,3") }, says: "c (c) is not there any more"},
		{name: "the base moved", change: func(in *Input, _ *Plan) { in.Target = list("@a,1 @b,2") }, says: "goes on from a (a), and the newest common point is b (b)"},
		{name: "the replica is gone", change: func(in *Input, _ *Plan) { in.Target, in.TargetID = nil, "" }, says: "the newest common point is nothing"},
		{name: "the replica diverged", change: func(in *Input, _ *Plan) { in.Target = list("@a,1 @x,2") }, says: "the target diverged"},
		{name: "another dataset has the path", change: func(in *Input, _ *Plan) { in.Dataset.ID, in.TargetID = "new", "new" }, says: "was made for dataset /data/db (db), and this is new"},
		{name: "something else was begun", change: func(in *Input, _ *Plan) { in.Checkpoint = dataset.Checkpoint{Kind: "k", Step: "s", Done: 1} }, says: "another unfinished receive"},
		{name: "flags were changed", change: func(in *Input, _ *Plan) { in.Flags = "raw" }, says: "the job's flags"},
		{name: "a step was left out", change: func(_ *Input, p *Plan) { p.Steps = p.Steps[1:] }, says: "what it builds on"},
		{name: "a step to what a run makes", change: func(_ *Input, p *Plan) { p.Steps[1].To = dataset.Snapshot{Name: "c", ID: Unborn} }, want: "a->b"},
	}
	for _, tt := range tests {
		in := input("@a,1 @b,2 @c,3", "@a,1")
		printed, err := Decide(in)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(printed)
		if err != nil {
			t.Fatal(err)
		}
		var p Plan
		if err := json.Unmarshal(text, &p); err != nil {
			t.Fatal(err)
		}
		if tt.change != nil {
			tt.change(&in, &p)
		}
		got, err := Follow(in, p)
		if tt.says != "" {
			if err == nil || !strings.Contains(err.Error(), tt.says) || len(got.Steps) > 0 {
				t.Errorf("%s: %q, %v, want nothing but an error that says %q", tt.name, path(got.Plan), err, tt.says)
			}
			var c Conflict
			if !errors.As(err, &c) || c.Next() == "" {
				t.Errorf("%s: %v is no conflict with a next step", tt.name, err)
			}
			continue
		}
		if err != nil || path(got.Plan) != tt.want {
			t.Errorf("%s: %q, %v, want %q", tt.name, path(got.Plan), err, tt.want)
		}
		if unmade := len(p.Steps) - len(got.Steps); unmade != len(got.Unmade) {
			t.Errorf("%s: unmade %v, want %d", tt.name, got.Unmade, unmade)
		}
		if tt.change == nil && !reflect.DeepEqual(got.Plan, printed) {
			t.Errorf("%s: got %+v, want the value that was printed, %+v", tt.name, got.Plan, printed)
		}
	}
}

// What the target holds of a step is gone on from, as the plan says.
func TestAPlanThatResumesIsFollowed(t *testing.T) {
	in := input("@a,1 @b,2", "@a,1")
	first, err := Decide(in)
	if err != nil {
		t.Fatal(err)
	}
	in.Checkpoint = dataset.Checkpoint{Kind: "k", Step: first.Steps[0].ID(), Done: 7}
	p, err := Decide(in)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Follow(in, p); err != nil || got.Resume.Done != 7 {
		t.Errorf("got %+v, %v, want it to go on at byte 7", got, err)
	}
	in.Checkpoint.Done = 9
	if _, err := Follow(in, p); !errors.Is(err, dataset.ErrChanged) {
		t.Errorf("when more came: %v, want that it does not fit", err)
	}
}
