//go:build zfs

package zfs

import (
	"strings"
	"testing"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/drivertest"
)

// TestContractOfDriversThatKeepWhatTheyRead runs what could be answered from a list
// that is not right any more on drivers with a clock, as the daemon has them.
func TestContractOfDriversThatKeepWhatTheyRead(t *testing.T) {
	l := &lab{t: t, name: "kept", files: filesystems{}, clock: time.Now}
	pick := func(name string) bool {
		for _, group := range []string{"version", "compare", "bookmark", "keep/a destroyed", "by hand"} {
			if strings.HasPrefix(name, group) {
				return true
			}
		}
		return false
	}
	drivertest.RunSome(t, pick, func(t *testing.T) drivertest.Harness { return newHarness(t, l) })
}

// TestUnchangedDatasetsCostNothingEach counts the processes of the questions that a
// tips exchange and a tick ask of many datasets at once.
func TestUnchangedDatasetsCostNothingEach(t *testing.T) {
	const datasets = 40
	m := makeMany(t, datasets, 2)
	ctx := t.Context()
	m.must(run(t, "zfs", "set", "mountpoint=/kept", m.root)) // live data are mounted
	m.snapshot("antipode_mounted")
	paths, snaps := make([]dataset.Path, datasets), make([]dataset.Snapshot, datasets)
	for i, d := range m.datasets {
		list, err := m.source.Snapshots(ctx, d.Path)
		m.must("", err)
		paths[i], snaps[i] = d.Path, list[len(list)-1]
	}
	ask := func(what string) (sent, received int) {
		t.Helper()
		began, sent, received := time.Now(), len(m.sent.calls()), len(m.received.calls())
		theirs, err := m.target.Versions(ctx, paths)
		m.must("", err)
		ours, err := m.source.Versions(ctx, paths)
		m.must("", err)
		same, errs := m.source.AreUnchanged(ctx, paths, snaps)
		for i := range paths {
			if theirs[i] == "" || ours[i] == "" || !same[i] || errs[i] != nil {
				t.Errorf("%s: %s has the versions %q and %q, unchanged %t, %v", what, paths[i], ours[i], theirs[i], same[i], errs[i])
			}
		}
		sent, received = len(m.sent.calls())-sent, len(m.received.calls())-received
		t.Logf("bench: zfs-unchanged-%s %d processes on the source, %d on the target, for %d datasets in %v",
			what, sent, received, datasets, time.Since(began).Round(time.Millisecond))
		return sent, received
	}
	ask("cold")
	if sent, received := ask("again"); sent > 4 || received > 1 {
		t.Errorf("%d and %d processes, want no more than 4 and 1", sent, received)
	}
}
