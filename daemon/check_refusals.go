package daemon

import (
	"context"
	"fmt"
	"time"

	"antipode/daemon/control"
	"antipode/daemon/replicate"
	"antipode/daemon/status"
	"antipode/fsdrivers"
	"antipode/fsdrivers/dataset"
	"antipode/transport/wire"
)

// scanTime bounds what check spends on one job and target looking into datasets: a
// walk over 20 TB takes hours.
const scanTime = 15 * time.Second

// refusals looks for what the target's gate would refuse, before the first byte: at
// hour 300 of a first copy is no time to find it.
func (c *checker) refusals(ctx context.Context, object, name string, o wire.Offer, w *work) {
	ctx, cancel := context.WithTimeout(ctx, scanTime)
	defer cancel()
	for _, path := range c.d.Board.Datasets(w.job.ID) {
		if !o.AllowDevices {
			c.devices(ctx, object, name, path, w)
		}
		if o.MaxBytes > 0 {
			c.tooLong(ctx, object, name, path, o.MaxBytes, w)
		}
		if ctx.Err() != nil {
			c.add(control.Warning, object, fmt.Sprintf("not all of its datasets were looked into for what %s would refuse: that takes longer than %s", name, scanTime), "")
			return
		}
	}
}

func (c *checker) devices(ctx context.Context, object, name string, path dataset.Path, w *work) {
	scanner, ok := w.source.(fsdrivers.Scanner)
	if !ok {
		return
	}
	if where, err := scanner.FindDevice(ctx, path); err == nil && where != "" {
		c.add(control.Fatal, object, fmt.Sprintf("%s is a device node, and %s lets none in", where, name),
			fmt.Sprintf(`remove it, or set allow = ["devices"] in the [[accept]] on %s`, name))
	}
}

// tooLong estimates the first copy of a dataset that has no base on the target.
func (c *checker) tooLong(ctx context.Context, object, name string, path dataset.Path, most int64, w *work) {
	found, err := w.source.Find(ctx, path, false)
	if err != nil || len(found) != 1 {
		return // said above
	}
	snapshots, err := w.source.Snapshots(ctx, path)
	if err != nil || len(snapshots) == 0 || mayHaveBase(snapshots, w.job.ID, name) {
		return
	}
	mark, err := w.source.Mark(ctx, path)
	if err != nil {
		return
	}
	plan, err := replicate.Decide(ctx, w.source, replicate.Facts{Job: w.job, Dataset: found[0], Mark: mark, Snapshots: snapshots, Far: wire.Replica{Path: path}})
	if err != nil || len(plan.Steps) == 0 {
		return
	}
	if bytes, err := w.source.Estimate(ctx, plan.Steps[0].Step); err == nil && bytes > most {
		c.add(control.Fatal, object, fmt.Sprintf("the first copy of %s has about %s, and %s takes at most %s in one stream", path, status.Bytes(bytes), name, status.Bytes(most)),
			"raise max_bytes in the [[accept]] on "+name)
	}
}

// costs says what the target's driver keeps beside the points.
func (c *checker) costs(ctx context.Context, object string, driver fsdrivers.Target) {
	if coster, ok := driver.(fsdrivers.Coster); ok {
		if text, err := coster.Costs(ctx); err == nil {
			c.add(control.Good, object, text, "")
		}
	}
}
