package plan

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"antipode/daemon/policy"
	"antipode/fsdrivers/dataset"
)

// list reads the tiny language of these tests: "@a,1 @b=9,2" is a snapshot
// named and identified a with Order 1, then one named b with identity 9; "#c,3" is a
// bookmark, and "~d,4" what others made.
func list(text string) []dataset.Snapshot {
	var out []dataset.Snapshot
	for word := range strings.FieldsSeq(text) {
		var s dataset.Snapshot
		s.Bookmark, s.Foreign = strings.HasPrefix(word, "#"), strings.HasPrefix(word, "~")
		name, order, _ := strings.Cut(strings.TrimLeft(word, "@#~"), ",")
		if _, err := fmt.Sscan(order, &s.Order); err != nil {
			panic("bad snapshot " + word)
		}
		name, id, given := strings.Cut(name, "=")
		if !given {
			id = name
		}
		s.Name, s.ID = name, dataset.ID(id)
		out = append(out, s)
	}
	return out
}

var db = dataset.Dataset{Path: "/data/db", ID: "db"}

// input is a plain case; TargetID follows from whether the target has anything.
func input(source, target string) Input {
	in := Input{Job: "db", Dataset: db, Source: list(source), Target: list(target), Initial: policy.InitialLatest}
	if target != "" {
		in.TargetID = db.ID
	}
	return in
}

// path writes the steps as "->b b->c".
func path(p Plan) string {
	var out []string
	for _, s := range p.Steps {
		out = append(out, string(s.From.ID)+"->"+string(s.To.ID))
	}
	return strings.Join(out, " ")
}

// The way out that OtherDataset names: the former replica's points were moved
// away, and the path is free for the new dataset.
func TestPathOfAFormerDatasetWithoutPointsIsFree(t *testing.T) {
	in := input("@a,1 @b,2", "")
	in.TargetID = "former"
	p, err := Decide(in)
	if err != nil || path(p) != "->b" {
		t.Errorf("Decide: %q, %v; want a first copy", path(p), err)
	}
}

// Of what others made a job sends what it includes. The rest is a base where it is
// one, since a filter hides no base.
func TestWhatOthersMadeIsSentWhereItIsIncluded(t *testing.T) {
	tests := []struct {
		name, source, target, include string
		initial                       policy.Initial
		newest                        bool
		want                          string
	}{
		{name: "not without being asked for", source: "@a,1 ~x1,2 @b,3", target: "@a,1", want: "a->b"},
		{name: "in its place", source: "@a,1 ~x1,2 @b,3 ~y1,4", target: "@a,1", include: "x*", want: "a->x1 x1->b"},
		{name: "as a first copy", source: "@a,1 ~x1,2", include: "x*", want: "->x1"},
		{name: "among all", source: "~y0,1 @a,2 ~x1,3", include: "x*", initial: policy.InitialAll, want: "->a a->x1"},
		{name: "alone", source: "~x1,1", want: ""},
		{name: "a base that is included no more", source: "@a,1 ~x1,2 @b,3", target: "@a,1 @x1,2", want: "x1->b"},
		{name: "the newest only", source: "@a,1 @b,2 ~x1,3", target: "@a,1", include: "x?", newest: true, want: "a->x1"},
	}
	for _, tt := range tests {
		in := input(tt.source, tt.target)
		in.Initial, in.NewestOnly = tt.initial, tt.newest
		if tt.include != "" {
			in.Include = policy.Names{tt.include}
		}
		p, err := Decide(in)
		if err != nil || path(p) != tt.want {
			t.Errorf("%s: steps %q, %v, want %q", tt.name, path(p), err, tt.want)
		}
		for _, s := range p.Steps {
			if s.To.Foreign != strings.Contains(s.Why, "others made it") {
				t.Errorf("%s: to %s because %q", tt.name, s.To.Name, s.Why)
			}
		}
	}
}

func TestStepsFollowTheSourceFromTheCommonBase(t *testing.T) {
	tests := []struct {
		name           string
		source, target string
		initial        policy.Initial
		asked          bool
		want           string
	}{
		{name: "nothing anywhere"},
		{name: "a forbidden first copy that was asked for", source: "@a,1 @b,2", initial: policy.InitialFail, asked: true, want: "->b"},
		{name: "first copy of the newest", source: "@a,1 @b,2", want: "->b"},
		{name: "first copy by default is the newest", source: "@a,1 @b,2", initial: " ", want: "->b"},
		{name: "first copy of all", source: "@a,1 @b,2 @c,3", initial: policy.InitialAll, want: "->a a->b b->c"},
		{name: "up to date", source: "@a,1 @b,2", target: "@a,7 @b,9"},
		{name: "fail does not matter once seeded", source: "@a,1 @b,2", target: "@a,7", initial: policy.InitialFail, want: "a->b"},
		{name: "every snapshot since the base", source: "@a,1 @b,2 @c,3", target: "@a,40", want: "a->b b->c"},
		{name: "orders of the two sides are not compared", source: "@a,100 @b,200", target: "@a,5", want: "a->b"},
		{name: "names do not matter", source: "@new=1,1 @b=2,2", target: "@old=1,1", want: "1->2"},
		{name: "the same name is not the same snapshot", source: "@a=1,1 @b=2,2", target: "@b=1,1", want: "1->2"},
		{name: "older snapshots that the target never got stay behind", source: "@a,1 @b,2 @c,3", target: "@b,1", want: "b->c"},
		{name: "what the target pruned is not sent again", source: "@a,1 @b,2 @c,3", target: "@a,1 @c,3"},
		{name: "what the target has in another order is skipped", source: "@a,1 @b,2 @c,3", target: "@b,1 @a,2", want: "a->c"},
		{name: "of a bookmark the data are gone", source: "#a,1 #b,2 @c,3", target: "@a,1", want: "a->c"},
		{name: "a bookmark at the end is nothing to send", source: "@a,1 #b,2", target: "@a,1"},
		{name: "no first copy of a bookmark", source: "#a,1"},
		{name: "listed twice, sent once", source: "@a,1 @b,2 @b,2", target: "@a,1", want: "a->b"},
		{name: "without an identity it cannot be sent", source: "@a,1 @x=,2 @c,3", target: "@a,1", want: "a->c"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := input(tt.source, tt.target)
			if tt.initial != "" {
				in.Initial = policy.Initial(strings.TrimSpace(string(tt.initial)))
			}
			in.Asked = tt.asked
			p, err := Decide(in)
			if err != nil {
				t.Fatalf("Decide: %v", err)
			}
			if got := path(p); got != tt.want {
				t.Errorf("steps %q, want %q", got, tt.want)
			}
			if p.IsEmpty() != (tt.want == "") {
				t.Errorf("IsEmpty() = %v with steps %q", p.IsEmpty(), path(p))
			}
			for _, s := range p.Steps {
				if s.Why == "" {
					t.Errorf("step to %s has no reason", s.To.Name)
				}
			}
			if p.Why == "" {
				t.Error("plan has no reason")
			}
		})
	}
}

func TestReasonsAreInWords(t *testing.T) {
	p, err := Decide(input("@a,1 @b,2 @c,3", "@a,1"))
	if err != nil {
		t.Fatal(err)
	}
	got := []string{p.Why, p.Steps[0].Why, p.Steps[1].Why}
	want := []string{
		"2 steps from the common base a to the newest, c",
		"the target has a and not this one",
		"next after b",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("reasons %q, want %q", got, want)
	}
}

// checkpoint is one of the step from->to of input's job.
func checkpoint(from, to string, change ...func(*dataset.Step)) dataset.Checkpoint {
	s := dataset.Step{
		Job: "db", Dataset: db,
		From: dataset.Snapshot{ID: dataset.ID(from)}, To: dataset.Snapshot{ID: dataset.ID(to)},
	}
	for _, c := range change {
		c(&s)
	}
	return dataset.Checkpoint{Kind: "test", Step: s.ID(), Done: 42}
}

func TestUnfinishedReceive(t *testing.T) {
	tests := []struct {
		name           string
		source, target string
		initial        policy.Initial
		checkpoint     dataset.Checkpoint
		want           string
		dropped        bool
	}{
		{name: "of the first planned step", source: "@a,1 @b,2", target: "@a,1", checkpoint: checkpoint("a", "b"), want: "a->b"},
		{name: "first copy of two weeks is finished before newer snapshots", source: "@a,1 @b,2 @c,3", checkpoint: checkpoint("", "a"), want: "->a a->b b->c"},
		{name: "first copy of all that began later than the oldest", source: "@a,1 @b,2 @c,3", initial: policy.InitialAll, checkpoint: checkpoint("", "b"), want: "->b b->c"},
		{name: "incremental over snapshots that came to light since", source: "@a,1 @b,2 @c,3 @d,4", target: "@a,1", checkpoint: checkpoint("a", "c"), want: "a->c c->d"},
		{name: "its snapshot is gone", source: "@b,2", checkpoint: checkpoint("", "a"), want: "->b", dropped: true},
		{name: "its base is not the base", source: "@a,1 @b,2 @c,3", target: "@b,1", checkpoint: checkpoint("a", "c"), want: "b->c", dropped: true},
		{name: "a full one, and the target has a base by now", source: "@a,1 @b,2", target: "@a,1", checkpoint: checkpoint("", "b"), want: "a->b", dropped: true},
		{name: "of another job", source: "@a,1", checkpoint: checkpoint("", "a", func(s *dataset.Step) { s.Job = "x" }), want: "->a", dropped: true},
		{name: "with other flags", source: "@a,1", checkpoint: checkpoint("", "a", func(s *dataset.Step) { s.Flags = "w" }), want: "->a", dropped: true},
		{name: "of another generation", source: "@a,1", checkpoint: checkpoint("", "a", func(s *dataset.Step) { s.Generation = 1 }), want: "->a", dropped: true},
		{name: "nothing to send any more", source: "@a,1 @b,2", target: "@a,1 @b,2", checkpoint: checkpoint("a", "b"), dropped: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := input(tt.source, tt.target)
			in.Checkpoint, in.Initial = tt.checkpoint, tt.initial
			p, err := Decide(in)
			if err != nil {
				t.Fatalf("Decide: %v", err)
			}
			if got := path(p); got != tt.want {
				t.Errorf("steps %q, want %q", got, tt.want)
			}
			if got := p.Dropped != nil; got != tt.dropped {
				t.Errorf("dropped %v, want %v", got, tt.dropped)
			}
			if p.Dropped != nil && (p.Dropped.Why == "" || !reflect.DeepEqual(p.Dropped.Checkpoint, tt.checkpoint)) {
				t.Errorf("dropped %+v does not name the checkpoint and a reason", *p.Dropped)
			}
			if kept := !p.Resume.IsZero(); kept == tt.dropped {
				t.Errorf("resume %+v, dropped %v: want exactly one of the two", p.Resume, p.Dropped)
			}
			if !p.Resume.IsZero() && p.Steps[0].ID() != p.Resume.Step {
				t.Errorf("the first step is %s, the checkpoint belongs to %s", p.Steps[0].ID(), p.Resume.Step)
			}
		})
	}
}

func TestPlanSurvivesJSON(t *testing.T) {
	in := input("@a,1 @b,2 @c,3", "@a,1")
	in.Checkpoint, in.Flags = checkpoint("x", "y"), "Lc"
	want, err := Decide(in)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Plan
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("after JSON %+v, want %+v", got, want)
	}
	if got.Steps[1].ID() != want.Steps[1].ID() {
		t.Errorf("step id %s after JSON, want %s", got.Steps[1].ID(), want.Steps[1].ID())
	}
}

func TestStepsDoNotCarryHolds(t *testing.T) {
	in := input("@a,1 @b,2", "@a,1")
	for i := range in.Source {
		in.Source[i].Holds = []dataset.Tag{"base.db.other-peer"}
	}
	p, err := Decide(in)
	if err != nil {
		t.Fatal(err)
	}
	if s := p.Steps[0]; s.From.Holds != nil || s.To.Holds != nil {
		t.Errorf("step tells the peer of holds %v and %v, want none", s.From.Holds, s.To.Holds)
	}
	if len(p.Base.Holds) != 1 {
		t.Errorf("base has holds %v, want those of the source", p.Base.Holds)
	}
}

func TestConflictsCarryBothListsSorted(t *testing.T) {
	tests := []struct {
		name           string
		source, target string
		change         func(*Input)
		want           Conflict
		is             error
		says           []string
	}{
		{
			name: "no identity is shared", source: "@b,2 @a,1", target: "@b=x,4 @a=y,3",
			want: &NoCommonBase{}, is: dataset.ErrBaseMissing, says: []string{"2 snapshots (a to b)", "no identity is in both"},
		},
		{
			name: "the source lost all its snapshots", target: "@a,1",
			want: &NoCommonBase{}, says: []string{"the source has no snapshot", "the target 1 snapshot (a)"},
		},
		{
			name: "the target has more than the base", source: "@b,2 @a,1", target: "@x,9 @a,1",
			want: &Diverged{}, is: dataset.ErrDiverged, says: []string{"after the common base a", "1 snapshot (x)"},
		},
		{
			name: "another dataset took the path", source: "@a,1", target: "@a,1",
			change: func(in *Input) { in.TargetID = "former" },
			want:   &OtherDataset{}, says: []string{"received from former", "the source's is db"},
		},
		{
			name: "a first copy is forbidden", source: "@b,2 @a,1",
			change: func(in *Input) { in.Initial = policy.InitialFail },
			want:   &NotSeeded{}, is: dataset.ErrRefused, says: []string{`initial = "fail"`},
		},
		{
			name: "a first copy is forbidden though one was begun", source: "@a,1",
			change: func(in *Input) { in.Initial, in.Checkpoint = policy.InitialFail, checkpoint("", "a") },
			want:   &NotSeeded{},
		},
		{
			name: "the target was promoted", source: "@a,1 @b,2", target: "@a,1",
			change: func(in *Input) { in.TargetMark, in.MayPromote = mark("sin1"), true },
			want:   &Promoted{}, says: []string{"sin1 is primary in generation 1"},
		},
		{
			name: "the target was promoted again", source: "@a,1", target: "@a,1",
			change: func(in *Input) {
				in.SourceMark, in.TargetMark, in.MayPromote = mark("fra1"), mark("fra1", "sin1", "sin1"), true
			},
			want: &Promoted{},
		},
		{
			name: "this side gave way already", source: "@a,1 @b,2", target: "@a,1",
			change: func(in *Input) { in.Node, in.SourceMark, in.TargetMark = "fra1", mark("sin1"), mark("sin1") },
			want:   &Promoted{}, says: []string{"sin1 is primary in generation 1", "this side has to give way"},
		},
		{
			name: "this side gave way to another target", source: "@a,1 @b,2", target: "@a,1",
			change: func(in *Input) { in.Node, in.SourceMark = "fra1", mark("sin1") },
			want:   &Promoted{},
		},
		{
			name: "the target may not be promoted", source: "@a,1", target: "@a,1",
			change: func(in *Input) { in.TargetMark = mark("sin1") },
			want:   &BadMark{}, says: []string{"may not promote"},
		},
		{
			name: "both were promoted", source: "@a,1", target: "@a,1",
			change: func(in *Input) { in.SourceMark, in.TargetMark, in.MayPromote = mark("fra1"), mark("sin1"), true },
			want:   &SplitBrain{}, says: []string{"split brain: generation 1"},
		},
		{
			name: "the mark jumps", source: "@a,1", target: "@a,1",
			change: func(in *Input) {
				in.TargetMark, in.MayPromote = mark(strings.Fields(strings.Repeat("n ", dataset.MaxMarkRise+1))...), true
			},
			want: &BadMark{}, says: []string{"rises by more than 16"},
		},
		{
			name: "the mark does not chain", source: "@a,1", target: "@a,1",
			change: func(in *Input) {
				in.SourceMark, in.TargetMark, in.MayPromote = mark("fra1"), mark("x", "sin1"), true
			},
			want: &BadMark{}, says: []string{"does not chain"},
		},
		{
			name: "the mark is older and not ours", source: "@a,1", target: "@a,1",
			change: func(in *Input) { in.SourceMark, in.TargetMark = mark("fra1", "fra1"), mark("sin1") },
			want:   &BadMark{}, says: []string{"promoted apart"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := input(tt.source, tt.target)
			if tt.change != nil {
				tt.change(&in)
			}
			p, err := Decide(in)
			if reflect.TypeOf(err) != reflect.TypeOf(tt.want) {
				t.Fatalf("got %T (%v), want %T", err, err, tt.want)
			}
			if !reflect.DeepEqual(p, Plan{}) {
				t.Errorf("a conflict came with the plan %+v, want none", p)
			}
			if tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%v is not %v", err, tt.is)
			}
			checkEvidence(t, err, in)
			for _, want := range append(tt.says, "/data/db", "; next: ") {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
			var c Conflict
			if !errors.As(err, &c) || c.Next() == "" || !strings.HasSuffix(err.Error(), c.Next()) {
				t.Errorf("%q does not end with its next step", err)
			}
		})
	}
}

// checkEvidence reads the embedded Evidence of whichever conflict it is.
func checkEvidence(t *testing.T, err error, in Input) {
	t.Helper()
	e := reflect.ValueOf(err).Elem().FieldByName("Evidence").Interface().(Evidence)
	if got, want := e.Source, sorted(in.Source, new(index)); !reflect.DeepEqual(got, want) {
		t.Errorf("evidence of the source %v, want %v", got, want)
	}
	if got, want := e.Target, sorted(in.Target, new(index)); !reflect.DeepEqual(got, want) {
		t.Errorf("evidence of the target %v, want %v", got, want)
	}
}

// mark is that of activations by these nodes one after the other.
func mark(nodes ...string) dataset.Mark {
	var m dataset.Mark
	for i, n := range nodes {
		history := m.History
		if i > 0 {
			history = append([]dataset.Activation{m.Activation}, history...)
		}
		id := fmt.Sprintf("%032x", 100*len(n)+int(n[0])+1000*i)
		m = dataset.Mark{
			Activation: dataset.Activation{Generation: uint64(i + 1), ID: dataset.ActivationID(id), Node: n},
			History:    history,
		}
	}
	return m
}

func TestTargetsThatHaveToLearnAreSentTo(t *testing.T) {
	tests := []struct {
		name         string
		ours, theirs dataset.Mark
	}{
		{"nobody was promoted", mark(), mark()},
		{"both know the same activation", mark("fra1"), mark("fra1")},
		{"the target knows nothing yet", mark("fra1", "sin1"), mark()},
		{"the target is one behind", mark("sin1", "fra1"), mark("sin1")},
		{"a new target and an old source", mark(strings.Fields(strings.Repeat("n ", 40))...), mark()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			in := input("@a,1 @b,2", "@a,1")
			in.Node, in.SourceMark, in.TargetMark = tt.ours.Node, tt.ours, tt.theirs
			p, err := Decide(in)
			if err != nil {
				t.Fatalf("Decide: %v", err)
			}
			if got := p.Steps[0].Generation; got != tt.ours.Generation {
				t.Errorf("step of generation %d, want the source's %d", got, tt.ours.Generation)
			}
		})
	}
}
