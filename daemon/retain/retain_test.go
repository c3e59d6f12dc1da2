package retain_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/ledger"
	"antipode/daemon/policy"
	"antipode/daemon/prune"
	"antipode/daemon/retain"
	"antipode/fsdrivers/dataset"
)

// world is a file system, and what an operator hears of its retention.
type world struct {
	gone, told []string
}

func (w *world) Destroy(_ context.Context, d dataset.Path, s dataset.Snapshot) error {
	w.gone = append(w.gone, string(d)+"@"+s.Name)
	return nil
}

func (w *world) Alarm(kind, object, _ string) { w.told = append(w.told, kind+" "+object) }
func (w *world) Settle(kind, object string)   { w.told = append(w.told, "settled "+kind+" "+object) }

var errUnread = errors.New("cannot be read")

// retention has two datasets of n snapshots each, of which all but two go, and one that
// cannot be read.
func (w *world) retention(n int, bounds policy.Retention) *retain.Retention {
	return &retain.Retention{
		Side: ledger.Target, Name: "fra1", Room: "zfs", Bounds: bounds, Paths: []dataset.Path{"/a", "/bad", "/b"}, By: w, Alarm: w,
		Remember: func(dataset.Path, []prune.Verdict) {},
		Judge: func(_ context.Context, path dataset.Path) ([]prune.Verdict, error) {
			if path == "/bad" {
				return nil, errUnread
			}
			var all []prune.Verdict
			for i := range n {
				v := prune.Verdict{Snapshot: dataset.Snapshot{Name: fmt.Sprint(i), ID: dataset.ID(fmt.Sprint(i))}, Destroy: i < n-2, Reasons: []prune.Reason{{Kind: prune.Expired}}}
				switch {
				case path == "/b" && i == 0:
					v.Destroy, v.Reasons = false, []prune.Reason{{Kind: prune.Pinned}}
				case !v.Destroy:
					v.Reasons = []prune.Reason{{Kind: prune.Newest}}
				}
				all = append(all, v)
			}
			return all, nil
		},
	}
}

func TestADatasetThatCannotBeReadHoldsBackNoOther(t *testing.T) {
	w := &world{}
	n, _, err := w.retention(4, policy.Retention{}).Run(t.Context(), false)
	if want := []string{"/a@0", "/a@1", "/b@1"}; !errors.Is(err, errUnread) || !strings.Contains(err.Error(), "/bad") || n != 3 || !slices.Equal(w.gone, want) {
		t.Errorf("destroyed %d, %v, %v; want %v, and what cannot be read", n, w.gone, err, want)
	}
}

// What a dataset that was not seen keeps may be any snapshot, and those of one instant
// stay together.
func TestInGroupsADatasetThatWasNotSeenHoldsBackAll(t *testing.T) {
	for name, c := range map[string]struct {
		paths  []dataset.Path
		unseen error
		want   []string
	}{
		"all seen":        {[]dataset.Path{"/a", "/b"}, nil, []string{"/a@1", "/b@1"}},
		"one unreadable":  {[]dataset.Path{"/a", "/b", "/bad"}, nil, nil},
		"one not found":   {[]dataset.Path{"/a", "/b"}, errUnread, nil},
		"the only is bad": {[]dataset.Path{"/bad"}, nil, nil},
	} {
		w := &world{}
		r := w.retention(4, policy.Retention{Groups: true})
		r.Paths, r.Unseen = c.paths, c.unseen
		shown, _, err := r.Preview(t.Context())
		says := strings.Contains(fmt.Sprint(err), "destroys nothing, since groups is set")
		for _, p := range shown {
			if doomed := prune.Doomed(p.Verdicts); (len(doomed) > 0) != (c.want != nil) {
				t.Errorf("%s: a preview dooms %v", name, doomed)
			}
		}
		if want := c.want == nil && len(shown) > 0; says != want {
			t.Errorf("%s: a preview says %v; want %t that nothing is destroyed", name, err, want)
		}
		if n, _, _ := r.Run(t.Context(), false); n != len(c.want) || !slices.Equal(w.gone, c.want) {
			t.Errorf("%s: destroyed %v, want %v", name, w.gone, c.want)
		}
	}
}

func TestABrakeHoldsUntilItIsReleased(t *testing.T) {
	w := &world{}
	r := w.retention(prune.BrakeFloor, policy.Retention{Brake: 50})
	if _, brake, _ := r.Preview(t.Context()); brake == "" || len(w.told) != 0 {
		t.Errorf("a preview says %q and told %v, want the brake and nobody told", brake, w.told)
	}
	n, _, err := r.Run(t.Context(), false)
	stop, braked := errors.AsType[*retain.BrakeError](err)
	if n != 0 || !braked || len(w.gone) != 0 || !strings.Contains(stop.Next(), "prune --from fra1 --release-brake") {
		t.Errorf("destroyed %d, %v; want the brake and how to release it", n, err)
	}
	n, _, err = r.Run(t.Context(), true)
	if _, braked := errors.AsType[*retain.BrakeError](err); braked || n != 2*(prune.BrakeFloor-2)-1 {
		t.Errorf("released: destroyed %d, %v", n, err)
	}
	told := slices.DeleteFunc(w.told, func(s string) bool { return !strings.Contains(s, "brake") })
	if want := []string{"brake accept from fra1 (zfs)", "settled brake accept from fra1 (zfs)"}; !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
}

// A plan is followed as far as nothing needs what it names, and only where the side
// has the dataset.
func TestAPlanIsFollowedAsFarAsNothingNeedsWhatItNames(t *testing.T) {
	w := &world{}
	r := w.retention(4, policy.Retention{})
	plan := control.PrunePreview[prune.Verdict]{Dataset: "/b"}
	for _, name := range []string{"0", "1", "3", "other"} {
		plan.Verdicts = append(plan.Verdicts, prune.Verdict{Snapshot: dataset.Snapshot{Name: name, ID: dataset.ID(name)}, Destroy: true, Reasons: []prune.Reason{{Kind: prune.Expired}}})
	}
	follow := func(p control.PrunePreview[prune.Verdict]) (int, []control.Error, error) {
		return r.Follow(t.Context(), []control.PrunePreview[prune.Verdict]{p}, false)
	}
	n, left, err := follow(plan)
	if err != nil || n != 1 || !slices.Equal(w.gone, []string{"/b@1"}) || len(left) != 2 {
		t.Errorf("destroyed %v, left %v, %v; want /b@1, and the pinned and the newest left", w.gone, left, err)
	}
	plan.Dataset = "/c"
	if n, _, err := follow(plan); err == nil || n != 0 {
		t.Errorf("of another dataset: %d, %v", n, err)
	}
}

// A plan destroys no more than the brake lets a run destroy, unless it is released with
// it; one that is short is followed although a run would be stopped.
func TestTheBrakeHoldsForAPlanToo(t *testing.T) {
	w := &world{}
	r := w.retention(prune.BrakeFloor, policy.Retention{Brake: 50})
	plan, _, _ := r.Preview(t.Context())
	n, _, err := r.Follow(t.Context(), plan, false)
	stop, braked := errors.AsType[*retain.BrakeError](err)
	if n != 0 || !braked || len(w.gone) != 0 || !strings.Contains(stop.Next(), "prune --plan FILE --release-brake") {
		t.Errorf("destroyed %d, %v; want the brake and how to release it", n, err)
	}
	short := []control.PrunePreview[prune.Verdict]{{Dataset: "/a", Verdicts: plan[0].Verdicts[:3]}}
	if n, _, err = r.Follow(t.Context(), short, false); n != 3 || err != nil {
		t.Errorf("a short plan: destroyed %d, %v; want 3", n, err)
	}
	if n, _, err = r.Follow(t.Context(), plan, true); n != 2*(prune.BrakeFloor-2)-1 || err != nil {
		t.Errorf("released: destroyed %d, %v", n, err)
	}
	if len(w.told) != 0 {
		t.Errorf("told %v, want that a plan neither raises nor settles the alarm of runs", w.told)
	}
}

func (w *world) frozen(n int, at time.Time) *retain.Retention {
	r := w.retention(0, policy.Retention{})
	r.Side, r.Name, r.Room, r.Paths = ledger.Source, "db", "", nil
	for i := range n {
		r.Paths = append(r.Paths, dataset.Path(fmt.Sprint("/", i)))
	}
	r.Judge = func(context.Context, dataset.Path) ([]prune.Verdict, error) {
		return []prune.Verdict{{Reasons: []prune.Reason{{Kind: prune.Frozen, Ref: "the clock", At: at}}}}, nil
	}
	return r
}

func TestARetentionThatIsFrozenIsToldUntilItGoesOn(t *testing.T) {
	at := time.Date(2027, 5, 4, 12, 0, 0, 0, time.UTC)
	w := &world{}
	for name, c := range map[string]struct {
		r    *retain.Retention
		says []string
	}{
		"one dataset":      {w.frozen(1, at), []string{"job db: retention destroys nothing of /0: the clock", "by itself about 2027-05-04 12:00 UTC"}},
		"three":            {w.frozen(3, at), []string{"nothing of /0 and of 2 datasets more: the clock"}},
		"not of the clock": {w.frozen(1, time.Time{}), []string{"look with `antipode prune db --dry-run`"}},
	} {
		_, frozen, err := c.r.Run(t.Context(), false)
		told, is := errors.AsType[*retain.FrozenError](frozen)
		for _, part := range c.says {
			if !is || err != nil || !strings.Contains(told.Error()+" "+told.Next(), part) {
				t.Errorf("%s: %v, %v; want %q", name, frozen, err, part)
			}
		}
	}
	w.told = nil
	_, _, _ = w.frozen(1, at).Run(t.Context(), false)
	if _, frozen, _ := w.frozen(0, at).Run(t.Context(), false); frozen != nil {
		t.Errorf("%v, want nothing frozen any more", frozen)
	}
	if want := []string{"retention-frozen job db", "settled brake job db", "settled retention-frozen job db", "settled brake job db"}; !slices.Equal(w.told, want) {
		t.Errorf("told %v, want %v", w.told, want)
	}
}
