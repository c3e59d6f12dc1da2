package zfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/internal/command"
)

var _ fsdrivers.Comparer = (*Source)(nil)

// IsUnchanged implements fsdrivers.Comparer by the property written@SNAPSHOT. ZFS
// counts what is in a finished transaction group, so that the open one is pushed
// out before the second look: a snapshot would have it. Who may not do that, or has
// no zpool, cannot tell.
func (s *Source) IsUnchanged(ctx context.Context, d dataset.Path, snap dataset.Snapshot) (bool, error) {
	name, err := s.name(d)
	if err != nil {
		return false, fmt.Errorf("compare: %w", err)
	}
	if listedName(snap) != nil {
		return false, nil
	}
	// One process where something was written, which is the answer that matters.
	same, err := s.zfs.writtenNothing(ctx, name, snap.Name)
	if err != nil || !same {
		return false, err
	}
	switch _, err := s.zfs.find(ctx, name, snap); {
	case errors.Is(err, dataset.ErrNotFound), errors.Is(err, dataset.ErrChanged), errors.Is(err, dataset.ErrRefused):
		return false, nil // a bookmark among them: it has no data to compare with
	case err != nil:
		return false, fmt.Errorf("compare %s with %s: %w", name, snap.Name, err)
	}
	if err := s.zfs.sync(ctx, poolOf(name)); err != nil {
		s.log.Debug().Err(err).Str("pool", poolOf(name)).Msg("cannot tell whether something was written")
		return false, unless(err, dataset.ErrRefused, dataset.ErrToolMissing)
	}
	return s.zfs.writtenNothing(ctx, name, snap.Name)
}

func (t *tool) writtenNothing(ctx context.Context, name, snap string) (bool, error) {
	out, err := t.run(ctx, name, "get", "-Hp", "-o", "value", "written@"+snap, name)
	if err != nil {
		return false, fmt.Errorf("compare %s with %s: %w", name, snap, err)
	}
	return strings.TrimSpace(out) == "0", nil
}

// sync waits until all that was written to a pool is in a finished transaction
// group.
func (t *tool) sync(ctx context.Context, pool string) error {
	ctx, stop := context.WithTimeoutCause(ctx, t.giveUp, errSlow)
	defer stop()
	if err := t.mayStart(pool); err != nil {
		return err
	}
	zpool := "zpool"
	if dir := filepath.Dir(t.binary); dir != "." {
		zpool = filepath.Join(dir, zpool)
	}
	c, err := command.Start(ctx, command.Spec{Args: []string{zpool, "sync", pool}, Grace: killGrace, Patience: killPatience})
	if err != nil {
		return explain(pool, err, "")
	}
	running := &child{Child: c, self: identify(c.Pid())}
	_, err = io.Copy(io.Discard, running.output())
	return t.end(running, pool, err)
}
