// Package standbytest is an Into on a scripted zfs, and what its lineages look like, for the
// tests of what stands above it.
package standbytest

import (
	"testing"
	"time"

	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/pool"
	"antipode/fsdrivers/zfs/prop"
	"antipode/fsdrivers/zfs/standby"
	"antipode/fsdrivers/zfs/zfstest"
)

// GetLineages is how the command line begins that reads the lineages of one replica.
const GetLineages = "get -Hp -o name,property,source,value -d 1 -t filesystem,volume guid,type,receive_resume_token"

// Rules are those of a zfs that has dst/into, and further ones.
func Rules(more ...zfstest.Rule) []zfstest.Rule {
	return append([]zfstest.Rule{
		{Args: "get -Hp -o name,property,source,value -d 1 -t filesystem,volume type,org.antipode:into,org.antipode:strip dst/into", Out: zfstest.Props(
			"dst/into", "type", "filesystem", "dst/into", prop.Into, "on", "dst/into/.antipode", "type", "filesystem")},
		{Args: "version", Out: "zfs-2.4.4-1\nzfs-kmod-2.4.4-1\n"},
	}, more...)
}

// Into is dst/into on a zfs that answers by these rules too.
func Into(t *testing.T, rules ...zfstest.Rule) (*zfstest.Script, *standby.Into, *pool.Host) {
	t.Helper()
	s := zfstest.New(t, Rules(rules...)...)
	zfs := pool.NewHost(s.Binary(), 20*time.Second)
	in, err := standby.New(zfs, standby.Options{Name: "dst/into", Locks: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return s, in, zfs
}

// Now is what the clock says in these tests.
func Now() time.Time { return time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC) }

// LineageOut is what zfs get prints of a lineage of src/db, with further properties: object,
// property and value in turn.
func LineageOut(more ...string) string {
	return zfstest.Props(append([]string{
		"dst/into/src/db", "guid", "70", "dst/into/src/db", "type", "filesystem", "dst/into/src/db", prop.Path, "src/db",
		"dst/into/src/db", prop.Source, string(naming.IDOf(1)), "dst/into/src/db", "inconsistent", "0",
	}, more...)...)
}
