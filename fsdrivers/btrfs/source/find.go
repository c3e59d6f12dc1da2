package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers/btrfs/subvol"
	"antipode/fsdrivers/dataset"
)

// Find implements fsdrivers.Lister. It asks the kernel which subvolumes hang
// below root and walks no directories. It does not cross into what is mounted
// below root: name that as a root of its own. A dataset that is read-only or
// was received is not returned, and nothing below it.
func (s *Source) Find(ctx context.Context, root dataset.Path, deep bool) ([]dataset.Dataset, error) {
	var found []dataset.Dataset
	l, err := s.open(root)
	switch {
	case deep && errors.Is(err, dataset.ErrNotDataset):
	case err != nil:
		return nil, fmt.Errorf("find: %w", err)
	default:
		defer l.Close()
		if l.IsReadOnly() || l.IsReceived() {
			return nil, nil
		}
		found = append(found, dataset.Dataset{Path: root, ID: l.id})
	}
	if deep {
		if found, err = s.findBelow(ctx, root, found); err != nil {
			return nil, fmt.Errorf("find below %s: %w", root, err)
		}
	}
	slices.SortFunc(found, func(a, b dataset.Dataset) int { return cmp.Compare(a.Path, b.Path) })
	return found, nil
}

func (s *Source) findBelow(ctx context.Context, root dataset.Path, found []dataset.Dataset) ([]dataset.Dataset, error) {
	dir, err := subvol.OpenDir(string(root))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if err := subvol.MustBtrfs(dir); err != nil {
		return nil, err
	}
	err = walkSubvolumes(ctx, dir, func(sub *subvol.Handle) {
		path, err := dataset.ParsePath(sub.Name())
		if err != nil {
			s.log.Warn().Err(err).Msg("a subvolume is left out: its name cannot be a dataset's")
			return
		}
		found = append(found, dataset.Dataset{Path: path, ID: dataset.ID(sub.UUID.String())})
	})
	return found, err
}

// walkSubvolumes visits the writable, not received subvolumes below dir.
func walkSubvolumes(ctx context.Context, dir *os.File, visit func(*subvol.Handle)) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	refs, err := subvol.ChildRefs(dir)
	if err != nil {
		return fmt.Errorf("list subvolumes in %s: %w", dir.Name(), err)
	}
	for _, ref := range refs {
		child, err := openChild(dir, ref)
		if err != nil {
			return err
		}
		if child == nil {
			continue
		}
		if !child.IsReadOnly() && !child.IsReceived() {
			visit(child)
			err = walkSubvolumes(ctx, child.File, visit)
		}
		child.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// openChild opens what ref names; nil if that is not below dir, is ours, is gone
// since, or is hidden by a mount.
func openChild(dir *os.File, ref subvol.RootRef) (*subvol.Handle, error) {
	rel, err := subvol.ChildPath(dir, ref)
	if errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find subvolume %d in %s: %w", ref.TreeID, dir.Name(), err)
	}
	if slices.Contains(strings.Split(rel, "/"), dataset.Dir) {
		return nil, nil
	}
	child, err := subvol.OpenBelow(dir, filepath.Clean(rel))
	if errors.Is(err, dataset.ErrNotFound) || errors.Is(err, dataset.ErrNotDataset) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if child.TreeID != ref.TreeID {
		child.Close()
		return nil, nil
	}
	return child, nil
}
