package activate

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/standby/standbytest"
	"antipode/fsdrivers/zfs/zfstest"
)

func adopted() (dataset.Dataset, dataset.Snapshot) {
	return dataset.Dataset{Path: "other/live/db", ID: naming.IDOf(90)}, dataset.Snapshot{Name: "antipode_a", ID: naming.IDOf(10)}
}

// former is a target beside tank-like datasets: dst/db is the former primary.
func former(t *testing.T, list, written string) (*zfstest.Script, *Activator) {
	t.Helper()
	const look = "get -Hp -o name,property,source,value -d 1 -t filesystem,volume guid,type,encryption,written"
	const missing = "cannot open 'x': dataset does not exist\n"
	return activatorOn(t,
		zfstest.Rule{Args: look, Out: zfstest.Props("dst/db", "guid", "7", "dst/db", "type", "filesystem", "dst/db", "written", written, "dst/db", "encryption", "off"), Err: missing, Code: 1},
		zfstest.Rule{Args: standbytest.GetLineages, Out: zfstest.Props("dst/into/.antipode", "guid", "5")},
		zfstest.Rule{Args: "list -Hp -d 1 -t snapshot,bookmark -o name,guid,createtxg -s createtxg dst/db.antipode_fresh", Out: "dst/db.antipode_fresh@antipode_a\t10\t5\n"},
		zfstest.Rule{Args: "list", Out: list},
		zfstest.Rule{Args: "get -Hp -o name,property,source,value written", Out: zfstest.Props("dst/db", "written", written)},
		zfstest.Rule{Args: "get -Hp -o name,property,source,value type", Out: zfstest.Props("dst/db", "type", "filesystem")},
		zfstest.Rule{Args: "get", Err: missing, Code: 1},
		zfstest.Rule{Args: "unmount"}, zfstest.Rule{Args: "set"}, zfstest.Rule{Args: "clone"}, zfstest.Rule{Args: "snapshot"}, zfstest.Rule{Args: "promote"}, zfstest.Rule{Args: "rename"}, zfstest.Rule{Args: "create"},
	)
}

func changes(s *zfstest.Script) (all []string) {
	for _, call := range s.Calls() {
		if word, _, _ := strings.Cut(call, " "); !slices.Contains([]string{"get", "list", "set", "create", "version"}, word) {
			all = append(all, call)
		}
	}
	return all
}

func TestAFormerPrimaryThatWroteNothingIsRenamed(t *testing.T) {
	s, tg := former(t, "dst/db@antipode_a\t10\t5\n", "0")
	d, base := adopted()
	if err := tg.Adopt(t.Context(), d, "dst/db", base, "diverged-1"); err != nil {
		t.Fatal(err)
	}
	want := []string{"unmount dst/db", "rename -u dst/db dst/db.antipode_fresh", "rename -u dst/db.antipode_fresh dst/into/other/live/db"}
	if got := changes(s); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestWhatDivergedIsSetAside: nothing is rolled back or destroyed.
func TestWhatDivergedIsSetAside(t *testing.T) {
	for name, c := range map[string]struct{ list, written string }{
		"a newer snapshot": {"dst/db@antipode_a\t10\t5\ndst/db@antipode_b\t11\t6\n", "0"},
		"a write":          {"dst/db@antipode_a\t10\t5\n", "8192"},
	} {
		s, tg := former(t, c.list, c.written)
		d, base := adopted()
		if err := tg.Adopt(t.Context(), d, "dst/db", base, "diverged-1"); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all := strings.Join(changes(s), "\n")
		for _, want := range []string{"snapshot dst/db@diverged-1", "clone -o readonly=on", "rename -u dst/db dst/db.diverged-1"} {
			if !strings.Contains(all, want) {
				t.Errorf("%s: got %s, want %q in it", name, all, want)
			}
		}
		if strings.Contains(all, "destroy") || strings.Contains(all, "rollback") {
			t.Errorf("%s: got %s", name, all)
		}
	}
}

func TestOnlyWhatIsMeantIsAdopted(t *testing.T) {
	d, base := adopted()
	for name, c := range map[string]struct {
		at, aside string
		base      dataset.ID
		want      error
	}{
		"another base":      {"dst/db", "diverged-1", naming.IDOf(99), dataset.ErrBaseMissing},
		"another pool":      {"tank/db", "diverged-1", base.ID, dataset.ErrRefused},
		"a way out":         {"dst/db", "a/../../x", base.ID, dataset.ErrRefused},
		"a name of ours":    {"dst/db", "antipode_x", base.ID, dataset.ErrRefused},
		"no name of a pool": {"/db", "diverged-1", base.ID, dataset.ErrNotFound},
	} {
		s, tg := former(t, "dst/db@antipode_a\t10\t5\n", "0")
		b := base
		b.ID = c.base
		if err := tg.Adopt(t.Context(), d, dataset.Path(c.at), b, c.aside); !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
		if got := changes(s); len(got) != 0 {
			t.Errorf("%s: ran %q", name, got)
		}
	}
}
