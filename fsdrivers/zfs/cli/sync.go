package cli

import (
	"context"
	"io"
	"path/filepath"

	"antipode/fsdrivers/internal/command"
)

// Sync waits until all that was written to a pool is in a finished transaction
// group.
func (t *Tool) Sync(ctx context.Context, pool string) error {
	ctx, stop := context.WithTimeoutCause(ctx, t.giveUp, ErrSlow)
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
		return Explain(pool, err, "")
	}
	running := &Child{Child: c, self: identify(c.Pid())}
	_, err = io.Copy(io.Discard, running.Output())
	return t.End(running, pool, err)
}
