package activate

import (
	"testing"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/prop"
	"antipode/fsdrivers/zfs/zfstest"
)

// activatorOn is one on a scripted zfs whose into is there.
func activatorOn(t *testing.T, rules ...rule) (*scripted, *Activator) {
	t.Helper()
	s, in, zfs := intoOn(t, rules...)
	a := New(in, zfs, theTime)
	return s, &a
}

// TestTheRecordOfAnActivationStaysWhereItIs: a repeated call recognises its work by it.
// What an older activation left on another lineage goes.
func TestTheRecordOfAnActivationStaysWhereItIs(t *testing.T) {
	const live, fresh, old = "dst/into/antipode_live/src/db", "dst/into/antipode_live/src/db.antipode_fresh", `{"snapshot":"0000000000000009","aside":"before"}`
	other := zfstest.Props("dst/into/.antipode/moved-1", "guid", "71", "dst/into/.antipode/moved-1", "type", "filesystem", "dst/into/.antipode/moved-1", "inconsistent", "0",
		"dst/into/.antipode/moved-1", prop.Path, "src/db", "dst/into/.antipode/moved-1", prop.Source, string(naming.IDOf(1)))
	for name, c := range map[string]struct{ lineages, taken string }{
		"on the same":  {lineageOut("dst/into/src/db", prop.Activation, old) + other, ""},
		"on the other": {lineageOut() + other + zfstest.Props("dst/into/.antipode/moved-1", prop.Activation, old), "inherit " + prop.Activation + " dst/into/.antipode/moved-1"},
	} {
		const identities = "get -Hp -o name,property,source,value -t filesystem,volume guid"
		s, a := activatorOn(t,
			rule{Args: getLineages, Out: c.lineages},
			rule{Args: "list -Hp -d 1 -t snapshot,bookmark -o name,guid,createtxg -s createtxg dst/into/.antipode"},
			rule{Args: "list", Out: "dst/into/src/db@antipode_a\t10\t5\n"},
			rule{Args: identities, Times: 1, Out: props(live, "guid", "100")},
			rule{Args: identities, Times: 1, Out: props(live, "guid", "100", fresh, "guid", "101")},
			rule{Args: identities, Out: props(live, "guid", "101", live+".aside", "guid", "100")},
			rule{Args: "get -Hp -o name,property,source,value guid,origin", Out: props(fresh, "guid", "101", fresh, "origin", "dst/into/src/db@antipode_a")},
			rule{Args: "get -Hp -o name,property,source,value guid ", Out: props("dst/into/antipode_live", "guid", "50", "dst/into/antipode_live/src", "guid", "51")},
			rule{Args: "get -Hp -o name,property,source,value type,keystatus", Out: props(live, "type", "filesystem")},
			rule{Args: "get -Hp -o name,property,source,value type", Out: props(fresh, "type", "filesystem")},
			rule{Args: "clone"}, rule{Args: "bookmark"}, rule{Args: "set"}, rule{Args: "inherit"}, rule{Args: "rename"}, rule{Args: "mount"},
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
