package activate

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"antipode/fsdrivers/dataset"
)

// line is the mark after the activations in text, oldest first: "fra1 sin1" is
// generation 2, of sin1, after one of fra1. "sin1/x" is another activation of
// the same node in the same generation than "sin1".
func line(text string) dataset.Mark {
	var m dataset.Mark
	for word := range strings.FieldsSeq(text) {
		node, _, _ := strings.Cut(word, "/")
		m = Promote(m, node, "b", activation(fmt.Sprintf("%d %s", m.Generation+1, word)))
	}
	return m
}

// activation makes an id from text that is the same each time.
func activation(text string) dataset.ActivationID {
	return dataset.ActivationID(fmt.Sprintf("%032x", text)[:32])
}

func TestAccept(t *testing.T) {
	many := func(n int) string { return strings.Repeat("n ", n) }
	cut := line("fra1 sin1 fra1")
	cut.History = cut.History[:1]
	gap := line("fra1 sin1 fra1 sin1")
	gap.History = []dataset.Activation{gap.History[0], gap.History[2]}
	tests := []struct {
		name         string
		ours, theirs dataset.Mark
		may          bool
		want         Verdict
		err          error // a value of the type that is wanted
		says         string
	}{
		{name: "nobody was ever promoted", want: Agree},
		{name: "the same activation", ours: line("fra1 sin1"), theirs: line("fra1 sin1"), want: Agree},
		{name: "the first promotion ever", theirs: line("sin1"), may: true, want: StepDown},
		{name: "promoted twice while we were away", theirs: line("sin1 sin1"), may: true, want: StepDown},
		{name: "one above ours", ours: line("sin1"), theirs: line("sin1 fra1"), may: true, want: StepDown},
		{name: "as far above as may be", ours: line("sin1"), theirs: line("sin1 " + many(MaxRise)), may: true, want: StepDown},
		{name: "from zero as far as may be", theirs: line(many(MaxRise)), may: true, want: StepDown},
		{name: "far along and bounded in what it remembers", ours: line(many(100)), theirs: line(many(101)), may: true, want: StepDown},
		{name: "they know nothing", ours: line("sin1 fra1"), want: Behind},
		{name: "they know nothing of a long line", ours: line(many(100)), want: Behind},
		{name: "they are one behind", ours: line("sin1 fra1"), theirs: line("sin1"), want: Behind},
		{name: "one generation, two activations", ours: line("fra1"), theirs: line("sin1"), may: true, err: &SplitBrain{}, says: "split brain: generation 1"},
		{name: "the same node twice", ours: line("sin1"), theirs: line("sin1/x"), may: true, err: &SplitBrain{}},
		{name: "split brain does not ask who may promote", ours: line("fra1"), theirs: line("sin1"), err: &SplitBrain{}},
		{name: "may not promote", theirs: line("sin1"), err: &BadMark{}, says: "may not promote"},
		{name: "jumps", ours: line("sin1"), theirs: line("sin1 " + many(MaxRise+1)), may: true, err: &BadMark{}, says: "rises by more than 16"},
		{name: "jumps from zero", theirs: line(many(MaxRise + 1)), may: true, err: &BadMark{}, says: "rises by more than 16"},
		{name: "another line", ours: line("fra1"), theirs: line("sin1 sin1"), may: true, err: &BadMark{}, says: "does not chain"},
		{name: "does not remember ours", ours: line("fra1"), theirs: cut, may: true, err: &BadMark{}, says: "does not chain"},
		{name: "does not remember the first, and we know of none", theirs: cut, may: true, err: &BadMark{}, says: "does not chain"},
		{name: "leaves one out", ours: line("fra1"), theirs: gap, may: true, err: &BadMark{}, says: "does not chain"},
		{name: "older and of another line", ours: line("fra1 fra1"), theirs: line("sin1"), may: true, err: &BadMark{}, says: "promoted apart"},
		{name: "malformed", theirs: dataset.Mark{Activation: dataset.Activation{Generation: 1, ID: "x"}}, may: true, err: &BadMark{}, says: "malformed"},
		{name: "generation 0 with an id", theirs: dataset.Mark{Activation: dataset.Activation{ID: activation("x")}}, may: true, err: &BadMark{}, says: "malformed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Accept(tt.ours, tt.theirs, tt.may)
			if got != tt.want {
				t.Errorf("verdict %q, want %q", got, tt.want)
			}
			if reflect.TypeOf(err) != reflect.TypeOf(tt.err) {
				t.Fatalf("error %T (%v), want %T", err, err, tt.err)
			}
			if is := new(BadMark); errors.As(err, &is) && !errors.Is(err, dataset.ErrRefused) {
				t.Errorf("%v is not ErrRefused", err)
			}
			if err != nil && (!strings.Contains(err.Error(), tt.says) || !strings.Contains(err.Error(), "next: ")) {
				t.Errorf("%q does not say %q and what next", err, tt.says)
			}
		})
	}
}

func TestPromoteRemembersABoundedPast(t *testing.T) {
	var m dataset.Mark
	for i := range 3 * dataset.MaxMarkHistory {
		before := m
		m = Promote(m, "sin1", "b", activation(fmt.Sprint(i)))
		if err := m.Validate(); err != nil {
			t.Fatalf("after %d promotions: %v", i+1, err)
		}
		if m.Generation != before.Generation+1 || !m.Descends(before) {
			t.Fatalf("generation %d does not follow on %d", m.Generation, before.Generation)
		}
		if got, want := len(m.History), min(i, dataset.MaxMarkHistory); got != want {
			t.Fatalf("after %d promotions %d are remembered, want %d", i+1, got, want)
		}
	}
}

func TestPromoteLeavesTheOldMarkAlone(t *testing.T) {
	old := line("fra1 sin1")
	Promote(old, "x", "b", activation("x"))
	if want := line("fra1 sin1"); !reflect.DeepEqual(old, want) {
		t.Errorf("the old mark became %+v, want %+v", old, want)
	}
}

func TestAPromotedReplicaIsNeverReceivedInto(t *testing.T) {
	tests := []struct {
		name string
		mark dataset.Mark
		want bool
	}{
		{"never promoted", line(""), true},
		{"promoted here", line("sin1"), false},
		{"promoted elsewhere", line("fra1"), true},
		{"promoted here, then elsewhere", line("sin1 fra1"), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := MayReceive(tt.mark, "sin1")
			if (err == nil) != tt.want {
				t.Errorf("MayReceive: %v, want allowed %v", err, tt.want)
			}
			if err != nil && !errors.Is(err, dataset.ErrRefused) {
				t.Errorf("%v is not ErrRefused", err)
			}
		})
	}
	// An unnamed node must not be taken for the unnamed primary of generation 0.
	if err := MayReceive(dataset.Mark{}, ""); err != nil {
		t.Errorf("a replica that was never promoted: %v, want allowed", err)
	}
}

func TestTheFirstMarkIsLearntWhole(t *testing.T) {
	often := dataset.Mark{}
	for range dataset.MaxMarkHistory + 9 {
		often = Promote(often, "fra1", "", dataset.NewActivationID())
	}
	short := often
	short.History = short.History[:len(short.History)-1]
	gap := Promote(dataset.Mark{}, "fra1", "", dataset.NewActivationID())
	gap.Generation, gap.History = 3, []dataset.Activation{gap.Activation}
	far := often
	far.Generation = maxFirst + 1
	far.History = nil
	for g := uint64(maxFirst); len(far.History) < dataset.MaxMarkHistory; g-- {
		far.History = append(far.History, dataset.Activation{Generation: g, ID: dataset.NewActivationID(), Node: "fra1"})
	}
	for name, c := range map[string]struct {
		mark dataset.Mark
		node string
		want error
	}{
		"one promotion":          {Promote(dataset.Mark{}, "fra1", "", dataset.NewActivationID()), "sin1", nil},
		"more than it remembers": {often, "sin1", nil},
		"remembers fewer":        {short, "sin1", dataset.ErrRefused},
		"a gap":                  {gap, "sin1", dataset.ErrRefused},
		"nothing goes so far":    {far, "sin1", dataset.ErrRefused},
		"names this node":        {often, "fra1", dataset.ErrDiverged},
		"malformed":              {dataset.Mark{Activation: dataset.Activation{Generation: 1, ID: "x"}}, "sin1", dataset.ErrRefused},
	} {
		if err := Learn(c.mark, c.node); !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}
