package receive

import (
	"testing"
	"time"

	"antipode/fsdrivers/zfs/naming"
	"antipode/fsdrivers/zfs/pool"
	"antipode/fsdrivers/zfs/prop"
	"antipode/fsdrivers/zfs/standby"
	"antipode/fsdrivers/zfs/zfstest"
)

type rule = zfstest.Rule

// scripted is a zfs that answers by rules.
type scripted struct {
	*zfstest.Script
	t *testing.T
}

func script(t *testing.T, rules ...rule) *scripted {
	t.Helper()
	return &scripted{Script: zfstest.New(t, rules...), t: t}
}

// props is what zfs get prints: object, property and value in turn.
func props(fields ...string) string { return zfstest.Props(fields...) }

const getLineages = "get -Hp -o name,property,source,value -d 1 -t filesystem,volume guid,type,receive_resume_token"

// intoOn is one on a scripted zfs where it is there.
func intoOn(t *testing.T, rules ...rule) (*scripted, *standby.Into, *pool.Host) {
	t.Helper()
	s := script(t, append([]rule{
		{Args: "get -Hp -o name,property,source,value -d 1 -t filesystem,volume type,org.antipode:into,org.antipode:strip dst/into", Out: props(
			"dst/into", "type", "filesystem", "dst/into", prop.Into, "on", "dst/into/.antipode", "type", "filesystem")},
		{Args: "version", Out: "zfs-2.4.4-1\nzfs-kmod-2.4.4-1\n"},
	}, rules...)...)
	zfs := pool.NewHost(s.Binary(), 20*time.Second)
	in, err := standby.New(zfs, standby.Options{Name: "dst/into", Locks: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return s, in, zfs
}

func theTime() time.Time { return time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC) }

// lineageOut is what a lineage of src/db looks like.
func lineageOut(more ...string) string {
	return props(append([]string{
		"dst/into/src/db", "guid", "70", "dst/into/src/db", "type", "filesystem", "dst/into/src/db", prop.Path, "src/db",
		"dst/into/src/db", prop.Source, string(naming.IDOf(1)), "dst/into/src/db", "inconsistent", "0",
	}, more...)...)
}
