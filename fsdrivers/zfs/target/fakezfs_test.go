package target

import (
	"os"
	"path/filepath"
	"testing"

	"antipode/fsdrivers/zfs/zfstest"
)

type rule = zfstest.Rule

// scripted is a zfs that answers by rules.
type scripted struct {
	*zfstest.Script
	t *testing.T
}

// TestMain is also the zfs of a pool in a file, where that lies beside it.
func TestMain(m *testing.M) {
	if _, err := os.Stat(poolFile(zfstest.Dir())); err == nil && filepath.Base(os.Args[0]) == "zfs" {
		os.Exit(simulate(zfstest.Dir(), os.Args[1:]))
	}
	zfstest.Main(m)
}

func script(t *testing.T, rules ...rule) *scripted {
	t.Helper()
	return &scripted{Script: zfstest.New(t, rules...), t: t}
}

// props is what zfs get prints: object, property and value in turn.
func props(fields ...string) string { return zfstest.Props(fields...) }
