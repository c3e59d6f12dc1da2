package btrfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers"
	"antipode/fsdrivers/btrfs/segment"
	"antipode/fsdrivers/dataset"
)

var (
	_ fsdrivers.Scanner = (*Source)(nil)
	_ fsdrivers.Coster  = (*Target)(nil)
)

// errFound ends a walk.
var errFound = errors.New("found")

// FindDevice implements fsdrivers.Scanner. It walks the live dataset, and neither
// the subvolumes nor the mounts in it, which do not travel with it.
func (s *Source) FindDevice(ctx context.Context, d dataset.Path) (where string, err error) {
	l, err := s.open(d)
	if err != nil {
		return "", err
	}
	defer l.Close()
	var root unix.Stat_t
	if err := unix.Fstat(int(l.Fd()), &root); err != nil {
		return "", fmt.Errorf("stat %s: %w", d, err)
	}
	err = filepath.WalkDir(string(d), func(path string, e fs.DirEntry, err error) error {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			return nil // it was removed meanwhile
		case e.Type()&fs.ModeDevice != 0:
			where = path
			return errFound
		case !e.IsDir():
			return nil
		}
		var st unix.Stat_t
		if unix.Lstat(path, &st) != nil || st.Dev != root.Dev {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil && !errors.Is(err, errFound) {
		return "", fmt.Errorf("look for device nodes in %s: %w", d, err)
	}
	return where, nil
}

// Costs implements fsdrivers.Coster.
func (t *Target) Costs(context.Context) (string, error) {
	l := t.opts.Segments
	text := fmt.Sprintf("a copy on its way keeps up to %d snapshots beside the points, which pin what it has replaced since; "+
		"a crash sends at most two segments again, each of %d MiB or %s", segment.MaxKept/2, l.Bytes>>20, l.Most)
	in, err := t.open()
	if err != nil {
		return "", err
	}
	defer in.close()
	steps, err := names(in.incoming)
	if err != nil {
		return "", err
	}
	var kept []string
	for _, step := range steps {
		r, found, err := readRecord(in, step)
		if err != nil || !found {
			continue // the sweep names it
		}
		w, err := lookAtWork(in, r)
		if err != nil {
			continue // it has just ended
		}
		if j, err := t.readJournal(w, r.From.IsZero()); err == nil && len(j.Kept) > 0 {
			kept = append(kept, fmt.Sprintf("%s (%d segments, %d MiB of its stream)", r.Dataset.Path, len(j.Kept), j.Newest().At.Done>>20))
		}
		w.close()
	}
	if len(kept) > 0 {
		text += "; on their way now: " + strings.Join(kept, ", ")
	}
	return text, nil
}
