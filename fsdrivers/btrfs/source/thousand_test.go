package source_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers/btrfs/btrfstest"
	"antipode/fsdrivers/btrfs/subvol"
	"antipode/fsdrivers/dataset"
)

// commits counts what the file system committed since it was mounted.
func commits(t *testing.T, d dataset.Path) (n int) {
	t.Helper()
	l, err := subvol.Open(string(d))
	btrfstest.Must(t, err)
	defer l.Close()
	id, err := subvol.FileSystemID(l.File)
	btrfstest.Must(t, err)
	text, err := os.ReadFile(filepath.Join("/sys/fs/btrfs", id.String(), "commit_stats"))
	btrfstest.Must(t, err)
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
	p.Many(1000)
	began := time.Now()
	list, err := s.Snapshots(ctx, p.DB)
	btrfstest.Must(t, err)
	if len(list) != 1000 {
		t.Fatalf("%d snapshots are listed, want 1000", len(list))
	}
	listed := time.Since(began)
	before := commits(t, p.DB)
	for i, err := range s.DestroyAll(ctx, p.DB, list[:900]) {
		if err != nil {
			t.Fatalf("destroy %s: %v", list[i].Name, err)
		}
	}
	took, after := time.Since(began), commits(t, p.DB)
	if after-before > 10 { // the kernel's own, every 30 s, are among them
		t.Errorf("destroying 900 took %d commits, want a few", after-before)
	}
	left, err := s.Snapshots(ctx, p.DB)
	btrfstest.Must(t, err)
	if len(left) != 100 || left[0].ID != list[900].ID {
		t.Errorf("%d snapshots are left, want the newest 100", len(left))
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(string(p.DB), dataset.Dir, list[0].Name), &st); err == nil {
		t.Errorf("%s is still there", list[0].Name)
	}
	t.Logf("btrfs_1000_snapshots_seconds %.2f (listing %.2f), %d commits", took.Seconds(), listed.Seconds(), after-before)
}
