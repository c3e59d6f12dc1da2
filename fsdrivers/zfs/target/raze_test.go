package target

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/prop"
	"antipode/fsdrivers/zfs/standby/standbytest"
	"antipode/fsdrivers/zfs/zfstest"
)

func snap(name string, guid uint64) dataset.Snapshot {
	return dataset.Snapshot{Name: "antipode_" + name, ID: naming.IDOf(guid)}
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

// lineage of src/db with the points a, b and c, and somebody's snapshot between them.
func pointed(more ...rule) []rule {
	return append([]rule{
		{Args: lookAgain, Out: pointsABC},
		{Args: standbytest.GetLineages, Out: standbytest.LineageOut("dst/into/src/db", "written", "0")},
		{Args: "holds"},
		{Args: "set"},
		{Args: "inherit"},
		{Args: "rollback"},
		{Args: "destroy"},
	}, more...)
}

// lookAgain is how what is about to go is listed.
const lookAgain = "list -Hp -t snapshot -o name,guid,createtxg dst/into/src/db@"

const (
	pointsABC = "dst/into/src/db@antipode_a\t10\t5\ndst/into/src/db@daily\t40\t6\ndst/into/src/db@antipode_b\t11\t7\ndst/into/src/db@antipode_c\t12\t8\n"
	pointsA   = "dst/into/src/db@antipode_a\t10\t5\ndst/into/src/db@daily\t40\t6\n"
)

// TestTheHeadGoesBackToWhatIsLeft: not to what goes with the newest point.
func TestTheHeadGoesBackToWhatIsLeft(t *testing.T) {
	s, tg := target(t, pointed(rule{Args: "list", Times: 1, Out: pointsABC}, rule{Args: "list", Out: pointsA})...)
	answers := tg.DestroyAll(t.Context(), "src/db", []dataset.Snapshot{snap("c", 12), snap("b", 11)})
	if answers[0] != nil || answers[1] != nil {
		t.Fatal(answers)
	}
	calls := s.Calls()
	at := func(want string) int { return slices.Index(calls, want) }
	older, note := at("destroy dst/into/src/db@antipode_b"), at("set "+prop.Rewind+"="+string(naming.IDOf(40))+" dst/into/src/db")
	newest, back := at("destroy dst/into/src/db@antipode_c"), at("rollback dst/into/src/db@daily")
	if older < 0 || note < older || newest < note || back < newest {
		t.Errorf("got %q, want the older one destroyed, the way back noted, the newest destroyed, and the head taken back", calls)
	}
}

func TestManyPointsOfAReplicaAreAFewCommands(t *testing.T) {
	out, list := crowd()
	there := rule{Args: "list", Out: strings.ReplaceAll(out, "tank/db@", "dst/into/src/db@")}
	s, tg := target(t, append([]rule{there}, pointed()...)...)
	before := len(s.Calls())
	for i, err := range tg.DestroyAll(t.Context(), "src/db", list[:999]) {
		if err != nil {
			t.Fatalf("%s: %v", list[i].Name, err)
		}
	}
	if n := len(s.Calls()) - before; n > 6 {
		t.Errorf("it took %d processes, want at most 6", n)
	}
	if named := strings.Count(strings.Join(s.Ran("destroy"), ""), "antipode_"); named != 999 {
		t.Errorf("%d were destroyed, want 999", named)
	}
	other := list[3]
	other.ID = naming.IDOf(7)
	if err := tg.Destroy(t.Context(), "src/db", other); !errors.Is(err, dataset.ErrChanged) {
		t.Errorf("another identity: %v, want changed", err)
	}
}

// TestALineageGoesWithItsLastPoint, unless its name is another dataset's by now, or it has got a
// mark: then there is something to lose.
func TestALineageGoesWithItsLastPoint(t *testing.T) {
	last := "dst/into/src/db@antipode_a\t10\t5\n"
	for name, c := range map[string]struct {
		facts []string
		goes  bool
	}{
		"as it was":       {[]string{"dst/into/src/db", "guid", "70"}, true},
		"another dataset": {[]string{"dst/into/src/db", "guid", "71"}, false},
		"with a mark":     {[]string{"dst/into/src/db", "guid", "70", "dst/into/src/db", prop.Mark, "x"}, false},
		"activated":       {[]string{"dst/into/src/db", "guid", "70", "dst/into/src/db", prop.Activation, "x"}, false},
	} {
		s, tg := target(t, append([]rule{{Args: "list", Out: last}}, pointed(rule{Args: "get", Out: zfstest.Props(c.facts...)})...)...)
		if err := tg.Destroy(t.Context(), "src/db", snap("a", 10)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		ran := s.Ran("destroy")
		if goes := slices.Contains(ran, "destroy dst/into/src/db"); goes != c.goes || !slices.Contains(ran, "destroy dst/into/src/db@antipode_a") {
			t.Errorf("%s: ran %q, want the lineage to go: %t", name, ran, c.goes)
		}
	}
}
