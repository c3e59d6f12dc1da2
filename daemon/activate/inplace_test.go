package activate

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// itself is a disk whose replica can go live itself, unless something stands against it.
type itself struct {
	*disk
	against error
}

func (d itself) MayActivateInPlace(context.Context, dataset.Path, dataset.Snapshot) error {
	return d.call("may-go-live", func() error { return d.against })
}

func (d itself) ActivateInPlace(_ context.Context, _ dataset.Path, s dataset.Snapshot) (at fsdrivers.Activated, err error) {
	err = d.call("in-place "+string(s.ID), func() error {
		if d.mark.Base != s.ID || !d.mark.InPlace {
			return fmt.Errorf("%s is live itself before a mark that says so", s.ID)
		}
		d.set(s.ID, "")
		at = fsdrivers.Activated{Live: "/replica"}
		return nil
	})
	return at, err
}

// promoteItself asks for it in the first go only: what goes on goes by the mark.
func (d itself) promoteItself(ctx context.Context, id string, inPlace bool) (Facts, error) {
	s, _, err := Step(State{Node: "sin1"}, Restarted{Mark: d.mark, Points: true, Live: d.live != ""})
	if err != nil {
		return Facts{}, err
	}
	parts := d.parts()
	parts.InPlacer = d
	return Execute(ctx, Promotion{Dataset: "/data/db", State: s, ID: activation(id), InPlace: inPlace}, parts)
}

func TestInPlaceKilledAnywhereAndRepeated(t *testing.T) {
	for _, after := range []bool{false, true} {
		for at := range 10 {
			d := itself{disk: newDisk("a", "b")}
			d.killAt, d.after = at, after
			_, err := d.promoteItself(t.Context(), "first", true)
			if err == nil {
				if at != 6 {
					t.Errorf("a promotion in place has %d calls, want 6", at)
				}
				break
			}
			if !errors.Is(err, errKilled) {
				t.Fatalf("killed at call %d: %v", at, err)
			}
			begun := d.mark
			for range 2 {
				if _, err := d.promoteItself(t.Context(), "second", begun.IsZero()); err != nil {
					t.Fatalf("killed at call %d, after its effect %v, repeated: %v", at, after, err)
				}
			}
			if d.live != "b" || d.mark.Generation != 1 || !d.mark.InPlace || len(d.asides) != 0 {
				t.Errorf("killed at call %d, after its effect %v: live %q by %+v, want b itself", at, after, d.live, d.mark)
			}
			if !begun.IsZero() && !d.mark.Same(begun) {
				t.Errorf("activation %s was begun and %s finished", begun.ID, d.mark.ID)
			}
		}
	}
}

// What stands against it is found while nothing is written, and a promotion that went
// live as a copy is finished as one.
func TestInPlaceIsRefusedBeforeTheMark(t *testing.T) {
	d := itself{newDisk("a"), dataset.ErrDiverged}
	if _, err := d.promoteItself(t.Context(), "x", true); !errors.Is(err, dataset.ErrDiverged) || !d.mark.IsZero() || d.live != "" {
		t.Errorf("%v, mark %+v, live %q; want it refused and nothing done", err, d.mark, d.live)
	}
	s := State{Node: "sin1", Role: Standby}
	if _, err := Execute(t.Context(), Promotion{Dataset: "/data/db", State: s, ID: activation("x"), InPlace: true}, d.parts()); !errors.Is(err, dataset.ErrRefused) || !d.mark.IsZero() {
		t.Errorf("a file system that cannot: %v, mark %+v; want it refused", err, d.mark)
	}
	if _, err := d.promoteItself(t.Context(), "x", false); err != nil || d.mark.InPlace {
		t.Errorf("as a copy: %v, mark %+v", err, d.mark)
	}
	if facts, err := d.promoteItself(t.Context(), "y", true); err != nil || d.mark.InPlace || facts.Live != "/live" {
		t.Errorf("again: %v, %+v; want the copy that there is", err, facts)
	}
}

// Who wins a split brain by force goes on with what is live, and how it is live is
// known afterwards.
func TestAForcedPromotionOfWhatIsLiveItselfStaysInPlace(t *testing.T) {
	ours := Promote(dataset.Mark{}, "sin1", "b", activation("ours"))
	ours.InPlace = true
	theirs := Promote(dataset.Mark{}, "fra1", "", activation("theirs"))
	s := State{Role: Primary, Node: "sin1", Mark: ours, Rival: theirs, RivalPeer: "fra1"}
	next, effects, err := Step(s, Asked{Base: "b", ID: activation("x"), Force: true})
	if err != nil || !next.Mark.InPlace || next.Mark.Base != "b" || next.Mark.Generation != 2 || fmt.Sprint(effects) != "[write-mark]" {
		t.Errorf("%+v, %v, %v; want it in place, from the same point, and only its mark written", next.Mark, effects, err)
	}
}
