package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"

	"antipode/fsdrivers"
	"antipode/fsdrivers/btrfs/facts"
	"antipode/fsdrivers/btrfs/progs"
	"antipode/fsdrivers/btrfs/subvol"
	"antipode/fsdrivers/dataset"
)

// IsUnchanged implements fsdrivers.Comparer. Making a snapshot writes the root of
// the live subvolume once more, in the snapshot's own transaction; every later
// write gives it a later generation. Our own files are in a subvolume of their own
// and do not count. Written pages that no transaction has seen yet are flushed
// before the second look: a snapshot would have them.
func (s *Source) IsUnchanged(ctx context.Context, d dataset.Path, snap dataset.Snapshot) (bool, error) {
	same, err := s.sameGeneration(d, snap)
	if err != nil || !same {
		return false, err
	}
	if ctx.Err() != nil {
		return false, fmt.Errorf("compare %s with %s: %w", d, snap.Name, context.Cause(ctx))
	}
	l, err := s.open(d)
	if err != nil {
		return false, err
	}
	err = unix.Syncfs(int(l.Fd()))
	l.Close()
	if err != nil {
		return false, fmt.Errorf("flush the file system of %s: %w", d, err)
	}
	return s.sameGeneration(d, snap)
}

func (s *Source) sameGeneration(d dataset.Path, snap dataset.Snapshot) (bool, error) {
	o, err := s.openAll(d, false)
	if err != nil {
		return false, err
	}
	defer o.close()
	if o.dir == nil {
		return false, nil
	}
	there, err := subvol.OpenSnapshot(o.dir, snap)
	switch {
	case errors.Is(err, dataset.ErrNotFound), errors.Is(err, dataset.ErrChanged):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("compare %s with %s: %w", d, snap.Name, err)
	}
	defer there.Close()
	return there.ParentUUID == o.UUID && there.Otransid == o.Generation, nil
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
	v := facts.NewVersion()
	o, err := s.openAll(d, false)
	if err != nil {
		return "", err
	}
	defer o.close()
	fmt.Fprintf(&v.Text, "%s:%s:%d ", o.UUID, o.ReceivedUUID, o.Flags)
	if o.dir != nil {
		v.Dir(o.dir, "")
		v.Facts(o.dir, o.id)
	}
	was, known := s.newest.Get(d)
	v.Snapshot(o.dir, was, known)
	return v.String(), nil
}

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

// Probe implements fsdrivers.Prober: btrfs-progs and the kernel, and quota groups
// on the file systems of datasets that were asked about before.
func (s *Source) Probe(ctx context.Context) []fsdrivers.Finding {
	found := append(progs.ProbeTool(ctx, s.binary), progs.ProbeKernel(progs.Sysfs)...)
	seen := make(map[string]bool)
	for _, d := range s.datasets() {
		l, err := s.open(d)
		if err != nil {
			continue // who asks for the dataset is told
		}
		if u, err := subvol.UsageOf(l.File); err == nil && !seen[u.Where] {
			seen[u.Where] = true
			found = append(found, progs.ProbeQuota(l.File, u.Where)...)
		}
		l.Close()
	}
	return found
}
