package btrfs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

var (
	_ fsdrivers.Versioner = (*Source)(nil)
	_ fsdrivers.Versioner = (*Target)(nil)
)

// A version is made of what the kernel keeps by itself: which inode each directory
// of ours is and when its entries last changed (ctime, which nobody can set). Ours
// are written by rename, so every change of a sidecar is a change of its directory;
// so is a snapshot that is made, destroyed or renamed. What is done to a snapshot
// itself, such as making it writable, is not: the newest one is looked at.

// newest remembers which snapshot of each dataset was the newest when they were
// listed; a zero one where there was none.
type newest struct {
	mu   sync.Mutex // guards last
	last map[dataset.Path]dataset.Snapshot
}

func (n *newest) set(d dataset.Path, list []dataset.Snapshot) {
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

func (n *newest) get(d dataset.Path) (last dataset.Snapshot, known bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	last, known = n.last[d]
	return last, known
}

// version gathers what it is made of. A directory that changed within the kernel's
// present tick may change again without another ctime: nothing can be told then.
type version struct {
	text   strings.Builder
	tick   unix.Timespec
	unsure bool
}

func newVersion() *version {
	v := &version{}
	// Read before anything is looked at: what changes later has this ctime or a
	// later one.
	v.unsure = unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &v.tick) != nil
	return v
}

func (v *version) String() string {
	if v.unsure {
		return ""
	}
	return v.text.String()
}

// dir adds a directory, which may be missing, below another.
func (v *version) dir(at *os.File, name string) {
	var st unix.Stat_t
	switch err := unix.Fstatat(int(at.Fd()), orDot(name), &st, unix.AT_SYMLINK_NOFOLLOW); {
	case err == unix.ENOENT:
		v.text.WriteString("- ")
		return
	case err != nil:
		v.unsure = true
		return
	}
	if st.Ctim.Nano() >= v.tick.Nano() {
		v.unsure = true
	}
	fmt.Fprintf(&v.text, "%d:%d:%d ", st.Dev, st.Ino, st.Ctim.Nano())
}

// facts adds the sidecars of a dataset.
func (v *version) facts(own *os.File, id dataset.ID) {
	v.dir(own, string(id))
	v.dir(own, filepath.Join(string(id), holdsDir))
	v.dir(own, filepath.Join(string(id), pointsDir))
}

// snapshot adds what became of the one that was the newest, if anything did.
func (v *version) snapshot(dir *os.File, was dataset.Snapshot, known bool) {
	switch {
	case !known:
		v.unsure = true
	case was.ID.IsZero():
	case dir == nil:
		v.text.WriteString("gone")
	default:
		s, err := openSnapshot(dir, was)
		if err != nil {
			v.text.WriteString("changed")
			return
		}
		s.Close()
	}
}

// Versions implements fsdrivers.Versioner.
func (s *Source) Versions(ctx context.Context, ds []dataset.Path) ([]string, error) {
	all := make([]string, len(ds))
	for i, d := range ds {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if v, err := s.version(d); err == nil {
			all[i] = v
		}
	}
	return all, nil
}

func (s *Source) version(d dataset.Path) (string, error) {
	v := newVersion()
	o, err := s.openAll(d, false)
	if err != nil {
		return "", err
	}
	defer o.close()
	fmt.Fprintf(&v.text, "%s:%s:%d ", o.uuid, o.receivedUUID, o.flags)
	if o.dir != nil {
		v.dir(o.dir, "")
		v.facts(o.dir, o.id)
	}
	was, known := s.newest.get(d)
	v.snapshot(o.dir, was, known)
	return v.String(), nil
}

// Versions implements fsdrivers.Versioner. A replica into which a receive runs, or
// of which one was broken off, has none.
func (t *Target) Versions(ctx context.Context, ds []dataset.Path) ([]string, error) {
	in, err := t.open()
	if err != nil {
		return nil, err
	}
	defer in.close()
	busy, err := worked(in)
	if err != nil {
		return nil, err
	}
	all := make([]string, len(ds))
	for i, d := range ds {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if v, err := t.version(in, d, busy); err == nil {
			all[i] = v
		}
	}
	return all, nil
}

func (t *Target) version(in *into, d dataset.Path, busy map[dataset.ID]bool) (string, error) {
	v := newVersion()
	r, err := t.openReplica(in, d)
	if err != nil || r == nil {
		return "", err
	}
	defer r.close()
	if busy[r.ID] {
		return "", nil
	}
	v.facts(in.own, r.ID)
	fmt.Fprintf(&v.text, "%s ", r.ID)
	if r.dir != nil {
		v.dir(r.dir, "")
	}
	was, known := t.newest.get(d)
	v.snapshot(r.dir, was, known)
	return v.String(), nil
}

// worked are the datasets of which there is work in progress.
func worked(in *into) (map[dataset.ID]bool, error) {
	list, err := names(in.incoming)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", in.incoming.Name(), err)
	}
	busy := make(map[dataset.ID]bool, len(list))
	for _, step := range list {
		dir, err := openBelow(in.incoming, step)
		if err != nil {
			continue // over since
		}
		r, _, err := readSidecar[record](dir, recordFile, kindStep, "")
		dir.Close()
		if err == nil {
			busy[r.Dataset.ID] = true
		}
	}
	return busy, nil
}
