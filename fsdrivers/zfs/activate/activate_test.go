package activate

import (
	"testing"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/prop"
	"antipode/fsdrivers/zfs/standby/standbytest"
	"antipode/fsdrivers/zfs/zfstest"
)

// activatorOn is one on a scripted zfs whose into is there.
func activatorOn(t *testing.T, rules ...zfstest.Rule) (*zfstest.Script, *Activator) {
	t.Helper()
	s, in, zfs := standbytest.Into(t, rules...)
	a := New(in, zfs, standbytest.Now)
	return s, &a
}

// TestTheRecordOfAnActivationStaysWhereItIs: a repeated call recognises its work by it.
// What an older activation left on another lineage goes.
func TestTheRecordOfAnActivationStaysWhereItIs(t *testing.T) {
	const live, fresh, old = "dst/into/antipode_live/src/db", "dst/into/antipode_live/src/db.antipode_fresh", `{"snapshot":"0000000000000009","aside":"before"}`
	other := zfstest.Props("dst/into/.antipode/moved-1", "guid", "71", "dst/into/.antipode/moved-1", "type", "filesystem", "dst/into/.antipode/moved-1", "inconsistent", "0",
		"dst/into/.antipode/moved-1", prop.Path, "src/db", "dst/into/.antipode/moved-1", prop.Source, string(naming.IDOf(1)))
	for name, c := range map[string]struct{ lineages, taken string }{
		"on the same":  {standbytest.LineageOut("dst/into/src/db", prop.Activation, old) + other, ""},
		"on the other": {standbytest.LineageOut() + other + zfstest.Props("dst/into/.antipode/moved-1", prop.Activation, old), "inherit " + prop.Activation + " dst/into/.antipode/moved-1"},
	} {
		const identities = "get -Hp -o name,property,source,value -t filesystem,volume guid"
		s, a := activatorOn(t,
			zfstest.Rule{Args: standbytest.GetLineages, Out: c.lineages},
			zfstest.Rule{Args: "list -Hp -d 1 -t snapshot,bookmark -o name,guid,createtxg -s createtxg dst/into/.antipode"},
			zfstest.Rule{Args: "list", Out: "dst/into/src/db@antipode_a\t10\t5\n"},
			zfstest.Rule{Args: identities, Times: 1, Out: zfstest.Props(live, "guid", "100")},
			zfstest.Rule{Args: identities, Times: 1, Out: zfstest.Props(live, "guid", "100", fresh, "guid", "101")},
			zfstest.Rule{Args: identities, Out: zfstest.Props(live, "guid", "101", live+".aside", "guid", "100")},
			zfstest.Rule{Args: "get -Hp -o name,property,source,value guid,origin", Out: zfstest.Props(fresh, "guid", "101", fresh, "origin", "dst/into/src/db@antipode_a")},
			zfstest.Rule{Args: "get -Hp -o name,property,source,value guid ", Out: zfstest.Props("dst/into/antipode_live", "guid", "50", "dst/into/antipode_live/src", "guid", "51")},
			zfstest.Rule{Args: "get -Hp -o name,property,source,value type,keystatus", Out: zfstest.Props(live, "type", "filesystem")},
			zfstest.Rule{Args: "get -Hp -o name,property,source,value type", Out: zfstest.Props(fresh, "type", "filesystem")},
			zfstest.Rule{Args: "clone"}, zfstest.Rule{Args: "bookmark"}, zfstest.Rule{Args: "set"}, zfstest.Rule{Args: "inherit"}, zfstest.Rule{Args: "rename"}, zfstest.Rule{Args: "mount"},
		)
		got, err := a.Activate(t.Context(), "src/db", dataset.Snapshot{Name: "antipode_a", ID: naming.IDOf(10)}, "aside")
		if err != nil || got.Live != live || got.SetAside != live+".aside" {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
		for _, call := range s.Ran("inherit") {
			if call != c.taken {
				t.Errorf("%s: ran %q, want %q", name, call, c.taken)
			}
		}
		if len(s.Ran("inherit")) == 0 && c.taken != "" {
			t.Errorf("%s: the older record stays", name)
		}
	}
}
