package process

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"antipode/daemon/policy"
	"antipode/fsdrivers"
)

// TestNoDriverAsksAPoolThatAnotherWaitsFor: on a pool that is suspended, each job and each
// accept would have a process of its own hang.
func TestNoDriverAsksAPoolThatAnotherWaitsFor(t *testing.T) {
	dir := t.TempDir()
	asked, hangs := filepath.Join(dir, "asked"), filepath.Join(dir, "hangs") // as long as this is there
	for tool, script := range map[string]string{
		"zfs":   "case $1 in version) echo zfs-2.4.4-1; echo zfs-kmod-2.4.4-1;; *) echo \"cannot open 'tank/a': dataset does not exist\" >&2; exit 1;; esac\n",
		"zpool": "echo \"$@\" >>'" + asked + "'; while [ -e '" + hangs + "' ]; do sleep 0.1; done\n",
		"hangs": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, tool), []byte("#!/bin/sh\n"+script), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	drivers := newDrivers(zerolog.Nop())
	source, err := drivers.Source(policy.ZFS, nil)
	if err != nil {
		t.Fatal(err)
	}
	target, err := drivers.Target(policy.Accept{Driver: policy.ZFS, Into: "tank/in"})
	if err != nil {
		t.Fatal(err)
	}
	_, _ = source.Snapshots(t.Context(), "tank/a") // so that it knows of the pool
	for name, driver := range map[string]any{"source": source, "target": target} {
		ctx, stop := context.WithTimeout(t.Context(), time.Second)
		found := driver.(fsdrivers.Prober).Probe(ctx)
		stop()
		if len(found) == 0 || !found[0].Fatal {
			t.Errorf("%s: got %v, want that the pool does not answer", name, found)
		}
	}
	text, err := os.ReadFile(asked)
	if err != nil || strings.Count(string(text), "\n") != 1 {
		t.Errorf("zpool was run for\n%s%v, want once", text, err)
	}
}
