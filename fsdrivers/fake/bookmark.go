package fake

import (
	"context"
	"fmt"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
)

// Bookmarking is a Source on a file system that has bookmarks, as ZFS has and Btrfs
// has not.
type Bookmarking struct{ *Source }

var _ fsdrivers.Bookmarker = Bookmarking{}

// Bookmark implements fsdrivers.Bookmarker.
//
// Cases: "a bookmark is a base when its snapshot is gone", "a bookmark is nothing
// while its snapshot is there".
func (b Bookmarking) Bookmark(ctx context.Context, d dataset.Path, snap dataset.Snapshot, instead ...dataset.Tag) error {
	found, leave, err := b.open(ctx, d)
	if err != nil {
		return fmt.Errorf("bookmark %s of %s: %w", snap.Name, d, err)
	}
	defer leave()
	there := found.snaps[snap.Name]
	switch {
	case there == nil:
		return fmt.Errorf("bookmark %s of %s: %w", snap.Name, d, dataset.ErrNotFound)
	case there.ID != snap.ID:
		return fmt.Errorf("bookmark %s of %s: it is %s, not %s: %w", snap.Name, d, there.ID, snap.ID, dataset.ErrChanged)
	}
	if found.bookmarks == nil {
		found.bookmarks = map[dataset.ID]*snapshot{}
	}
	found.bookmarks[snap.ID] = &snapshot{Snapshot: there.Snapshot, files: there.files}
	for _, tag := range instead {
		delete(there.holds, tag)
	}
	found.touch()
	return nil
}
