package btrfs

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers/dataset"
)

// commits counts what the file system committed since it was mounted.
func commits(t *testing.T, s *Source, d dataset.Path) (n int) {
	t.Helper()
	l, err := s.open(d)
	must(t, err)
	defer l.Close()
	id, err := fileSystemID(l.File)
	must(t, err)
	text, err := os.ReadFile(filepath.Join("/sys/fs/btrfs", id.String(), "commit_stats"))
	must(t, err)
	if _, err := fmt.Sscanf(string(text), "commits %d", &n); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return n
}

// A thousand snapshots are listed, and nine hundred of them destroyed, at the price
// of a few commits: time is told (`btrfs_1000_snapshots_seconds`) and not judged.
func TestAThousandSnapshotsAreDestroyedWithOneWaitForTheDisk(t *testing.T) {
	p, s := newSource(t)
	ctx := t.Context()
	o, err := s.openAll(p.db, true)
	must(t, err)
	for i := range 1000 {
		name := fmt.Sprintf("antipode_db_%04d", i)
		at := p.now.Add(time.Duration(i) * time.Hour)
		must(t, o.facts.setPoint(name, point{Name: name, Created: at, Retain: at}))
		must(t, createSnapshot(o.File, o.dir, name, true))
	}
	o.close()
	began := time.Now()
	list, err := s.Snapshots(ctx, p.db)
	must(t, err)
	if len(list) != 1000 {
		t.Fatalf("%d snapshots are listed, want 1000", len(list))
	}
	listed := time.Since(began)
	before := commits(t, s, p.db)
	for i, err := range s.DestroyAll(ctx, p.db, list[:900]) {
		if err != nil {
			t.Fatalf("destroy %s: %v", list[i].Name, err)
		}
	}
	took, after := time.Since(began), commits(t, s, p.db)
	if after-before > 10 { // the kernel's own, every 30 s, are among them
		t.Errorf("destroying 900 took %d commits, want a few", after-before)
	}
	left, err := s.Snapshots(ctx, p.db)
	must(t, err)
	if len(left) != 100 || left[0].ID != list[900].ID {
		t.Errorf("%d snapshots are left, want the newest 100", len(left))
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(string(p.db), dataset.Dir, list[0].Name), &st); err == nil {
		t.Errorf("%s is still there", list[0].Name)
	}
	t.Logf("btrfs_1000_snapshots_seconds %.2f (listing %.2f), %d commits", took.Seconds(), listed.Seconds(), after-before)
}
