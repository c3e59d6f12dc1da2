package source

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/naming"
)

// quietSource is a source of a and b below tank whose lists are known to be right, and
// a clock.
func quietSource(t *testing.T, rules ...rule) (*scripted, *Source) {
	t.Helper()
	facts := props("tank", "guid", "1", "tank/a", "guid", "2", "tank/a", "snapshots_changed", "1767225600", "tank/a", "written", "0",
		"tank/b", "guid", "3", "tank/b", "snapshots_changed", "1767225600", "tank/b", "written", "0")
	s := script(t, append(rules,
		rule{Args: "get -Hp -o name,property,source,value -t filesystem,volume", Out: facts},
		rule{Args: "get -Hp -o name,property,source,value creation", Out: props("tank/a@antipode_x", "creation", "5", "tank/b@antipode_y", "creation", "6",
			"tank/a@antipode_x", "userrefs", "0", "tank/b@antipode_y", "userrefs", "0")},
		rule{Args: "list -Hp -d 1 -t snapshot,bookmark -o name,guid,createtxg -s createtxg tank/a", Out: "tank/a@antipode_x\t10\t100\n"},
		rule{Args: "list -Hp -d 1 -t snapshot,bookmark -o name,guid,createtxg -s createtxg tank/b", Out: "tank/b@antipode_y\t11\t101\ntank/b@daily\t12\t102\n"},
		rule{Args: "list -Hp -d 1", Out: ""},
		rule{Args: "holds"}, rule{Args: "zpool sync"})...)
	clock := time.Unix(1767225600, 0).Add(time.Hour)
	src := s.source(func() time.Time { clock = clock.Add(time.Millisecond); return clock })
	if _, err := src.Find(t.Context(), "tank", true); err != nil {
		t.Fatal(err)
	}
	return s, src
}

func TestVersionsOfUnchangedDatasetsCostOneLook(t *testing.T) {
	s, src := quietSource(t)
	ask := func() []string {
		t.Helper()
		v, err := src.Versions(t.Context(), []dataset.Path{"tank/a", "tank/b", "tank/none", "/data"})
		if err != nil || len(v) != 4 || v[0] == "" || v[1] == "" || v[0] == v[1] || v[2] != "" || v[3] != "" {
			t.Fatalf("got %q, %v; want two versions, and none of what is not there", v, err)
		}
		return v
	}
	first := ask()
	before := len(s.Calls())
	if again := ask(); !slices.Equal(again, first) || len(s.Calls()) != before+1 {
		t.Errorf("%q after %q took %d processes, want the same for one", again, first, len(s.Calls())-before)
	}
	src.changed("tank/a", false) // as a hold does
	s.Answer(append([]rule{{Args: "list -Hp -d 1 -t snapshot,bookmark -o name,guid,createtxg -s createtxg tank/a", Out: ""}}, s.Rules...)...)
	if changed := ask(); changed[0] == first[0] || changed[1] != first[1] {
		t.Errorf("%q after %q: want another of the first alone", changed, first)
	}
}

func TestVersionsOfASuspendedPoolAreAnError(t *testing.T) {
	s, src := quietSource(t)
	s.Answer(rule{Args: "get", Code: 1, Err: "cannot open 'tank': pool I/O is currently suspended\n"})
	if v, err := src.Versions(t.Context(), []dataset.Path{"tank/a"}); !errors.Is(err, dataset.ErrStuck) {
		t.Errorf("got %q, %v, want stuck", v, err)
	}
}

// TestVersionsOnAPoolBesideASuspendedOne: neither is its own error hidden nor another's told.
func TestVersionsOnAPoolBesideASuspendedOne(t *testing.T) {
	s, src := quietSource(t)
	s.Answer(append([]rule{{
		Args: "get -Hp -o name,property,source,value -t filesystem,volume " + datasetProps + " broken/x",
		Code: 1, Err: "cannot open 'broken/x': pool I/O is currently suspended\n",
	}}, s.Rules...)...)
	v, err := src.Versions(t.Context(), []dataset.Path{"broken/x", "tank/a", "broken/y"})
	if err != nil || len(v) != 3 || v[0] != "" || v[1] == "" || v[2] != "" {
		t.Errorf("got %q, %v, want that of tank/a alone", v, err)
	}
	if _, err := src.Versions(t.Context(), []dataset.Path{"broken/x"}); !errors.Is(err, dataset.ErrStuck) || !strings.Contains(err.Error(), "broken/x") {
		t.Errorf("got %v, want stuck, on broken/x", err)
	}
	for _, call := range s.Calls() {
		if strings.Contains(call, "broken") && strings.Contains(call, "tank") {
			t.Errorf("%q is about two pools", call)
		}
	}
}

func TestManyAreComparedWithAFewProcesses(t *testing.T) {
	x, y := dataset.Snapshot{Name: "antipode_x", ID: naming.IDOf(10)}, dataset.Snapshot{Name: "antipode_y", ID: naming.IDOf(11)}
	// The script counts what Find has asked, too.
	written := func(of string, times int) rule {
		return rule{Args: "get -Hp -o name,property,source,value -t filesystem,volume -r", Times: times, Out: props("tank/a", "guid", "2",
			"tank/a", "snapshots_changed", "1767225600", "tank/a", "written", of, "tank/b", "guid", "3", "tank/b", "written", "4096")}
	}
	denied := rule{Args: "zpool sync", Code: 1, Err: "cannot sync pool 'tank': permission denied\n"}
	for name, c := range map[string]struct {
		rules []rule
		ds    []dataset.Path
		snaps []dataset.Snapshot
		want  []bool
		cost  int // processes, once the lists are known
		err   error
	}{
		"unchanged":                  {nil, []dataset.Path{"tank/a"}, []dataset.Snapshot{x}, []bool{true}, 3, nil},
		"written":                    {[]rule{written("512", 0)}, []dataset.Path{"tank/a", "tank/b"}, []dataset.Snapshot{x, y}, []bool{false, false}, 1, nil},
		"in the open group":          {[]rule{written("0", 2), written("512", 0)}, []dataset.Path{"tank/a"}, []dataset.Snapshot{x}, []bool{false}, 3, nil},
		"who may not flush":          {[]rule{denied}, []dataset.Path{"tank/a"}, []dataset.Snapshot{x}, []bool{false}, 2, nil},
		"one that is not the newest": {[]rule{{Args: "get -Hp -o value written@antipode_y tank/b", Out: "9\n"}}, []dataset.Path{"tank/a", "tank/b"}, []dataset.Snapshot{x, y}, []bool{true, false}, 4, nil},
		"of another identity":        {[]rule{{Args: "get -Hp -o value written@antipode_x tank/a", Out: "-\n"}}, []dataset.Path{"tank/a"}, []dataset.Snapshot{{Name: "antipode_x", ID: naming.IDOf(9)}}, []bool{false}, 2, nil},
		"no dataset":                 {[]rule{{Args: "get -Hp -o value", Code: 1, Err: "cannot open 'tank/none': dataset does not exist\n"}}, []dataset.Path{"tank/none", "tank/a"}, []dataset.Snapshot{x, x}, []bool{false, true}, 4, dataset.ErrNotFound},
		"a suspended pool":           {[]rule{{Args: "zpool sync", Code: 1, Err: "cannot sync 'tank': pool I/O is currently suspended\n"}}, []dataset.Path{"tank/a"}, []dataset.Snapshot{x}, []bool{false}, 2, dataset.ErrStuck},
	} {
		t.Run(name, func(t *testing.T) {
			s, src := quietSource(t)
			for _, d := range []dataset.Path{"tank/a", "tank/b"} {
				if _, err := src.Snapshots(t.Context(), d); err != nil {
					t.Fatal(err)
				}
			}
			s.Answer(append(c.rules, s.Rules...)...)
			before := len(s.Calls())
			got, errs := src.AreUnchanged(t.Context(), c.ds, c.snaps)
			if !slices.Equal(got, c.want) || !errors.Is(errs[0], c.err) || c.err == nil && errors.Join(errs...) != nil {
				t.Errorf("got %v, %v, want %v, %v", got, errs, c.want, c.err)
			}
			if calls := s.Calls()[before:]; len(calls) != c.cost {
				t.Errorf("it took %d processes, want %d:\n%s", len(calls), c.cost, strings.Join(calls, "\n"))
			}
		})
	}
}
