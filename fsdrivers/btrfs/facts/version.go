package facts

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers/btrfs/subvol"
	"antipode/fsdrivers/dataset"
)

// A version is made of what the kernel keeps by itself: which inode each directory
// of ours is and when its entries last changed (ctime, which nobody can set). Ours
// are written by rename, so every change of a sidecar is a change of its directory;
// so is a snapshot that is made, destroyed or renamed. What is done to a snapshot
// itself, such as making it writable, is not: the newest one is looked at.

// Newest remembers which snapshot of each dataset was the newest when they were
// listed; a zero one where there was none.
type Newest struct {
	mu   sync.Mutex // guards last
	last map[dataset.Path]dataset.Snapshot
}

// Set remembers the newest of a list, which is sorted.
func (n *Newest) Set(d dataset.Path, list []dataset.Snapshot) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.last == nil {
		n.last = map[dataset.Path]dataset.Snapshot{}
	}
	var last dataset.Snapshot
	if k := len(list); k > 0 {
		last = dataset.Snapshot{Name: list[k-1].Name, ID: list[k-1].ID}
	}
	n.last[d] = last
}

// Get tells what was the newest; known is false if nothing was listed.
func (n *Newest) Get(d dataset.Path) (last dataset.Snapshot, known bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	last, known = n.last[d]
	return last, known
}

// Version gathers what it is made of. A directory that changed within the kernel's
// present tick may change again without another ctime: nothing can be told then.
type Version struct {
	Text   strings.Builder
	tick   unix.Timespec
	unsure bool
}

// NewVersion begins one: nothing that it is made of may have been looked at before.
func NewVersion() *Version {
	v := &Version{}
	// Read before anything is looked at: what changes later has this ctime or a
	// later one.
	v.unsure = unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &v.tick) != nil
	return v
}

// String is the version; "" if it cannot be told.
func (v *Version) String() string {
	if v.unsure {
		return ""
	}
	return v.Text.String()
}

// Dir adds a directory, which may be missing, below another.
func (v *Version) Dir(at *os.File, name string) {
	var st unix.Stat_t
	switch err := unix.Fstatat(int(at.Fd()), subvol.OrDot(name), &st, unix.AT_SYMLINK_NOFOLLOW); {
	case err == unix.ENOENT:
		v.Text.WriteString("- ")
		return
	case err != nil:
		v.unsure = true
		return
	}
	if st.Ctim.Nano() >= v.tick.Nano() {
		v.unsure = true
	}
	fmt.Fprintf(&v.Text, "%d:%d:%d ", st.Dev, st.Ino, st.Ctim.Nano())
}

// Facts adds the sidecars of a dataset.
func (v *Version) Facts(own *os.File, id dataset.ID) {
	v.Dir(own, string(id))
	v.Dir(own, filepath.Join(string(id), holdsDir))
	v.Dir(own, filepath.Join(string(id), pointsDir))
}

// Snapshot adds what became of the one that was the newest, if anything did.
func (v *Version) Snapshot(dir *os.File, was dataset.Snapshot, known bool) {
	switch {
	case !known:
		v.unsure = true
	case was.ID.IsZero():
	case dir == nil:
		v.Text.WriteString("gone")
	default:
		s, err := subvol.OpenSnapshot(dir, was)
		if err != nil {
			v.Text.WriteString("changed")
			return
		}
		s.Close()
	}
}
