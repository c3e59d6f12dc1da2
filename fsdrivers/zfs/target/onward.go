package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/fsdrivers/zfs/cli"
	"antipode/fsdrivers/zfs/prop"
	"antipode/fsdrivers/zfs/send"
	"antipode/fsdrivers/zfs/standby"
	"antipode/fsdrivers/zfs/stream"
)

var _ fsdrivers.Forwarder = (*Target)(nil)

// onward sends the published points of a Target. A received snapshot has the GUID that it
// was born with, and `zfs send` writes that into the stream, of the base too.
type onward struct{ t *Target }

var _ fsdrivers.Offerer = onward{}

// Onward implements fsdrivers.Forwarder.
func (t *Target) Onward() fsdrivers.Onward { return onward{t} }

// Offered implements fsdrivers.Offerer: the points of the lineage that the source goes on
// with. No increment leads from one lineage to another, so that those of an older one are
// the base of nothing that is still to come. Where the lineage was activated in place, what
// was written there is another dataset's, which a job of its own may send.
func (o onward) Offered(ctx context.Context, d dataset.Path) ([]dataset.Snapshot, error) {
	o.t.into.Places.RLock()
	defer o.t.into.Places.RUnlock()
	r, err := o.t.into.Known(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("snapshots to send on: %w", err)
	}
	var newest []dataset.Snapshot
	for _, l := range r.Lineages {
		points, err := o.t.into.Points(ctx, &standby.Replica{Path: d, Home: r.Home, Lineages: []*standby.Lineage{l}})
		if err != nil {
			return nil, fmt.Errorf("snapshots to send on: %w", err)
		}
		points = slices.DeleteFunc(points, func(s dataset.Snapshot) bool { return s.Received.IsZero() })
		if n := len(points); n > 0 && (len(newest) == 0 || points[n-1].Order > newest[len(newest)-1].Order) {
			newest = points
		}
	}
	return newest, nil
}

// Send implements fsdrivers.Sender.
func (o onward) Send(ctx context.Context, step dataset.Step, from dataset.Checkpoint) (r io.ReadCloser, err error) {
	err = o.plan(ctx, step, func(p send.Plan) error {
		r, err = p.Start(ctx, o.t.zfs, step, from)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("send %s on: %w", step.To.Name, err)
	}
	return r, nil
}

// Estimate implements fsdrivers.Estimator.
func (o onward) Estimate(ctx context.Context, step dataset.Step) (bytes int64, err error) {
	err = o.plan(ctx, step, func(p send.Plan) error {
		bytes, err = p.Estimate(ctx, o.t.zfs)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("estimate %s, to be sent on: %w", step.To.Name, err)
	}
	return bytes, nil
}

// plan looks both ends up by identity, and does something with them while nothing is
// renamed. A send that runs does not mind that.
func (o onward) plan(ctx context.Context, step dataset.Step, do func(send.Plan) error) error {
	o.t.into.Places.RLock()
	defer o.t.into.Places.RUnlock()
	r, err := o.t.into.Replica(ctx, step.Dataset.Path)
	if err != nil {
		return err
	}
	l, err := o.t.lineageFor(ctx, r, step)
	if err != nil {
		return err
	}
	raw, err := goesOnRaw(l, step.Flags)
	if err != nil {
		return err
	}
	if l.Facts.IsEncrypted(l.Name) {
		if err := o.t.zfs.MustCrypt(ctx); err != nil {
			return err
		}
	}
	p, err := send.New(l.Name, l.List, step, raw)
	if err != nil {
		return err
	}
	return do(p)
}

// lineageFor is the one that holds both ends of a step. Errors: ErrNotFound,
// ErrBaseMissing where none has both.
func (t *Target) lineageFor(ctx context.Context, r *standby.Replica, step dataset.Step) (*standby.Lineage, error) {
	err := fmt.Errorf("%s has no replica of dataset %s below %s: %w", step.Dataset.Path, step.Dataset.ID, t.into.Name, dataset.ErrNotFound)
	for _, l := range r.Lineages {
		if l.Source != step.Dataset.ID || l.IsPartial() {
			continue
		}
		list, lerr := t.zfs.List(ctx, l.Name)
		if cli.Unless(lerr, dataset.ErrNotFound) != nil {
			return nil, lerr
		}
		l.List = list
		_, perr := send.New(l.Name, list, step, false)
		if perr == nil {
			return l, nil
		}
		if !errors.Is(err, dataset.ErrBaseMissing) { // that says more
			err = perr
		}
	}
	return nil, err
}

// goesOnRaw says how a lineage is sent on: one that came raw always so, since its key is
// not this host's to use; any other as a dataset of this host would be.
func goesOnRaw(l *standby.Lineage, flags string) (bool, error) {
	if l.Prop(prop.Key) == "" {
		return send.IsRaw(flags, l.Facts.IsEncrypted(l.Name))
	}
	if flags == stream.FlagsPlain {
		return false, fmt.Errorf(`%s was received raw, and is sent on as it came; take encryption = "plain" out of the job that forwards it: %w`, l.Name, dataset.ErrRefused)
	}
	return true, nil
}
