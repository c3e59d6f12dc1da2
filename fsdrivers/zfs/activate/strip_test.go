package activate

import (
	"slices"
	"testing"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/pool"
	"antipode/fsdrivers/zfs/prop"
	"antipode/fsdrivers/zfs/standby"
	"antipode/fsdrivers/zfs/standby/standbytest"
	"antipode/fsdrivers/zfs/zfstest"
)

// stripped leaves src out of its source's paths; it has a replica of src/db, at db.
func stripped(t *testing.T, rules ...zfstest.Rule) (*zfstest.Script, *Activator) {
	t.Helper()
	s := zfstest.New(t, append([]zfstest.Rule{
		{Args: "get -Hp -o name,property,source,value -d 1 -t filesystem,volume type,org.antipode:into,org.antipode:strip dst/into", Out: zfstest.Props(
			"dst/into", "type", "filesystem", "dst/into", prop.Into, "on", "dst/into", prop.Strip, "src", "dst/into/.antipode", "type", "filesystem")},
		{Args: "version", Out: "zfs-2.4.4-1\nzfs-kmod-2.4.4-1\n"},
		{Args: standbytest.GetLineages, Out: zfstest.Props("dst/into/db", "guid", "70", "dst/into/db", "type", "filesystem", "dst/into/db", prop.Path, "src/db",
			"dst/into/db", prop.Source, string(naming.IDOf(1)), "dst/into/db", "inconsistent", "0", "dst/into/db", "written", "0")},
		{Args: "list", Out: "dst/into/db@antipode_a\t10\t5\n"},
	}, rules...)...)
	zfs := pool.NewHost(s.Binary(), 20*time.Second)
	in, err := standby.New(zfs, standby.Options{Name: "dst/into", Live: "dst/data", Strip: "src", Locks: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	a := New(in, zfs, standbytest.Now)
	return s, &a
}

var strippedPoint = dataset.Snapshot{Name: "antipode_a", ID: naming.IDOf(10)}

func TestWhatIsStrippedIsInNoLiveName(t *testing.T) {
	const live, fresh, identities = "dst/data/db", "dst/data/db.antipode_fresh", "get -Hp -o name,property,source,value -t filesystem,volume guid"
	s, a := stripped(t,
		zfstest.Rule{Args: identities, Times: 1},
		zfstest.Rule{Args: identities, Times: 1, Out: zfstest.Props(fresh, "guid", "101")},
		zfstest.Rule{Args: identities, Out: zfstest.Props(live, "guid", "101")},
		zfstest.Rule{Args: "get -Hp -o name,property,source,value guid,origin", Out: zfstest.Props(fresh, "guid", "101", fresh, "origin", "dst/into/db@antipode_a")},
		zfstest.Rule{Args: "get -Hp -o name,property,source,value guid ", Out: zfstest.Props("dst/data", "guid", "50")},
		zfstest.Rule{Args: "get -Hp -o name,property,source,value type", Out: zfstest.Props(fresh, "type", "filesystem", live, "type", "filesystem")},
		zfstest.Rule{Args: "clone"}, zfstest.Rule{Args: "bookmark"}, zfstest.Rule{Args: "set"}, zfstest.Rule{Args: "rename"}, zfstest.Rule{Args: "mount"},
	)
	got, err := a.Activate(t.Context(), "src/db", strippedPoint, "aside")
	if err != nil || got.Live != live {
		t.Fatalf("got %+v, %v; want it at %s", got, err, live)
	}
	if want := "rename -u " + fresh + " " + live; !slices.Contains(s.Ran("rename"), want) {
		t.Errorf("ran %q, want %q", s.Ran("rename"), want)
	}
}

func TestWhatIsStrippedIsInNoMountPoint(t *testing.T) {
	s, a := stripped(t, zfstest.Rule{Args: "get", Out: zfstest.Props("dst/into/db", "type", "filesystem", "dst/into/db", "keystatus", "-")}, zfstest.Rule{Args: "set"}, zfstest.Rule{Args: "mount"})
	got, err := a.ActivateInPlace(t.Context(), "src/db", strippedPoint)
	if err != nil || got.Live != "dst/into/db" {
		t.Fatalf("got %+v, %v", got, err)
	}
	if want := "set mountpoint=/dst/data/db dst/into/db"; !slices.Contains(s.Ran("set"), want) {
		t.Errorf("ran %q, want %q", s.Ran("set"), want)
	}
}
