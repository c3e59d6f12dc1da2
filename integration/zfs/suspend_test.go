//go:build zfs

package zfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs"
)

// doomed is a disk that can be made to fail.
type doomed struct {
	t       *testing.T
	disk    string
	sectors string
}

func makeDoomed(t *testing.T) *doomed {
	t.Helper()
	if os.Getenv("ANTIPODE_MACHINE") == "" {
		t.Skip("only in the test machine: it breaks a whole disk")
	}
	d := &doomed{t: t, disk: strings.Fields(os.Getenv("ANTIPODE_MACHINE_DISKS"))[0]}
	sectors, err := os.ReadFile("/sys/class/block/" + strings.TrimPrefix(d.disk, "/dev/") + "/size")
	if err != nil {
		t.Fatal(err)
	}
	d.sectors = strings.TrimSpace(string(sectors))
	if _, err := run(t, "dmsetup", "create", "doomed", "--table", d.healthy()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { run(t, "dmsetup", "remove", "--force", "doomed") })
	return d
}

func (d *doomed) healthy() string { return fmt.Sprintf("0 %s linear %s 0", d.sectors, d.disk) }

func (d *doomed) become(table string) {
	d.t.Helper()
	script := "dmsetup suspend --nolockfs --noflush doomed; dmsetup load doomed --table '" + table + "'; dmsetup resume doomed"
	if _, err := run(d.t, "bash", "-ec", script); err != nil {
		d.t.Fatal(err)
	}
}

// TestASuspendedPoolIsGivenUpOn: a command that hangs is not waited for, nothing
// else is started on its pool, other pools work, and all goes on when the disk is
// back.
func TestASuspendedPoolIsGivenUpOn(t *testing.T) {
	disk := makeDoomed(t)
	const pool = "antipode-doomed"
	if _, err := run(t, "zpool", "create", "-o", "cachefile=none", "-m", "none", pool, "/dev/mapper/doomed"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { run(t, "zpool", "destroy", "-f", pool) })
	src, _ := pools(t)
	h := newHarnessOn(t, &lab{t: t, name: "doomed", files: filesystems{}}, src, pool)
	c := count(t)
	o := targetOptions(h.into())
	o.Host = zfs.NewHost(c.binary, 10*time.Second)
	target, err := zfs.NewTarget(o)
	h.must(err)
	h.target = target
	d := h.Make("db")
	h.must(h.Write(d.Path, "a", []byte("one")))
	s1 := h.snap(d, "1")
	h.sent(stepOf(d, dataset.Snapshot{}, s1))
	h.must(h.Write(d.Path, "b", noise(4<<20)))
	next := stepOf(d, s1, h.snap(d, "2"))
	whole := h.all(next, dataset.Checkpoint{})

	disk.become(fmt.Sprintf("0 %s error", disk.sectors))
	tells(t, h.receive(next, bytes.NewReader(whole)), dataset.ErrStuck, pool, "zpool status")
	started := len(c.calls())
	tells(t, h.receive(next, bytes.NewReader(whole)), dataset.ErrStuck, pool)
	tells(t, h.target.Hold(t.Context(), d.Path, s1, "base.x"), dataset.ErrStuck, pool)
	if n := len(c.calls()); n != started {
		t.Errorf("%q were started beside the one that hangs", c.calls()[started:])
	}
	if _, err := h.source.Snapshots(t.Context(), d.Path); err != nil {
		t.Errorf("on another pool: %v", err)
	}

	disk.become(disk.healthy())
	if _, err := run(t, "zpool", "clear", pool); err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for range 60 { // until what hung has ended
		if _, err = h.target.Pending(t.Context(), d.Path); !errors.Is(err, dataset.ErrStuck) {
			break
		}
		<-tick.C
	}
	h.must(err)
	h.arrives(next)
}
