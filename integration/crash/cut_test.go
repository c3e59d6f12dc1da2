//go:build machine

package crash

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// disk is a whole disk behind dm-flakey, with Btrfs on it.
type disk struct {
	s       *scene
	device  string // the disk
	sectors string
	name    string // of the mapping
	dir     string // where it is mounted
}

// newDisk makes a file system on the n-th blank disk of the machine.
func newDisk(t *testing.T, n int) *disk {
	device := strings.Fields(os.Getenv("ANTIPODE_MACHINE_DISKS"))[n]
	s := &scene{T: t}
	d := &disk{s: s, device: device, name: fmt.Sprint("crash", n), dir: t.TempDir()}
	size, err := os.ReadFile("/sys/class/block/" + filepath.Base(device) + "/size")
	s.must(err)
	d.sectors = strings.TrimSpace(string(size))
	s.tool("dmsetup", "create", d.name, "--table", d.whole())
	t.Cleanup(func() {
		d.unmount()
		s.tool("dmsetup", "remove", d.name)
	})
	s.tool("mkfs.btrfs", "-q", "-f", d.path())
	d.mount()
	return d
}

func (d *disk) path() string  { return "/dev/mapper/" + d.name }
func (d *disk) whole() string { return fmt.Sprintf("0 %s linear %s 0", d.sectors, d.device) }

// dead drops every write from now on and says that it was done.
func (d *disk) dead() string {
	return fmt.Sprintf("0 %s flakey %s 0 0 86400 1 drop_writes", d.sectors, d.device)
}

func (d *disk) become(table string) {
	d.s.Helper()
	d.s.tool("dmsetup", "suspend", "--nolockfs", "--noflush", d.name)
	d.s.tool("dmsetup", "load", d.name, "--table", table)
	d.s.tool("dmsetup", "resume", d.name)
}

func (d *disk) mount() { d.s.Helper(); d.s.tool("mount", d.path(), d.dir) }

// unmount waits for what still uses it: children that outlived their daemon. It ends
// those that name it.
func (d *disk) unmount() {
	d.s.Helper()
	var err error
	for range 600 {
		d.endChildren()
		if err = unix.Unmount(d.dir, 0); err == nil || err == unix.EINVAL {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	d.s.Fatalf("unmount %s: %v", d.dir, err)
}

// endChildren kills whatever was started for this disk.
func (d *disk) endChildren() {
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	d.s.must(err)
	for _, path := range lines {
		line, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(line, []byte(d.dir+"/")) {
			continue
		}
		pid, err := strconv.Atoi(strings.Split(path, "/")[2])
		d.s.must(err)
		_ = unix.Kill(pid, unix.SIGKILL) // it may have ended by now
	}
}

// cutPower loses everything that is not on the disk yet, and mounts what is.
func (d *disk) cutPower(end func()) {
	d.s.Helper()
	d.become(d.dead())
	end()
	d.unmount()
	d.become(d.whole())
	d.mount()
}

// The power of the target's disk is cut at every failpoint. What had a final name is
// right, and the next run goes on by itself.
func TestPowerCutAtEveryFailpoint(t *testing.T) {
	from, to := newDisk(t, 0), newDisk(t, 1)
	s := newScene(t, from.dir, to.dir)
	for i, b := range blows() {
		t.Run(b.point, func(t *testing.T) {
			s := &scene{T: t, db: s.db, to: s.to}
			to.s = s
			into := filepath.Join(s.to, fmt.Sprint("into", i))
			if b.before != "" {
				s.killedAt(into, b.before)
			}
			child, stdout := s.run(into, b.point, "wait")
			if line, err := stdout.ReadString('\n'); err != nil || line != "at "+b.point+"\n" {
				_ = child.Process.Kill()
				_ = child.Wait()
				t.Fatalf("failpoint %s was not hit: %q, %v: %s", b.point, line, err, child.Stderr)
			}
			to.cutPower(func() {
				_ = child.Process.Kill()
				_ = child.Wait()
			})
			s.right(into, "a power cut at "+b.point)
			s.complete(into, "a power cut at "+b.point)
		})
	}
	to.s = &scene{T: t}
}
