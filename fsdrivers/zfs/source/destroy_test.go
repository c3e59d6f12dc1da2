package source

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/prop"
)

func snap(name string, guid uint64) dataset.Snapshot {
	return dataset.Snapshot{Name: "antipode_" + name, ID: naming.IDOf(guid)}
}

// lookAtMarks is how all of tank/db is listed, and lookAgain what is about to go.
const (
	lookAtMarks = "list -Hp -d 1 -t snapshot,bookmark -o name,guid,createtxg -s createtxg tank/db"
	lookAgain   = "list -Hp -t snapshot -o name,guid,createtxg tank/db@"
)

func TestDestroyLooksAtTheIdentityFirst(t *testing.T) {
	there := rule{Args: lookAgain, Out: "tank/db@antipode_a\t10\t5\n"}
	marks := rule{Args: lookAtMarks, Out: "tank/db@antipode_a\t10\t5\ntank/db#antipode_a\t10\t5\n"}
	missing := func(args string) rule {
		return rule{Args: args, Code: 1, Err: "cannot open 'tank/db@antipode_a': dataset does not exist\n"}
	}
	busy := rule{Args: "destroy", Code: 1, Err: "cannot destroy snapshot tank/db@antipode_a: dataset is busy\n"}
	mark := snap("a", 10)
	mark.Bookmark = true
	other := snap("a", 11)
	other.Bookmark = true
	for name, c := range map[string]struct {
		snap  dataset.Snapshot
		rules []rule
		err   error
		want  string
	}{
		"there":                       {snap("a", 10), []rule{there, {Args: "holds"}, {Args: "destroy"}}, nil, "destroy tank/db@antipode_a"},
		"a bookmark":                  {mark, []rule{marks, {Args: "destroy"}}, nil, "destroy tank/db#antipode_a"},
		"a bookmark of another":       {other, []rule{marks}, nil, ""},
		"a bookmark of no dataset":    {mark, []rule{missing(lookAtMarks)}, nil, ""},
		"gone":                        {snap("a", 10), []rule{missing("holds"), missing(lookAgain)}, nil, ""},
		"made anew":                   {snap("a", 11), []rule{there, {Args: "holds"}}, dataset.ErrChanged, ""},
		"not ours":                    {dataset.Snapshot{Name: "daily", ID: naming.IDOf(10)}, []rule{there}, dataset.ErrRefused, ""},
		"held by us":                  {snap("a", 10), []rule{there, {Args: "holds", Out: "tank/db@antipode_a\torg.antipode:base.x\tnow\n"}}, dataset.ErrHeld, ""},
		"held by others":              {snap("a", 10), []rule{there, {Args: "holds", Out: "tank/db@antipode_a\tbackup\tnow\n"}}, dataset.ErrHeld, ""},
		"held since it was looked at": {snap("a", 10), []rule{there, {Args: "holds"}, busy}, dataset.ErrHeld, "destroy tank/db@antipode_a"},
		"not to be looked at":         {snap("a", 10), []rule{{Args: "holds"}, {Args: lookAgain, Code: 1, Err: "cannot open 'tank/db@antipode_a': pool I/O is currently suspended\n"}}, dataset.ErrStuck, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := script(t, c.rules...)
			err := s.source(nil).Destroy(t.Context(), "tank/db", c.snap)
			if !errors.Is(err, c.err) || c.err == nil && err != nil {
				t.Errorf("got %v, want %v", err, c.err)
			}
			if got := strings.Join(s.Ran("destroy"), ", "); got != c.want {
				t.Errorf("destroyed %q, want %q", got, c.want)
			}
		})
	}
}

// crowd is a thousand snapshots, as they are listed and as they are to go.
func crowd() (out string, list []dataset.Snapshot) {
	for i := range uint64(1000) {
		s := snap(fmt.Sprintf("db_20260101T%06dZ", i), 1000+i)
		list = append(list, s)
		out += fmt.Sprintf("tank/db@%s\t%d\t%d\n", s.Name, 1000+i, 5000+i)
	}
	return out, list
}

func TestAThousandSnapshotsAreAFewCommands(t *testing.T) {
	out, list := crowd()
	s := script(t, rule{Args: lookAgain, Out: out}, rule{Args: "holds"}, rule{Args: "destroy"})
	for i, err := range s.source(nil).DestroyAll(t.Context(), "tank/db", list) {
		if err != nil {
			t.Fatalf("%s: %v", list[i].Name, err)
		}
	}
	if n := len(s.Calls()); n > 3 {
		t.Errorf("it took %d processes, want at most 3", n)
	}
	var named []string
	for _, call := range s.Ran("destroy") {
		if len(call) > 64<<10+100 {
			t.Errorf("a command line of %d bytes", len(call))
		}
		named = append(named, strings.Split(strings.TrimPrefix(call, "destroy tank/db@"), ",")...)
	}
	if len(named) != len(list) || named[0] != list[0].Name || !slices.IsSorted(named) {
		t.Errorf("%d were named, want %d, oldest first", len(named), len(list))
	}
}

// TestEachOfManyIsAnsweredFor: zfs destroys all that a command names or none, so one
// that got a hold in the meantime must not keep the others.
func TestEachOfManyIsAnsweredFor(t *testing.T) {
	var out string
	var list []dataset.Snapshot
	for i, name := range []string{"a", "b", "c", "d", "e"} {
		list = append(list, snap(name, uint64(10+i)))
		out += fmt.Sprintf("tank/db@antipode_%s\t%d\t%d\n", name, 10+i, 10+i)
	}
	list[4].ID = naming.IDOf(99)
	list = append(list, snap("gone", 50))
	busy := rule{Code: 1, Err: "cannot destroy snapshot tank/db@antipode_c: dataset is busy\n"}
	rules := []rule{{Args: lookAgain, Out: out}, {Args: "holds", Out: "tank/db@antipode_b\torg.antipode:base.x\tnow\n"}}
	for _, args := range []string{"destroy tank/db@antipode_a,antipode_c,antipode_d", "destroy tank/db@antipode_c,antipode_d", "destroy tank/db@antipode_c"} {
		busy.Args = args
		rules = append(rules, busy)
	}
	s := script(t, append(rules, rule{Args: "destroy"})...)
	answers := s.source(nil).DestroyAll(t.Context(), "tank/db", list)
	for i, want := range []error{nil, dataset.ErrHeld, dataset.ErrHeld, nil, dataset.ErrChanged, nil} {
		if !errors.Is(answers[i], want) || want == nil && answers[i] != nil {
			t.Errorf("%s: got %v, want %v", list[i].Name, answers[i], want)
		}
	}
	if got := s.Ran("destroy"); !slices.Contains(got, "destroy tank/db@antipode_a") || !slices.Contains(got, "destroy tank/db@antipode_d") {
		t.Errorf("destroyed %q, want a and d among them", got)
	}
}

// TestWhatANameStandsForIsAskedBeforeEachCommand: the snapshots a and c are made anew by somebody
// while others are destroyed, a pin is taken off, or a command is tried again.
func TestWhatANameStandsForIsAskedBeforeEachCommand(t *testing.T) {
	pin := dataset.Pin{Why: "audit", At: theTime()}
	var list []dataset.Snapshot
	for i, name := range []string{"a", "b", "c", "d"} {
		list = append(list, snap(name, uint64(10+i)))
	}
	pinned := snap("a", 10)
	pinned.Pin = &pin
	old := []string{"tank/db@antipode_a\t10\t5\n", "tank/db@antipode_b\t11\t6\n", "tank/db@antipode_c\t12\t7\n", "tank/db@antipode_d\t13\t8\n"}
	anew := []string{"tank/db@antipode_a\t90\t95\n", old[1], "tank/db@antipode_c\t92\t97\n", old[3]}
	before, after := strings.Join(old, ""), strings.Join(anew, "")
	busy := rule{Args: "destroy", Times: 1, Code: 1, Err: "cannot destroy snapshot tank/db@antipode_b: dataset is busy\n"}
	tag := prop.PinTag(pin)
	for name, c := range map[string]struct {
		list    []dataset.Snapshot
		rules   []rule
		changed []string
		ran     []string // what changes something
	}{
		"before the first": {
			list,
			[]rule{{Args: lookAgain, Out: after}},
			[]string{"a", "c"},
			[]string{"destroy tank/db@antipode_b,antipode_d"},
		},
		"before the halves": {
			list,
			[]rule{{Args: lookAgain, Times: 1, Out: before}, {Args: lookAgain, Out: after}, busy},
			[]string{"a", "c"},
			[]string{"destroy tank/db@antipode_a,antipode_b,antipode_c,antipode_d", "destroy tank/db@antipode_b", "destroy tank/db@antipode_d"},
		},
		"before its pin is taken off": {
			[]dataset.Snapshot{pinned},
			[]rule{{Args: "holds", Out: "tank/db@antipode_a\t" + tag + "\tnow\n"}, {Args: lookAgain, Out: anew[0]}},
			[]string{"a"},
			nil,
		},
		"after its pin was taken off": {
			[]dataset.Snapshot{pinned},
			[]rule{{Args: "holds", Out: "tank/db@antipode_a\t" + tag + "\tnow\n"}, {Args: lookAgain, Times: 1, Out: old[0]}, {Args: lookAgain, Out: anew[0]}},
			[]string{"a"},
			[]string{"release " + tag + " tank/db@antipode_a"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := script(t, append(c.rules, rule{Args: "holds"}, rule{Args: "destroy"}, rule{Args: "release"})...)
			for i, err := range s.source(nil).DestroyAll(t.Context(), "tank/db", c.list) {
				want := slices.Contains(c.changed, strings.TrimPrefix(c.list[i].Name, "antipode_"))
				if errors.Is(err, dataset.ErrChanged) != want || !want && err != nil {
					t.Errorf("%s: got %v, want changed: %t", c.list[i].Name, err, want)
				}
			}
			ran := append(s.Ran("release"), s.Ran("destroy")...)
			if !slices.Equal(ran, c.ran) {
				t.Errorf("ran %q, want %q", ran, c.ran)
			}
		})
	}
}

func TestAnErrorOfThePoolLeavesTheRest(t *testing.T) {
	out, list := crowd()
	s := script(t, rule{Args: lookAgain, Out: out}, rule{Args: "holds"},
		rule{Args: "destroy", Code: 1, Err: "cannot destroy snapshots: pool I/O is currently suspended\n"})
	for _, err := range s.source(nil).DestroyAll(t.Context(), "tank/db", append(list, snap("gone", 5))[:1000]) {
		if !errors.Is(err, dataset.ErrStuck) {
			t.Fatalf("got %v, want stuck", err)
		}
	}
	if n := len(s.Ran("destroy")); n != 1 {
		t.Errorf("%d commands were tried on it, want 1", n)
	}
}

func TestAPinThatEndedGoesWithItsSnapshotAlone(t *testing.T) {
	pin := dataset.Pin{Why: "audit", At: theTime()}
	seen, unseen := snap("a", 10), snap("b", 11)
	seen.Pin = &pin
	s := script(t, rule{Args: lookAgain, Out: "tank/db@antipode_a\t10\t5\ntank/db@antipode_b\t11\t6\n"},
		rule{Args: "holds", Out: fmt.Sprintf("tank/db@antipode_a\t%s\tnow\ntank/db@antipode_b\t%s\tnow\n", prop.PinTag(pin), prop.PinTag(pin))},
		rule{Args: "release"}, rule{Args: "destroy"})
	answers := s.source(nil).DestroyAll(t.Context(), "tank/db", []dataset.Snapshot{seen, unseen})
	if answers[0] != nil || !errors.Is(answers[1], dataset.ErrHeld) {
		t.Errorf("got %v, want the one gone whose pin was seen", answers)
	}
	if want := "release " + prop.PinTag(pin) + " tank/db@antipode_a"; !slices.Contains(s.Calls(), want) || len(s.Ran("destroy")) != 1 {
		t.Errorf("got %q, want %q and one destroyed", s.Calls(), want)
	}
}

// TestABookmarkIsMadeBeforeAnythingIsLetGo: the other way round a crash could leave
// no base.
func TestABookmarkIsMadeBeforeAnythingIsLetGo(t *testing.T) {
	look := rule{Args: "list -Hp -t snapshot", Out: "tank/db@antipode_a\t10\t5\n"}
	there := rule{Args: "bookmark", Code: 1, Err: "cannot create bookmark 'tank/db#antipode_a': bookmark exists\n"}
	release := rule{Args: "release org.antipode:base.db.sin1 tank/db@antipode_a", Code: 1, Err: "cannot release hold from snapshot 'tank/db@antipode_a': no such tag on this dataset\n"}
	for name, c := range map[string]struct {
		rules []rule
		err   error
		last  string
	}{
		"made":         {[]rule{look, {Args: "bookmark tank/db@antipode_a tank/db#antipode_a"}, release}, nil, release.Args},
		"made before":  {[]rule{look, there, {Args: "get", Out: props("tank/db#antipode_a", "guid", "10")}, release}, nil, release.Args},
		"of another":   {[]rule{look, there, {Args: "get", Out: props("tank/db#antipode_a", "guid", "11")}}, dataset.ErrExists, ""},
		"an old pool":  {[]rule{look, {Args: "bookmark", Code: 1, Err: "cannot create bookmark 'tank/db#antipode_a': bookmark feature not enabled\n"}}, dataset.ErrRefused, ""},
		"made anew":    {[]rule{{Args: "list -Hp -t snapshot", Out: "tank/db@antipode_a\t99\t5\n"}}, dataset.ErrChanged, ""},
		"gone already": {[]rule{{Args: "list", Code: 1, Err: "cannot open 'tank/db@antipode_a': dataset does not exist\n"}}, dataset.ErrNotFound, ""},
	} {
		s := script(t, c.rules...)
		err := s.source(nil).Bookmark(t.Context(), "tank/db", snap("a", 10), "base.db.sin1")
		if !errors.Is(err, c.err) || c.err == nil && err != nil {
			t.Errorf("%s: got %v, want %v", name, err, c.err)
		}
		if calls := s.Calls(); c.last != "" && calls[len(calls)-1] != c.last || c.last == "" && strings.Contains(strings.Join(calls, "\n"), "release") {
			t.Errorf("%s: got %q, want %q last", name, calls, c.last)
		}
	}
}

func TestWhatGoesIsAskedOfZFS(t *testing.T) {
	s := script(t, rule{Args: "destroy -n -v -p tank/db@antipode_a,antipode_b", Out: "destroy\ttank/db@antipode_a\ndestroy\ttank/db@antipode_b\nreclaim\t4096\n"},
		rule{Args: "destroy -n", Code: 1, Err: "could not find any snapshots to destroy; check snapshot names.\n"})
	mark := snap("m", 3)
	mark.Bookmark = true
	src := s.source(nil)
	if n, err := src.Frees(t.Context(), "tank/db", []dataset.Snapshot{snap("a", 1), snap("b", 2), mark}); n != 4096 || err != nil {
		t.Errorf("got %d, %v, want 4096", n, err)
	}
	if n, err := src.Frees(t.Context(), "tank/db", []dataset.Snapshot{snap("gone", 1)}); n != 0 || err != nil {
		t.Errorf("of what is gone: got %d, %v, want 0", n, err)
	}
	s.Answer(rule{Args: "destroy -n", Out: "reclaim\tmuch\n"})
	if _, err := src.Frees(t.Context(), "tank/db", []dataset.Snapshot{snap("a", 1)}); err == nil {
		t.Error("a size that is no number was read")
	}
}
