//go:build zfs

package zfs

import (
	"fmt"
	"os"
	"path/filepath"
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

// makeMany makes them on one half of a mirror, and splits off the other: that has
// the same snapshots, where thousands of receives would take a quarter of an hour.
func makeMany(t *testing.T, n, each int) *many {
	t.Helper()
	pool := fmt.Sprintf("antipode-many-%d", os.Getpid())
	other, folder := pool+"-other", t.TempDir()
	disks := []string{filepath.Join(folder, "a"), filepath.Join(folder, "b")}
	m := &many{t: t, root: pool + "/many", sent: count(t), received: count(t)}
	for _, disk := range disks {
		m.must("", os.WriteFile(disk, nil, 0o600))
		m.must("", os.Truncate(disk, 1<<30))
	}
	m.must(run(t, "zpool", append([]string{"create", "-o", "cachefile=none", "-m", "none", pool, "mirror"}, disks...)...))
	t.Cleanup(func() { run(t, "zpool", "destroy", "-f", pool) })
	var script strings.Builder
	fmt.Fprintf(&script, "zfs create -o mountpoint=none %s\n", m.root)
	for i := range n - 1 {
		fmt.Fprintf(&script, "zfs create %s/%03d\n", m.root, i)
	}
	m.must(run(t, "bash", "-ec", script.String()))
	m.source = zfs.NewSource(zfs.Options{Host: zfs.NewHost(m.sent.binary, 0), Log: zerolog.Nop(), Now: soon})
	var err error
	m.datasets, err = m.source.Find(t.Context(), dataset.Path(m.root), true)
	m.must("", err)
	for i := range each {
		m.snapshot(fmt.Sprintf("antipode_%02d", i))
	}
	if n := len(m.sent.calls()); n > 8*each {
		t.Errorf("%d snapshots of %d datasets took %d processes", each, len(m.datasets), n)
	}
	m.split(pool, other, folder)
	return m
}

// split makes replicas of what the other half of the mirror has.
func (m *many) split(pool, other, folder string) {
	m.t.Helper()
	m.must(run(m.t, "zpool", "split", pool, other))
	m.must(run(m.t, "zpool", "import", "-o", "cachefile=none", "-d", folder, other))
	m.t.Cleanup(func() { run(m.t, "zpool", "destroy", "-f", other) })
	into := other + "/in"
	o := targetOptions(into)
	o.Host, o.Clock = zfs.NewHost(m.received.binary, 0), soon
	var err error
	m.target, err = zfs.NewTarget(o)
	m.must("", err)
	var script strings.Builder
	fmt.Fprintf(&script, "zfs create -o canmount=off -o org.antipode:placeholder=on %s/%s\n", into, pool)
	fmt.Fprintf(&script, "zfs rename %s/many %s/%s\n", other, into, m.root)
	for _, d := range m.datasets {
		fmt.Fprintf(&script, "zfs set org.antipode:path=%s org.antipode:source=%s %s/%s\n", d.Path, d.ID, into, d.Path)
	}
	m.must(run(m.t, "bash", "-ec", script.String()))
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

// cost is what a round took on one side: looks at all datasets at once, and other processes.
type cost struct{ looks, others int }

// round asks both drivers what a round of the daemon asks, and plans.
func (m *many) round(what string, steps int) (source, target cost) {
	m.t.Helper()
	ctx, began := m.t.Context(), time.Now()
	source.looks, source.others = m.sent.looks()
	target.looks, target.others = m.received.looks()
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
	since := func(was cost, c counted) cost {
		looks, others := c.looks()
		return cost{looks - was.looks, others - was.others}
	}
	source, target = since(source, m.sent), since(target, m.received)
	m.t.Logf("bench: zfs-round-%s %d processes on the source, %d on the target, beside %d and %d looks at all, in %v",
		what, source.others, target.others, source.looks, target.looks, time.Since(began).Round(time.Millisecond))
	return source, target
}

// TestTwoHundredDatasets counts processes: three for a dataset and round at most
// on either side, and none for one in which nothing happened.
func TestTwoHundredDatasets(t *testing.T) {
	const datasets, each = 200, 10
	m := makeMany(t, datasets, each)
	source, target := m.round("cold", 0)
	if source.others > 3*datasets || target.others > 3*datasets {
		t.Errorf("a round took %+v and %+v processes, more than 3 a dataset", source, target)
	}
	source, target = m.round("unchanged", 0)
	if source.others > 0 || target.others > 0 || source.looks > 1 || target.looks > 1 {
		t.Errorf("a round in which nothing happened took %+v and %+v processes, want a look at all", source, target)
	}
	// Under emulation it takes so long that what the target's look found is out of date before
	// the end: from then on each dataset costs one process, and still no list.
	m.snapshot("antipode_new")
	source, target = m.round("changed", datasets)
	if source.others > 3*datasets || target.others > datasets {
		t.Errorf("a round after a snapshot of all took %+v and %+v processes, more than 3 a dataset, and 1 where nothing happened", source, target)
	}
}
