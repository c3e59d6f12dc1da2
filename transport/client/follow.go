package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"antipode/transport/wire"
)

// follow reads the target's progress, over as many connections as it takes,
// until its last word, and asks the disk if nobody there knows the transfer.
func (t *transfer) follow(ctx context.Context) (wire.Committed, error) {
	for attempt := 0; ; attempt++ {
		before := t.lastHeard()
		p, err := t.followOnce(ctx)
		t.lost()
		switch {
		case err == nil:
			return t.last(p)
		case ctx.Err() != nil:
			return wire.Committed{}, context.Cause(ctx)
		case errors.Is(err, wire.ErrUnknown):
			return t.askDisk(ctx, err)
		case t.c.isFinal(err), errors.Is(err, wire.ErrMalformed):
			return wire.Committed{}, err
		}
		if t.lastHeard().After(before) {
			attempt = 0
		}
		t.c.opts.Log.Debug().Err(err).Str("incarnation", t.open.Incarnation).Msg("progress lost")
		if !sleep(ctx, backoff(minBackoff, maxBackoff, attempt, nil)) {
			return wire.Committed{}, context.Cause(ctx)
		}
	}
}

func (t *transfer) lost() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.up = false
}

// askDisk answers for a target that has forgotten the transfer, as one that
// was restarted has: its answer may have been lost after the publishing.
func (t *transfer) askDisk(ctx context.Context, unknown error) (wire.Committed, error) {
	ctx, cancel := t.patiently(ctx)
	defer cancel()
	q := wire.CommitQuery{Step: t.open.Step, Driver: t.open.Driver}
	v, err := askBy[wire.Committed](ctx, t.c, t.c.steps, http.MethodPost, wire.PathCommit, q)
	if err != nil {
		return v, fmt.Errorf("ask for the commit: %w", err)
	}
	if !v.Published {
		return v, unknown
	}
	return v, nil
}

var errSilent = fmt.Errorf("no heartbeat for %s", silence)

// followOnce reads one progress stream and returns its last word, or how it
// was lost.
func (t *transfer) followOnce(ctx context.Context) (wire.Progress, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silent := time.AfterFunc(silence, func() { cancel(errSilent) })
	defer silent.Stop()
	path := wire.PathTransfers + "/" + t.open.Incarnation + wire.SubProgress
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, t.c.base+path, nil)
	if err != nil {
		return wire.Progress{}, err
	}
	setHeaders(req, wire.ContentJSON)
	resp, err := t.c.lanes.Do(req)
	if err != nil {
		return wire.Progress{}, err
	}
	defer resp.Body.Close()
	if err := t.c.check(resp); err != nil {
		return wire.Progress{}, err
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 4<<10), wire.MaxProgressBytes)
	for lines.Scan() {
		silent.Reset(silence)
		p, err := wire.Parse[wire.Progress](lines.Bytes())
		if err != nil || p.IsFinal() {
			return p, err
		}
		if err := t.take(p); err != nil {
			return p, err
		}
	}
	if err := lines.Err(); err != nil {
		return wire.Progress{}, err
	}
	return wire.Progress{}, io.ErrUnexpectedEOF
}
