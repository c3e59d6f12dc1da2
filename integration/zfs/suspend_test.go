//go:build zfs

package zfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

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

// doomedPool is one on that disk.
const doomedPool = "antipode-doomed"

func (d *doomed) pool(mountpoint string) {
	d.t.Helper()
	if _, err := run(d.t, "zpool", "create", "-o", "cachefile=none", "-m", mountpoint, doomedPool, "/dev/mapper/doomed"); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { run(d.t, "zpool", "destroy", "-f", doomedPool) })
}

// heal brings the disk back and waits until what hung has ended.
func (d *doomed) heal(ask func() error) {
	d.t.Helper()
	d.become(d.healthy())
	if _, err := run(d.t, "zpool", "clear", doomedPool); err != nil {
		d.t.Fatal(err)
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	err := ask()
	for range 60 {
		if !errors.Is(err, dataset.ErrStuck) {
			break
		}
		<-tick.C
		err = ask()
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// TestASuspendedPoolIsGivenUpOn: a command that hangs is not waited for, nothing
// else is started on its pool, other pools work, and all goes on when the disk is
// back.
func TestASuspendedPoolIsGivenUpOn(t *testing.T) {
	disk := makeDoomed(t)
	disk.pool("none")
	src, _ := pools(t)
	h := newHarnessOn(t, &lab{t: t, name: "doomed", files: filesystems{}}, src, doomedPool)
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
	tells(t, h.receive(next, bytes.NewReader(whole)), dataset.ErrStuck, doomedPool, "zpool status")
	started := len(c.calls())
	tells(t, h.receive(next, bytes.NewReader(whole)), dataset.ErrStuck, doomedPool)
	tells(t, h.target.Hold(t.Context(), d.Path, s1, "base.x"), dataset.ErrStuck, doomedPool)
	if n := len(c.calls()); n != started {
		t.Errorf("%q were started beside the one that hangs", c.calls()[started:])
	}
	if _, err := h.source.Snapshots(t.Context(), d.Path); err != nil {
		t.Errorf("on another pool: %v", err)
	}

	disk.heal(func() error {
		_, err := h.target.Pending(t.Context(), d.Path)
		return err
	})
	h.arrives(next)
}

// TestASendFromASuspendedPoolIsGivenUpOn: a send whose pool is suspended under it gives no
// byte and no end; the step goes on when the disk is back.
func TestASendFromASuspendedPoolIsGivenUpOn(t *testing.T) {
	disk := makeDoomed(t)
	disk.pool(t.TempDir())
	_, dst := pools(t)
	h := newHarnessOn(t, &lab{t: t, name: "doomed source", files: filesystems{}}, doomedPool, dst)
	h.source = zfs.NewSource(zfs.Options{Log: zerolog.Nop(), Host: zfs.NewHost("", 10*time.Second)})
	d := h.Make("db")
	h.must(h.Write(d.Path, "a", []byte("one")))
	h.must(h.Write(d.Path, "b", noise(4<<20)))
	h.must(h.Write(d.Path, "c", noise(60<<20)))
	step := stepOf(d, dataset.Snapshot{}, h.snap(d, "1"))
	// What is in memory is sent without the disk.
	h.unmount()
	for _, args := range [][]string{{"export", doomedPool}, {"import", "-o", "cachefile=none", "-d", "/dev/mapper", doomedPool}} {
		_, err := run(t, "zpool", args...)
		h.must(err)
	}
	r, err := h.source.Send(t.Context(), step, dataset.Checkpoint{})
	h.must(err)
	_, err = io.ReadFull(r, make([]byte, 1<<20))
	h.must(err)

	disk.become(fmt.Sprintf("0 %s error", disk.sectors))
	began := time.Now()
	n, err := io.Copy(io.Discard, r)
	tells(t, err, dataset.ErrStuck, doomedPool, "zpool status")
	tells(t, err, dataset.ErrCut)
	t.Logf("given up after %v and %d bytes; its end: %v", time.Since(began), n, r.Close())

	disk.heal(func() error {
		_, err := h.source.Snapshots(t.Context(), d.Path)
		return err
	})
	h.arrives(step)
}
