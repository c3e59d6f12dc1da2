//go:build zfs

package zfs

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"antipode/daemon/plan"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs"
)

// many are datasets with snapshots on both sides, and drivers that count.
type many struct {
	t        *testing.T
	root     string
	datasets []dataset.Dataset
	source   *zfs.Source
	target   *zfs.Target
	sent     counted
	received counted
}

// soon is a clock past the second of the last change: what lies in that second is
// never believed.
func soon() time.Time { return time.Now().Add(5 * time.Second) }

// makeMany makes them with few processes: one replication stream, which is no
// stream of ours, stands for as many receives.
func makeMany(t *testing.T, n, each int) *many {
	t.Helper()
	src, dst := pools(t)
	m := &many{t: t, root: src + "/many", sent: count(t), received: count(t)}
	into := dst + "/many"
	m.must(run(t, "zfs", "create", "-o", "mountpoint=none", m.root))
	t.Cleanup(func() { run(t, "zfs", "destroy", "-r", m.root); run(t, "zfs", "destroy", "-r", into) })
	var script strings.Builder
	for i := range n - 1 {
		fmt.Fprintf(&script, "zfs create %s/%03d\n", m.root, i)
	}
	m.must(run(t, "bash", "-ec", script.String()))
	m.source = zfs.NewSource(zfs.Options{Binary: m.sent.binary, Log: zerolog.Nop(), Now: soon})
	var err error
	m.datasets, err = m.source.Find(t.Context(), dataset.Path(m.root), true)
	m.must("", err)
	for i := range each {
		m.snapshot(fmt.Sprintf("antipode_%02d", i))
	}
	if n := len(m.sent.calls()); n > 8*each {
		t.Errorf("%d snapshots of %d datasets took %d processes", each, len(m.datasets), n)
	}
	o := targetOptions(into)
	o.Binary, o.Clock = m.received.binary, soon
	m.target, err = zfs.NewTarget(o)
	m.must("", err)
	script.Reset()
	fmt.Fprintf(&script, "set -o pipefail\nzfs create -o canmount=off -o org.antipode:placeholder=on %s/%s\n", into, src)
	fmt.Fprintf(&script, "zfs send -R %s@antipode_%02d | zfs receive -u %s/%s\n", m.root, each-1, into, m.root)
	for _, d := range m.datasets {
		fmt.Fprintf(&script, "zfs set org.antipode:path=%s org.antipode:source=%s %s/%s\n", d.Path, d.ID, into, d.Path)
	}
	m.must(run(t, "bash", "-ec", script.String()))
	return m
}

func (m *many) must(_ string, err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *many) snapshot(name string) {
	m.t.Helper()
	var paths []dataset.Path
	for _, d := range m.datasets {
		paths = append(paths, d.Path)
	}
	_, err := m.source.Snapshot(m.t.Context(), name, time.Unix(1_700_000_000, 0), paths)
	m.must("", err)
}

// round asks both drivers what a round of the daemon asks, and plans. It returns
// what each side cost beside one look at all.
func (m *many) round(what string, steps int) (source, target int) {
	m.t.Helper()
	ctx, began := m.t.Context(), time.Now()
	sent, received := len(m.sent.calls()), len(m.received.calls())
	if _, err := m.target.Find(ctx, "/", true); err != nil {
		m.t.Fatal(err)
	}
	planned := 0
	for _, d := range m.datasets {
		in := plan.Input{Job: "many", Dataset: d, TargetID: d.ID}
		for _, ask := range []func() error{
			func() (err error) { in.SourceMark, err = m.source.Mark(ctx, d.Path); return err },
			func() (err error) { in.Source, err = m.source.Snapshots(ctx, d.Path); return err },
			func() (err error) { in.Target, err = m.target.Snapshots(ctx, d.Path); return err },
			func() (err error) { in.Checkpoint, err = m.target.Pending(ctx, d.Path); return err },
			func() (err error) { in.TargetMark, err = m.target.Mark(ctx, d.Path); return err },
		} {
			m.must("", ask())
		}
		p, err := plan.Decide(in)
		m.must("", err)
		planned += len(p.Steps)
	}
	if planned != steps {
		m.t.Errorf("%s: %d steps were planned, want %d", what, planned, steps)
	}
	source, target = len(m.sent.calls())-sent, len(m.received.calls())-received
	m.t.Logf("bench: zfs-round-%s %d processes on the source, %d on the target, in %v", what, source, target, time.Since(began).Round(time.Millisecond))
	return source, target
}

// TestTwoHundredDatasets counts processes: three for a dataset and round at most
// on either side, and none for one in which nothing happened.
func TestTwoHundredDatasets(t *testing.T) {
	const datasets, each = 200, 10
	m := makeMany(t, datasets, each)
	source, target := m.round("cold", 0)
	if source > 3*datasets || target > 3*datasets {
		t.Errorf("a round took %d and %d processes, more than 3 a dataset", source, target)
	}
	// The look at all is believed for ten seconds: a slow machine looks again.
	source, target = m.round("unchanged", 0)
	if source > 3 || target > 3 {
		t.Errorf("a round in which nothing happened took %d and %d processes, want a look at all", source, target)
	}
	m.snapshot("antipode_new")
	source, target = m.round("changed", datasets)
	if source > 3*datasets || target > 3 {
		t.Errorf("a round after a snapshot of all took %d and %d processes, more than 3 a dataset, and none where nothing happened", source, target)
	}
}
