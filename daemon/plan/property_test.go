package plan

import (
	"fmt"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"antipode/daemon/policy"
	"antipode/fsdrivers/dataset"
)

// drawInput makes both sides from one pool of identities, so that common,
// missing and foreign points all occur, in any order, with or without an
// unfinished receive. Everything but the identity is drawn anew on each side.
func drawInput(t *rapid.T) Input {
	in := Input{
		Job: "db", Dataset: db,
		Source:  drawSide(t, "source"),
		Initial: rapid.SampledFrom([]policy.Initial{policy.InitialLatest, policy.InitialAll}).Draw(t, "initial"),
	}
	in.NewestOnly = rapid.Bool().Draw(t, "newest only")
	if rapid.Bool().Draw(t, "prefix") {
		in.Target = drawPrefix(t, in.Source)
	} else {
		in.Target = drawSide(t, "target")
	}
	if len(in.Target) > 0 {
		in.TargetID = db.ID
	}
	if rapid.Bool().Draw(t, "begun") {
		ends := append(drawSide(t, "ends"), dataset.Snapshot{})
		from, to := rapid.SampledFrom(ends).Draw(t, "from"), rapid.SampledFrom(ends).Draw(t, "to")
		in.Checkpoint = checkpoint(string(from.ID), string(to.ID))
	}
	return in
}

func drawSide(t *rapid.T, label string) []dataset.Snapshot {
	ids := rapid.SliceOfNDistinct(rapid.IntRange(1, 8), 0, 6, rapid.ID[int]).Draw(t, label)
	var out []dataset.Snapshot
	for _, id := range ids {
		out = append(out, dataset.Snapshot{
			Name:  rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "name"),
			ID:    dataset.ID(fmt.Sprint(id)),
			Order: rapid.Uint64Range(1, 20).Draw(t, "order"),
			// Only a source has any; on a target it means nothing.
			Bookmark: rapid.IntRange(0, 4).Draw(t, "bookmark") == 0,
		})
	}
	return out
}

// drawPrefix is an honest target: some of what the source had, received in order.
func drawPrefix(t *rapid.T, source []dataset.Snapshot) []dataset.Snapshot {
	ordered := sorted(source, new(index))
	var out []dataset.Snapshot
	for i, s := range ordered[:rapid.IntRange(0, len(ordered)).Draw(t, "received")] {
		if rapid.Bool().Draw(t, "kept") {
			out = append(out, dataset.Snapshot{Name: "r", ID: s.ID, Order: uint64(100 + i)})
		}
	}
	return out
}

// apply runs the plan on a model of a target that knows only identities, and
// refuses what a real one would.
func apply(t *rapid.T, in Input, p Plan) []dataset.Snapshot {
	target := sorted(in.Target, new(index))
	order := uint64(1000)
	for _, s := range p.Steps {
		newest := dataset.Snapshot{}
		if len(target) > 0 {
			newest = target[len(target)-1]
		}
		if s.From.ID != newest.ID {
			t.Fatalf("step from %q to %q, but the target's newest point is %q", s.From.ID, s.To.ID, newest.ID)
		}
		order++
		target = append(target, dataset.Snapshot{ID: s.To.ID, Name: s.To.Name, Order: order})
	}
	return target
}

func TestApplyingThePlanReachesTheSourcesNewest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		p, err := Decide(in)
		if err != nil {
			return
		}
		in.Target, in.Checkpoint, in.TargetID = apply(t, in, p), dataset.Checkpoint{}, db.ID
		if src := sorted(in.Source, new(index)); len(src) > 0 && !src[len(src)-1].Bookmark {
			newest, found := src[len(src)-1].ID, false
			for _, s := range in.Target {
				found = found || s.ID == newest
			}
			if !found {
				t.Fatalf("after %q the target has %v, and not the source's newest, %s", path(p), in.Target, newest)
			}
		}
		again, err := Decide(in)
		if err != nil || !again.IsEmpty() {
			t.Fatalf("planning the result of %q: %q, %v; want nothing to do", path(p), path(again), err)
		}
	})
}

func TestABookmarkIsABaseAndNothingElse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		p, err := Decide(in)
		if err != nil {
			return
		}
		for _, s := range p.Steps {
			if s.To.Bookmark {
				t.Fatalf("%q sends %s, of which only a bookmark is left", path(p), s.To.ID)
			}
			if s.IsFull() != s.From.ID.IsZero() {
				t.Fatalf("step %+v", s)
			}
		}
	})
}

func TestNewestOnlyIsOneStep(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		in.NewestOnly = true
		p, err := Decide(in)
		if err != nil || p.Base.ID.IsZero() {
			return
		}
		most := 1
		if !p.Resume.IsZero() {
			most = 2 // what was begun, and the newest
		}
		if len(p.Steps) > most {
			t.Fatalf("%q has %d steps, want at most %d", path(p), len(p.Steps), most)
		}
	})
}

func TestTheBaseIsOnBothSides(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		p, err := Decide(in)
		if err != nil || p.Base.ID.IsZero() {
			if err == nil && len(sorted(in.Target, new(index))) > 0 {
				t.Fatalf("a full send is planned onto %v", in.Target)
			}
			return
		}
		for side, points := range map[string][]dataset.Snapshot{"source": in.Source, "target": in.Target} {
			if !has(points, p.Base.ID) {
				t.Fatalf("base %s is not on the %s, which has %v", p.Base.ID, side, points)
			}
		}
	})
}

func has(points []dataset.Snapshot, id dataset.ID) bool {
	for _, s := range points {
		if s.ID == id {
			return true
		}
	}
	return false
}

func TestInputOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		want, wantErr := Decide(in)
		in.Source = rapid.Permutation(in.Source).Draw(t, "source again")
		in.Target = rapid.Permutation(in.Target).Draw(t, "target again")
		got, err := Decide(in)
		if !reflect.DeepEqual(got, want) || fmt.Sprint(err) != fmt.Sprint(wantErr) {
			t.Fatalf("shuffled: %+v, %v; want %+v, %v", got, err, want, wantErr)
		}
	})
}

func TestDecideLeavesItsInputAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		source, target := append([]dataset.Snapshot{}, in.Source...), append([]dataset.Snapshot{}, in.Target...)
		_, _ = Decide(in)
		if !reflect.DeepEqual(source, append([]dataset.Snapshot{}, in.Source...)) ||
			!reflect.DeepEqual(target, append([]dataset.Snapshot{}, in.Target...)) {
			t.Fatal("the caller's lists were changed")
		}
	})
}

func TestAnUnfinishedStepIsEitherResumedOrDropped(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		p, err := Decide(in)
		if err != nil {
			return
		}
		resumed := !p.Resume.IsZero()
		switch {
		case in.Checkpoint.IsZero() && (resumed || p.Dropped != nil):
			t.Fatalf("no checkpoint, and the plan says %+v", p)
		case !in.Checkpoint.IsZero() && resumed == (p.Dropped != nil):
			t.Fatalf("checkpoint %+v is neither or both: %+v", in.Checkpoint, p)
		case resumed && p.Steps[0].ID() != in.Checkpoint.Step:
			t.Fatalf("resumes %s with the step %s", in.Checkpoint.Step, p.Steps[0].ID())
		}
	})
}

// The same Decider serves ten thousand datasets: what it saw before must not show.
func TestADeciderForgetsTheDatasetBefore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d Decider
		for range rapid.IntRange(1, 4).Draw(t, "datasets") {
			in := drawInput(t)
			if rapid.Bool().Draw(t, "twice") && len(in.Source) > 0 {
				in.Source = append(in.Source, in.Source[0])
			}
			want, wantErr := Decide(in)
			got, err := d.Decide(in)
			if !reflect.DeepEqual(got, want) || !reflect.DeepEqual(err, wantErr) {
				t.Fatalf("got %+v, %v after others, want %+v, %v", got, err, want, wantErr)
			}
		}
	})
}
